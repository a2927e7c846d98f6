// A message says the same of itself wherever it is cut; the first octet chooses the cuts.
#include "mail/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str text = str_from(data + 1, size - 1);
    size_t step = (size_t)data[0] % 31 + 1;
    struct scan whole, cut;
    scan_begin(&whole);
    scan_begin(&cut);
    scan_feed(&whole, text);
    for (size_t at = 0; at < text.len; at += step)
        scan_feed(&cut, str_sub(text, at, step));
    scan_end(&whole);
    scan_end(&cut);
    must(whole.flags == cut.flags && whole.size == cut.size);
    must(whole.line_feeds == cut.line_feeds && whole.received == cut.received);
    must(whole.header_size == cut.header_size);
    must(whole.fields == cut.fields && whole.fields_size == cut.fields_size);

    must(whole.size == text.len && whole.header_size <= whole.size);
    must(whole.fields <= whole.fields_size && whole.fields_size <= whole.header_size);
    must(whole.line_feeds + whole.received <= whole.size);
    must(!(whole.flags & SCAN_8BIT) == str_is_ascii(text));
    must(!(whole.flags & SCAN_NUL) == (str_index(text, '\0') == text.len));
    must(!(whole.flags & SCAN_NO_END) == (text.len == 0 || str_ends(text, STR("\r\n"))));
    must(!(whole.flags & SCAN_8BIT_HEADER) || (whole.flags & SCAN_8BIT));
    return 0;
}
