// What becomes of a bare CR or LF, in the plainest words (RFC 5321 section 2.3.8): the fuzzers hold
// the quick code against it.
#ifndef FUZZ_WHOLE_LINES_H
#define FUZZ_WHOLE_LINES_H

#include "base/buf.h"

static inline void put_whole_lines(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        bool before_lf = i + 1 < text.len && text.ptr[i + 1] == '\n';
        if (text.ptr[i] == '\n')
            buf_put(out, STR("\r\n"));
        else if (text.ptr[i] != '\r')
            buf_put_byte(out, text.ptr[i]);
        else if (!before_lf)
            buf_put_byte(out, ' ');
    }
}

#endif
