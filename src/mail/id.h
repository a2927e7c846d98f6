// The queue id: 48 bits of milliseconds since 1970, 80 random bits; 26 characters of Crockford's
// base32. Drawn at MAIL, never used again. Ids sort by time.
#ifndef MAIL_ID_H
#define MAIL_ID_H

#include "base/buf.h"

enum { MAIL_ID_SIZE = 16, MAIL_ID_TEXT = 26 };

struct mail_id {
    uint8_t bytes[MAIL_ID_SIZE];
};

// The random part may be a leased base with a number added to it as an 80-bit integer.
struct mail_id mail_id_make(uint64_t wall_ms, const uint8_t base[10], uint64_t number);
// True when it was made from that base and a number below `numbers`.
bool mail_id_is_of(const struct mail_id *id, const uint8_t base[10], uint64_t numbers);
void mail_id_put(struct buf *out, const struct mail_id *id);
// NUL-terminated, for logs and names.
void mail_id_text(const struct mail_id *id, char text[MAIL_ID_TEXT + 1]);
MUST_USE bool mail_id_read(struct str text, struct mail_id *id);
bool mail_id_equal(const struct mail_id *a, const struct mail_id *b);
uint64_t mail_id_ms(const struct mail_id *id);

#endif
