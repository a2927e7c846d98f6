// Names and patterns: the host name, the mailbox pattern, and the file names of `include`.
#ifndef CONF_PATTERN_H
#define CONF_PATTERN_H

#include "conf/problem.h"

enum { CONF_PATH_MAX = 4095 }; // octets of a path or text

// A full domain name: letters, digits, hyphens and (U-labels) UTF-8, at least two labels, RFC 5321
// section 2.3.5.
MUST_USE bool pattern_check_host(struct str name, struct arena *arena, struct complaint *complaint);

// A DNS server: an IP address, and perhaps @ and a port.
MUST_USE bool pattern_check_server(struct str text, struct arena *arena,
                                   struct complaint *complaint);

// A relative path with %u and perhaps %d and %%, that can not lead out of mail_dir and gives two
// users one mailbox never.
MUST_USE bool pattern_check_mailbox(struct str pattern, struct arena *arena,
                                    struct complaint *complaint);

// Does a file's name match? `*` stands for any bytes, `?` for one; a leading dot only for itself.
bool pattern_matches(struct str pattern, struct str name);

#endif
