// The configuration: one YAML file and what it includes, read by libyaml, checked against
// options.def and turned into this struct. Read by the supervisor and the command; roles get it
// packed over their control channel and read no file.
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "mail/route_table.h"
#include "os/net.h"

enum conf_protocol {
    CONF_SMTP,
    CONF_LMTP,
    CONF_POP3,
    CONF_PROTOCOLS,
};
const char *conf_protocol_name(enum conf_protocol protocol);

// Where a value stands: file, line and column from 1; line 0 is the default.
struct conf_place {
    struct str file;
    unsigned line, column;
};

struct conf_listen {
    enum conf_protocol protocol;
    struct net_address address;
    struct conf_place place;
};

// Networks whose clients may have mail relayed. The places are told to the roles too: the log names
// them.
struct conf_network {
    struct net_range range;
    struct conf_place place;
};

enum conf_bare_newline { CONF_BARE_CONVERT, CONF_BARE_REFUSE };

// The members come from options.def: OPTION(top, hostname, NAME, ...) is conf->hostname,
// OPTION(limits, max_message, SIZE, ...) is conf->limits.max_message. Paths are absolute. Sizes are
// octets, times milliseconds, hours of the day minutes after midnight.
#include "conf/conf_struct.h"

// One complaint: "file:line:column: text", the source line, a mark, a hint.
struct conf_problem {
    struct str file;
    unsigned line, column; // from 1; 0 = the file as a whole
    struct str text;       // what is wrong
    struct str hint;       // what to write; may be empty
    struct str source;     // the line itself
};

struct conf_problems {
    struct conf_problem *items; // by file and line
    size_t count;               // at most LIMIT_config_errors
    size_t left_out;            // found beyond that
};

// Reads and checks everything; all problems in one run. True: *conf is complete. All memory comes
// from the arena; LIMIT_config_memory is enough for the largest configuration that is accepted.
MUST_USE bool conf_load(struct str path, struct arena *arena, struct conf *conf,
                        struct conf_problems *problems);
// The problems as text for people.
void conf_put_problems(struct buf *out, const struct conf_problems *problems);

// The effective values as YAML, each with its place or "default" as a comment. Loading the text
// gives the same values.
void conf_show(struct buf *out, const struct conf *conf);
// A DNS server, as dns.server has it?
bool conf_is_server(struct str text);
void conf_schema(struct buf *out); // JSON Schema, for editors
// A commented file for a person to edit. Settings stand as given, all other options as comments
// with their defaults; a protocol with an empty address is off.
struct conf_setting {
    struct str name;  // of an option, as "hostname" or "dns.server"
    struct str value; // as it is written; empty: not set
};
struct conf_sample {
    const struct conf_setting *settings;
    size_t count;
    struct str listen[CONF_PROTOCOLS];
    const struct route_rule *routes;
    size_t route_count;
};
void conf_put_sample(struct buf *out, const struct conf_sample *sample);
void conf_put_manual(struct buf *out); // posthouse.yaml(5), in mdoc(7)
// A line for each option that a running instance cannot change (`restart` in options.def) and that
// differs.
void conf_put_fixed(struct buf *out, const struct conf *old, const struct conf *new);
// All values but sources and places (those of networks apart), for a role; and back. unpack is a
// door: it checks all again, and what it accepts packs to the same bytes.
void conf_pack(struct buf *out, const struct conf *conf);
MUST_USE bool conf_unpack(struct str packed, struct arena *arena, struct conf *conf,
                          struct err *err);

// The first network of `trusted` that the client is in; NULL: it may not relay, nor may a default
// gateway of this host (os/net.h), whose address strangers may have, unless trust_wide says so.
const struct conf_network *conf_find_trusted(const struct conf *conf,
                                             const struct net_address *gateways,
                                             size_t gateway_count,
                                             const struct net_address *client);
// conf->mailbox with the file names of domain and local part (address_put_file_name) in the places
// of %d and %u, and a percent sign in that of %%: a path below mail_dir.
void conf_put_mailbox(struct buf *out, const struct conf *conf, struct str domain_name,
                      struct str user_name);

#endif
