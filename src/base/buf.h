// A growing byte buffer with a limit. Memory comes from malloc and belongs to the buf. Writing past
// the limit writes nothing, marks the buffer as overflowed and stays so until buf_clear: write
// freely, ask buf_ok() once at the end. Nothing is ever truncated silently.
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>

#include "base/str.h"

struct buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t limit; // bytes; the name of the limit stands in base/limits.def
    bool overflow;
};

// No allocation until the first byte.
void buf_init(struct buf *b, size_t limit);
void buf_finish(struct buf *b);
// Empties; keeps the memory. buf_release gives the memory back too (idle sessions hold none).
void buf_clear(struct buf *b);
void buf_release(struct buf *b);

bool buf_ok(const struct buf *b);
struct str buf_str(const struct buf *b);

void buf_put(struct buf *b, struct str s);
void buf_put_byte(struct buf *b, char byte);
void buf_putf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vputf(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0);
// Little-endian integers.
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);

// Room for n more bytes at the end, or NULL (overflow) when the limit forbids. buf_added(n) says
// how many of them were written.
char *buf_reserve(struct buf *b, size_t n);
void buf_added(struct buf *b, size_t n);
// Drops n bytes at the front.
void buf_drop(struct buf *b, size_t n);

// Log-safe text: printable ASCII and well-formed UTF-8 above it stand as they are, all else (and
// the backslash) as \xNN. For messages to people, never for protocols.
void buf_put_escaped(struct buf *b, struct str s);

#endif
