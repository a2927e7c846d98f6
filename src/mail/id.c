#include "mail/id.h"

#include "base/base32.h"

enum { TIME_SIZE = 6, RANDOM_SIZE = 10 };

_Static_assert(TIME_SIZE + RANDOM_SIZE == MAIL_ID_SIZE, "time and randomness fill an id");

struct mail_id mail_id_make(uint64_t wall_ms, const uint8_t base[RANDOM_SIZE], uint64_t number)
{
    struct mail_id id;
    for (int i = 0; i < TIME_SIZE; i++)
        id.bytes[i] = (uint8_t)(wall_ms >> (8 * (TIME_SIZE - 1 - i)));
    unsigned carry = 0;
    for (int i = RANDOM_SIZE - 1; i >= 0; i--) {
        unsigned sum = base[i] + (unsigned)(number & 0xff) + carry;
        id.bytes[TIME_SIZE + i] = (uint8_t)sum;
        carry = sum >> 8;
        number >>= 8;
    }
    return id;
}

bool mail_id_is_of(const struct mail_id *id, const uint8_t base[RANDOM_SIZE], uint64_t numbers)
{
    uint64_t number = 0; // the random part less the base, as a number of 80 bits
    unsigned borrow = 0, high = 0;
    for (int i = RANDOM_SIZE - 1; i >= 0; i--) {
        unsigned digit = id->bytes[TIME_SIZE + i] - base[i] - borrow;
        borrow = digit >> 8 & 1;
        if (i >= RANDOM_SIZE - 8)
            number |= (uint64_t)(digit & 0xff) << (8 * (RANDOM_SIZE - 1 - i));
        else
            high |= digit & 0xff;
    }
    return high == 0 && number < numbers;
}

void mail_id_put(struct buf *out, const struct mail_id *id)
{
    base32_put(out, str_from(id->bytes, MAIL_ID_SIZE));
}

void mail_id_text(const struct mail_id *id, char text[MAIL_ID_TEXT + 1])
{
    struct buf out;
    buf_init(&out, MAIL_ID_TEXT);
    mail_id_put(&out, id);
    must(out.len == MAIL_ID_TEXT);
    memcpy(text, out.ptr, MAIL_ID_TEXT);
    text[MAIL_ID_TEXT] = '\0';
    buf_finish(&out);
}

bool mail_id_read(struct str text, struct mail_id *id)
{
    struct mail_id read;
    if (!base32_read(text, read.bytes, MAIL_ID_SIZE))
        return false;
    *id = read;
    return true;
}

bool mail_id_equal(const struct mail_id *a, const struct mail_id *b)
{
    return memcmp(a->bytes, b->bytes, MAIL_ID_SIZE) == 0;
}

uint64_t mail_id_ms(const struct mail_id *id)
{
    uint64_t ms = 0;
    for (int i = 0; i < TIME_SIZE; i++)
        ms = ms << 8 | id->bytes[i];
    return ms;
}
