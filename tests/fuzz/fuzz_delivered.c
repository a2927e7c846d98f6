// The tokens of a header are those that a reader finds who has all of it before him, wherever the
// message is cut; the first octet chooses the cuts.
#include "mail/delivered.h"

#include "base/base32.h"
#include "base/limits.h"
#include "mail/received.h"

enum { TOKEN_BYTES = 10, FRAMED = DELIVERED_TOKEN + 3 }; // "(", the token, ")" CR

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The token of one line without its LF, appended.
static void read_line(struct buf *tokens, struct str line)
{
    const struct str name = STR("Delivered-To:");
    unsigned char token[TOKEN_BYTES];
    if (!str_starts_nocase(line, name) || line.len < name.len + FRAMED ||
        !str_ends(line, STR(")\r")))
        return;
    struct str framed = str_skip(line, line.len - FRAMED);
    if (framed.ptr[0] == '(' && tokens->len < (size_t)LIMIT_delivered_fields * DELIVERED_TOKEN &&
        base32_read(str_sub(framed, 1, DELIVERED_TOKEN), token, sizeof token))
        base32_put(tokens, str_from(token, sizeof token));
}

static void read_header(struct buf *tokens, struct str text)
{
    bool over = false;
    for (size_t end; !over && (end = str_index(text, '\n')) < text.len;) {
        read_line(tokens, str_sub(text, 0, end));
        over = end <= 1; // the empty line
        text = str_skip(text, end + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str text = str_from(data + 1, size - 1);
    size_t step = (size_t)data[0] % 31 + 1;
    struct delivered d;
    struct buf wanted;
    buf_init(&wanted, (size_t)LIMIT_delivered_fields * DELIVERED_TOKEN);
    read_header(&wanted, text);
    delivered_begin(&d);
    for (size_t at = 0; at < text.len; at += step)
        delivered_feed(&d, str_sub(text, at, step));
    must(buf_ok(&d.tokens) && buf_ok(&wanted));
    must(str_eq(buf_str(&d.tokens), buf_str(&wanted)));
    delivered_finish(&d);
    buf_finish(&wanted);
    return 0;
}
