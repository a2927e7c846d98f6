// Ours stands in one line: "Delivered-To: ADDR (TOKEN)". A field that somebody folded, or wrote
// without a token, is passed over.
#include "mail/delivered.h"

#include "base/base32.h"
#include "base/limits.h"
#include "mail/received.h"

enum { TOKEN_BYTES = 10 };

static const struct str name = {"delivered-to:", sizeof "delivered-to:" - 1};

void delivered_begin(struct delivered *d)
{
    *d = (struct delivered){.matching = true};
    buf_init(&d->tokens, (size_t)LIMIT_delivered_fields * DELIVERED_TOKEN);
}

void delivered_finish(struct delivered *d)
{
    buf_finish(&d->tokens);
}

static void end_line(struct delivered *d)
{
    unsigned char token[TOKEN_BYTES];
    struct str tail = str_from(d->tail, sizeof d->tail);
    struct str text = str_sub(tail, 1, DELIVERED_TOKEN);
    bool whole = d->matching && d->at >= name.len + tail.len; // else some of it is of another line
    bool framed = whole && str_starts(tail, STR("(")) && str_ends(tail, STR(")\r"));
    if (framed && d->tokens.len < (size_t)LIMIT_delivered_fields * DELIVERED_TOKEN &&
        base32_read(text, token, sizeof token))
        base32_put(&d->tokens, str_from(token, sizeof token)); // in upper case
    d->over = d->at <= 1;
    d->at = 0;
    d->matching = true;
}

void delivered_feed(struct delivered *d, struct str piece)
{
    for (size_t i = 0; i < piece.len && !d->over; i++) {
        char c = piece.ptr[i];
        if (c == '\n') {
            end_line(d);
            continue;
        }
        if (d->matching && d->at < name.len)
            d->matching = ascii_lower(c) == name.ptr[d->at];
        if (d->matching) {
            memmove(d->tail, d->tail + 1, sizeof d->tail - 1);
            d->tail[sizeof d->tail - 1] = c;
        }
        d->at++;
    }
}
