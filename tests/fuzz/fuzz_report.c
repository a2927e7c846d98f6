// A report of anything is a letter that a reader of headers takes: lines of at most 998 octets with
// CRLF and no NUL, its own header of fields only and with each field that it must have, three parts
// between the boundaries and nothing behind the last; in seven bits where it says so.
#include "mail/report.h"

#include "base/limits.h"
#include "mail/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_LIMIT = 1 << 20 };

// Texts from the input, each behind its length.
static struct str take(struct str *input)
{
    struct str text = STR("");
    if (input->len < 2)
        return text;
    size_t len = (size_t)str_take_le(input, 2);
    text = str_sub(*input, 0, len);
    *input = str_skip(*input, len);
    return text;
}

// What is refused at the door of the envelope stands in no ORCPT.
static bool envelope_has(struct str original)
{
    for (size_t i = 0; i < original.len; i++)
        if ((unsigned char)original.ptr[i] < 0x20 || original.ptr[i] == 0x7f)
            return false;
    return original.len <= 500 && str_is_utf8(original);
}

static size_t count(struct str text, struct str needle)
{
    size_t found = 0;
    for (size_t at; (at = str_find(text, needle)) < text.len; found++)
        text = str_skip(text, at + needle.len);
    return found;
}

static void check(struct str letter, const struct report *r, bool eight_bit)
{
    const struct str fields[] = {
        STR("\r\nAuto-Submitted: auto-replied\r\n"),
        STR("\r\nMIME-Version: 1.0\r\n"),
        STR("\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n"),
    };
    struct scan scan;
    struct buf boundary;
    scan_begin(&scan);
    scan_feed(&scan, letter);
    scan_end(&scan);
    must(!(scan.flags & (SCAN_LONG_LINE | SCAN_NUL | SCAN_BARE | SCAN_NO_END)));
    must(eight_bit == ((scan.flags & SCAN_8BIT) != 0));
    must(report_needs_utf8(r) || !(scan.flags & SCAN_8BIT_HEADER));
    must(scan.fields >= 9 && scan.fields_size + 2 == scan.header_size);
    struct str header = str_sub(letter, 0, (size_t)scan.header_size);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        must(count(header, fields[i]) == 1);
    buf_init(&boundary, 64);
    buf_put(&boundary, STR("\r\n--=_"));
    mail_id_put(&boundary, &r->id);
    must(count(letter, buf_str(&boundary)) == 4);
    buf_put(&boundary, STR("--\r\n"));
    must(str_ends(letter, buf_str(&boundary)));
    buf_finish(&boundary);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from(data, size);
    struct report_recipient to[LIMIT_report_recipients];
    struct address addresses[LIMIT_report_recipients + 1];
    struct arena arena;
    struct buf out;
    struct err err;
    const uint8_t base[10] = {1};
    arena_init(&arena, ARENA_LIMIT);
    struct report r = {.id = mail_id_make(1795302470000, base, 7),
                       .hostname = STR("mail.example.test"),
                       .wall_ms = 1795302470000,
                       .to = &addresses[LIMIT_report_recipients],
                       .arrived_ms = 1795302409000,
                       .recipients = to};
    unsigned flags = input.len ? (unsigned)str_take_le(&input, 1) : 0;
    r.utf8 = flags & 1;
    r.whole = flags & 2;
    r.to_postmaster = flags & 4;
    r.envid = take(&input);
    r.message = take(&input);
    bool ok = address_read(take(&input), &arena, &addresses[LIMIT_report_recipients], &err);
    while (ok && input.len && r.recipient_count < LIMIT_report_recipients) {
        struct address *address = &addresses[r.recipient_count];
        unsigned kind = (unsigned)str_take_le(&input, 1);
        ok = address_read(take(&input), &arena, address, &err);
        to[r.recipient_count++] = (struct report_recipient){.kind = kind % REPORT_KINDS,
                                                            .status = STATUS(5, (uint16_t)kind, 1),
                                                            .address = address,
                                                            .original = take(&input),
                                                            .reason = take(&input),
                                                            .reply = take(&input),
                                                            .remote = take(&input),
                                                            .attempt_ms = kind,
                                                            .until_ms = kind};
        ok = ok && envelope_has(to[r.recipient_count - 1].original);
    }
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&r.id, id);
    bool foreseen = str_find(str_from(data, size), str_of(id)) < size; // no letter can know it
    if (ok && r.recipient_count && !foreseen) {
        buf_init(&out, LIMIT_report);
        bool eight_bit = report_put(&out, &r);
        must(buf_ok(&out));
        check(buf_str(&out), &r, eight_bit);
        buf_finish(&out);
    }
    arena_finish(&arena);
    return 0;
}
