#include "base/roff.h"

void roff_put(struct buf *out, struct str text)
{
    if (str_starts(text, STR(".")) || str_starts(text, STR("'")))
        buf_put(out, STR("\\&"));
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '\\')
            buf_put(out, STR("\\e"));
        else if (text.ptr[i] == '-')
            buf_put(out, STR("\\-"));
        else
            buf_put_byte(out, text.ptr[i]);
}
