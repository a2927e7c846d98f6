// Values by their type: read from text, checked, written back, stored in struct conf. The checks
// are the same for a file and for what comes packed.
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "conf/option.h"
#include "conf/problem.h"

// What the type uses: address for ADDRESS; networks for NETWORKS; text where value_has_text; number
// for all others.
struct conf_value {
    struct str text;
    uint64_t number;
    struct net_address address;
    struct conf_networks networks;
};

// Reads what stands in a file. A PATH is taken relative to `directory`, which is absolute. Memory
// (texts carry a NUL behind them) is from the arena. Of NETWORKS it reads one entry, without place.
// False: *complaint is filled.
MUST_USE bool value_read(const struct conf_option *option, struct str text, struct str directory,
                         struct arena *arena, struct conf_value *value,
                         struct complaint *complaint);
// Is this a value that the option may have? (Ranges, names, patterns.)
MUST_USE bool value_check(const struct conf_option *option, const struct conf_value *value,
                          struct arena *arena, struct complaint *complaint);
// As one would write it; value_read gives the same value.
void value_put(struct buf *out, const struct conf_option *option, const struct conf_value *value);

bool value_has_text(const struct conf_option *option);
void value_store(struct conf *conf, const struct conf_option *option,
                 const struct conf_value *value);
struct conf_value value_of(const struct conf *conf, const struct conf_option *option);

#endif
