// Each part is written into a buffer of its own first: what it holds decides its transfer encoding.
// Nothing is encoded: 8-bit octets go as they are, and the report's envelope says so.
#include "mail/report.h"

#include "base/limits.h"
#include "mail/date.h"
#include "mail/language.h"

enum {
    LINE_MAX = 998, // RFC 5322 section 2.1.1, without CRLF
    FOLD_AT = 900,
    REPLY_MAX = 400, // octets of what a peer said
    WORD_MAX = 45,   // octets that one encoded word holds
};

enum language {
#define REPORT_LANGUAGE(tag, TAG) TAG,
#include "mail/report_texts.def"
#undef REPORT_LANGUAGE
    LANGUAGES,
};

enum text {
#define REPORT_TEXT(name, ...) TEXT_##name,
#include "mail/report_texts.def"
#undef REPORT_TEXT
    TEXTS,
};

#define WORDS(literal)                                                                             \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static const struct str tags[LANGUAGES] = {
#define REPORT_LANGUAGE(tag, TAG) WORDS(#tag),
#include "mail/report_texts.def"
#undef REPORT_LANGUAGE
};

static const struct str texts[TEXTS][LANGUAGES] = {
#define REPORT_TEXT(name, english, chinese) {WORDS(english), WORDS(chinese)},
#include "mail/report_texts.def"
#undef REPORT_TEXT
};

static const struct {
    uint16_t subject, detail;
    struct str text[LANGUAGES];
} whys[] = {
#define REPORT_WHY(subject, detail, english, chinese)                                              \
    {subject, detail, {WORDS(english), WORDS(chinese)}},
#include "mail/report_texts.def"
#undef REPORT_WHY
};

// clang-format off
static const struct {
    struct str action; // RFC 3464 section 2.3.3
    enum text subject, text;
} kinds[REPORT_KINDS] = {
    [REPORT_FAILED]    = {WORDS("failed"),    TEXT_subject_failed,    TEXT_failed},
    [REPORT_DELAYED]   = {WORDS("delayed"),   TEXT_subject_delayed,   TEXT_delayed},
    [REPORT_DELIVERED] = {WORDS("delivered"), TEXT_subject_delivered, TEXT_delivered},
    [REPORT_RELAYED]   = {WORDS("relayed"),   TEXT_subject_relayed,   TEXT_relayed},
    [REPORT_EXPANDED]  = {WORDS("expanded"),  TEXT_subject_expanded,  TEXT_expanded},
};
// clang-format on

struct writer {
    const struct report *report;
    struct str header; // of the letter
    enum language language;
    bool utf8; // the report may have UTF-8 in its fields
};

// The header of a letter that may end within it, with its last CRLF and without the empty line.
static struct str header_of(struct str message)
{
    if (str_starts(message, STR("\r\n")))
        return STR("");
    size_t end = str_find(message, STR("\r\n\r\n"));
    return str_sub(message, 0, end + 2);
}

bool report_needs_utf8(const struct report *r)
{
    bool ascii = !r->to->utf8 && str_is_ascii(header_of(r->message));
    for (size_t i = 0; i < r->recipient_count; i++)
        ascii = ascii && !r->recipients[i].address->utf8 && str_is_ascii(r->recipients[i].original);
    return r->to->utf8 || (r->utf8 && !ascii); // To has no other form
}

// ---- pieces

static void put_line(struct buf *out, struct str line)
{
    buf_put(out, line);
    buf_put(out, STR("\r\n"));
}

// Text from elsewhere in one line: control characters become spaces, and octets above 127 question
// marks where they may not stand.
static void put_clean(struct buf *out, struct str text, bool utf8)
{
    text = str_sub(text, 0, REPLY_MAX);
    bool as_it_is = utf8 && str_is_utf8(text);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool control = c < 0x20 || c == 0x7f;
        buf_put_byte(out, (char)(control ? ' ' : c > 0x7f && !as_it_is ? '?' : c));
    }
}

static void put_date(struct buf *out, const struct report *r, uint64_t ms)
{
    date_put(out, ms, r->zone_minutes);
}

static void put_address(struct buf *out, const struct report *r, const struct address *address)
{
    address_put(out, address);
    if (address->kind == ADDRESS_POSTMASTER)
        buf_putf(out, "@%.*s", STR_ARG(r->hostname));
}

static void put_status(struct buf *out, struct status status)
{
    buf_putf(out, "%u.%u.%u", status.class, status.subject, status.detail);
}

// ---- for people

static void say(struct buf *out, const struct writer *w, enum text text, struct str detail)
{
    struct str words = texts[text][w->language];
    size_t at = str_find(words, STR("%s"));
    buf_put(out, str_sub(words, 0, at));
    if (at < words.len)
        put_clean(out, detail, true);
    put_line(out, str_skip(words, at + 2));
}

static struct str why(const struct writer *w, struct status status)
{
    size_t found = 0;
    for (size_t i = 1; i < ARRAY_LEN(whys) && !found; i++)
        if (whys[i].subject == status.subject && whys[i].detail == status.detail)
            found = i;
    return whys[found].text[w->language];
}

static void put_recipient_for_people(struct buf *out, const struct writer *w,
                                     const struct report_recipient *to)
{
    struct buf date;
    buf_put(out, STR("\r\n    <"));
    put_address(out, w->report, to->address);
    buf_put(out, STR(">\r\n"));
    if (to->kind != REPORT_FAILED && to->kind != REPORT_DELAYED)
        return;
    buf_put(out, STR("    "));
    buf_put(out, why(w, to->status));
    buf_put(out, STR(" ("));
    put_status(out, to->status);
    buf_put(out, STR(")\r\n"));
    if (to->reason.len) {
        buf_put(out, STR("    "));
        say(out, w, TEXT_said, to->reason);
    }
    if (to->reply.len) {
        buf_put(out, STR("    "));
        say(out, w, TEXT_reply, to->reply);
    }
    if (to->until_ms) {
        buf_init(&date, 64);
        put_date(&date, w->report, to->until_ms);
        buf_put(out, STR("    "));
        say(out, w, TEXT_until, buf_str(&date));
        buf_finish(&date);
    }
}

// True when there are any of this kind.
static bool put_kind_for_people(struct buf *out, const struct writer *w, enum report_kind kind)
{
    bool any = false;
    for (size_t i = 0; i < w->report->recipient_count; i++) {
        const struct report_recipient *to = &w->report->recipients[i];
        if (to->kind != kind)
            continue;
        if (!any) {
            buf_put(out, STR("\r\n"));
            say(out, w, kinds[kind].text, STR(""));
        }
        any = true;
        put_recipient_for_people(out, w, to);
    }
    return any;
}

// "Name: value" of a field of the letter, folded lines joined; empty when it has none.
static struct str field_of(struct str header, struct str name)
{
    for (struct str rest = header; rest.len;) {
        size_t end = str_find(rest, STR("\r\n"));
        struct str line = str_sub(rest, 0, end);
        rest = str_skip(rest, end + 2);
        if (!str_starts_nocase(line, name))
            continue;
        return str_trim(str_skip(line, name.len));
    }
    return STR("");
}

static void put_for_people(struct buf *out, const struct writer *w)
{
    const struct report *r = w->report;
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&r->letter, id);
    say(out, w, r->to_postmaster ? TEXT_opening_postmaster : TEXT_opening, r->hostname);
    for (enum report_kind kind = 0; kind < REPORT_KINDS; kind++)
        if (put_kind_for_people(out, w, kind) && kind == REPORT_FAILED) {
            buf_put(out, STR("\r\n"));
            say(out, w, TEXT_advice_failed, STR(""));
        }
    buf_put(out, STR("\r\n"));
    say(out, w, TEXT_ending, r->hostname);
    put_line(out, str_of(id));
}

// ---- for programs

// "rfc822; ADDR", or where it is not ASCII "utf-8; ADDR": as it is, or in the form of RFC 6533
// section 3 that needs seven bits only.
static void put_typed(struct buf *out, const struct writer *w, struct str type, struct str address)
{
    if (str_is_ascii(address) || w->utf8) {
        buf_put(out, type);
        buf_put(out, STR("; "));
        put_clean(out, address, w->utf8);
        put_line(out, STR(""));
        return;
    }
    const unsigned char *p = (const unsigned char *)address.ptr;
    size_t line = out->len;
    buf_put(out, STR("utf-8; "));
    must(str_is_utf8(address));
    for (size_t i = 0; i < address.len; i++) {
        size_t more = p[i] < 0x80 ? 0 : p[i] < 0xe0 ? 1 : p[i] < 0xf0 ? 2 : 3;
        uint32_t c = more ? p[i] & (0x3fU >> more) : p[i];
        for (size_t n = 0; n < more; n++)
            c = c << 6 | (p[++i] & 0x3fU);
        bool plain = c > 0x20 && c < 0x7f && c != '\\' && c != '+' && c != '=';
        if (plain)
            buf_put_byte(out, (char)c);
        else
            buf_putf(out, "\\x{%02lX}", (unsigned long)c);
        if (out->len - line > FOLD_AT) { // longer than an address can be that people use
            line = out->len;
            buf_put(out, STR("\r\n "));
        }
    }
    put_line(out, STR(""));
}

static void put_diagnostic(struct buf *out, const struct report_recipient *to)
{
    if (!to->reply.len && !to->reason.len)
        return;
    buf_put(out,
            to->reply.len ? STR("Diagnostic-Code: smtp; ") : STR("Diagnostic-Code: x-posthouse; "));
    put_clean(out, to->reply.len ? to->reply : to->reason, false);
    put_line(out, STR(""));
}

static void put_recipient_for_programs(struct buf *out, const struct writer *w,
                                       const struct report_recipient *to)
{
    struct buf address;
    struct str type, original = to->original;
    put_line(out, STR(""));
    if (str_cut(&original, ';', &type) && original.len) {
        buf_put(out, STR("Original-Recipient: "));
        put_typed(out, w, type, original);
    }
    buf_init(&address, 4 * LIMIT_address);
    put_address(&address, w->report, to->address);
    buf_put(out, STR("Final-Recipient: "));
    put_typed(out, w, to->address->utf8 ? STR("utf-8") : STR("rfc822"), buf_str(&address));
    buf_finish(&address);
    buf_put(out, STR("Action: "));
    put_line(out, kinds[to->kind].action);
    buf_put(out, STR("Status: "));
    put_status(out, to->status);
    put_line(out, STR(""));
    if (to->remote.len) {
        buf_put(out, STR("Remote-MTA: dns; "));
        put_clean(out, to->remote, false);
        put_line(out, STR(""));
    }
    put_diagnostic(out, to);
    if (to->attempt_ms) {
        buf_put(out, STR("Last-Attempt-Date: "));
        put_date(out, w->report, to->attempt_ms);
        put_line(out, STR(""));
    }
    if (to->until_ms) {
        buf_put(out, STR("Will-Retry-Until: "));
        put_date(out, w->report, to->until_ms);
        put_line(out, STR(""));
    }
}

static void put_for_programs(struct buf *out, const struct writer *w)
{
    const struct report *r = w->report;
    char id[MAIL_ID_TEXT + 1];
    if (r->envid.len) {
        buf_put(out, STR("Original-Envelope-Id: "));
        put_clean(out, r->envid, false);
        put_line(out, STR(""));
    }
    buf_put(out, STR("Reporting-MTA: dns; "));
    put_line(out, r->hostname);
    buf_put(out, STR("Arrival-Date: "));
    put_date(out, r, r->arrived_ms);
    mail_id_text(&r->letter, id);
    buf_putf(out, "\r\nX-Posthouse-Queue-Id: %s\r\n", id);
    for (size_t i = 0; i < r->recipient_count; i++)
        put_recipient_for_programs(out, w, &r->recipients[i]);
}

// ---- the letter

static struct str next_line(struct str *rest)
{
    size_t end = str_index(*rest, '\n');
    struct str line = str_sub(*rest, 0, end + 1);
    *rest = str_skip(*rest, end + 1);
    return line;
}

static bool line_fits(struct str line)
{
    return str_ends(line, STR("\r\n")) && line.len <= LINE_MAX + 2 &&
           str_index(line, '\r') == line.len - 2 && str_index(line, '\0') == line.len;
}

static bool goes_whole(const struct report *r)
{
    bool ok = r->whole && r->message.len <= LIMIT_report_quote;
    for (struct str rest = r->message; rest.len && ok;)
        ok = line_fits(next_line(&rest));
    return ok;
}

// Whole fields, those that fit.
static void put_header_of_letter(struct buf *out, struct str header)
{
    for (struct str rest = header; rest.len;) {
        struct str field = rest, line = next_line(&rest);
        bool fits = line_fits(line);
        while (rest.len && (rest.ptr[0] == ' ' || rest.ptr[0] == '\t')) {
            line = next_line(&rest);
            fits = fits && line_fits(line);
        }
        field.len -= rest.len;
        if (out->len + field.len > LIMIT_report_quote)
            return;
        if (fits)
            buf_put(out, field);
    }
}

// ---- the report

static void put_part(struct buf *out, const char *boundary, struct str type, struct str content)
{
    buf_putf(out, "\r\n--=_%s\r\nContent-Type: ", boundary);
    put_line(out, type);
    if (!str_is_ascii(content))
        put_line(out, STR("Content-Transfer-Encoding: 8bit"));
    put_line(out, STR(""));
    buf_put(out, content);
}

static void put_parts(struct buf *out, const struct writer *w, const char *boundary)
{
    const struct report *r = w->report;
    struct buf part;
    buf_init(&part, LIMIT_report);
    put_for_people(&part, w);
    put_part(out, boundary, STR("text/plain; charset=utf-8"), buf_str(&part));
    must(buf_ok(&part));
    buf_clear(&part);
    put_for_programs(&part, w);
    put_part(out, boundary,
             w->utf8 ? STR("message/global-delivery-status") : STR("message/delivery-status"),
             buf_str(&part));
    must(buf_ok(&part));
    if (goes_whole(r)) {
        put_part(out, boundary, w->utf8 ? STR("message/global") : STR("message/rfc822"),
                 r->message);
    } else {
        buf_clear(&part);
        put_header_of_letter(&part, w->header);
        put_part(out, boundary,
                 w->utf8 ? STR("message/global-headers") : STR("text/rfc822-headers"),
                 buf_str(&part));
    }
    buf_finish(&part);
    buf_putf(out, "\r\n--=_%s--\r\n", boundary);
}

static void put_base64(struct buf *out, struct str text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < text.len; i += 3) {
        struct str three = str_sub(text, i, 3);
        uint32_t bits = 0;
        for (size_t n = 0; n < 3; n++)
            bits = bits << 8 | (n < three.len ? (unsigned char)three.ptr[n] : 0);
        for (size_t n = 0; n < 4; n++)
            buf_put_byte(out, n <= three.len ? digits[bits >> (18 - 6 * n) & 0x3f] : '=');
    }
}

static void put_subject(struct buf *out, const struct writer *w)
{
    const struct report *r = w->report;
    enum report_kind worst = r->recipients[0].kind;
    for (size_t i = 1; i < r->recipient_count; i++)
        worst = r->recipients[i].kind < worst ? r->recipients[i].kind : worst;
    enum text text = r->to_postmaster ? TEXT_subject_postmaster : kinds[worst].subject;
    struct str words = texts[text][w->language];
    buf_put(out, STR("Subject: "));
    if (str_is_ascii(words)) {
        put_line(out, words);
        return;
    }
    must(words.len <= WORD_MAX);
    buf_put(out, STR("=?UTF-8?B?"));
    put_base64(out, words);
    put_line(out, STR("?="));
}

// What RFC 3834 section 3 and RFC 3464 section 2 ask for.
static void put_header(struct buf *out, const struct writer *w, const char *boundary, bool ascii)
{
    const struct report *r = w->report;
    struct str message_id = field_of(w->header, STR("Message-ID:"));
    buf_put(out, STR("Date: "));
    put_date(out, r, r->wall_ms);
    buf_putf(out, "\r\nFrom: Mail Delivery System <postmaster@%.*s>\r\nTo: <",
             STR_ARG(r->hostname));
    put_address(out, r, r->to);
    buf_put(out, STR(">\r\n"));
    put_subject(out, w);
    buf_putf(out, "Message-ID: <%s@%.*s>\r\n", boundary, STR_ARG(r->hostname));
    bool repeats = message_id.len && message_id.len <= LINE_MAX - 20 &&
                   str_starts(message_id, STR("<")) && str_ends(message_id, STR(">"));
    if (repeats) {
        buf_put(out, STR("In-Reply-To: "));
        put_clean(out, message_id, w->utf8);
        put_line(out, STR(""));
    }
    buf_put(out, STR("Auto-Submitted: auto-replied\r\nContent-Language: "));
    put_line(out, tags[w->language]);
    buf_putf(out,
             "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n"
             "\tboundary=\"=_%s\"\r\n",
             boundary);
    if (!ascii)
        put_line(out, STR("Content-Transfer-Encoding: 8bit"));
    put_line(out, STR(""));
}

bool report_put(struct buf *out, const struct report *r)
{
    struct writer w = {.report = r, .header = header_of(r->message), .utf8 = report_needs_utf8(r)};
    struct buf parts, to;
    char boundary[MAIL_ID_TEXT + 1];
    must(r->recipient_count > 0 && r->recipient_count <= LIMIT_report_recipients);
    mail_id_text(&r->id, boundary); // younger than the letter: it cannot stand in that
    buf_init(&to, 3 * LIMIT_address);
    buf_put(&to, STR("From: "));
    address_put(&to, r->to);
    w.language =
        language_is_chinese(w.header) || language_is_chinese(buf_str(&to)) ? CHINESE : ENGLISH;
    buf_finish(&to);
    buf_init(&parts, LIMIT_report);
    put_parts(&parts, &w, boundary);
    must(buf_ok(&parts));
    bool ascii = str_is_ascii(buf_str(&parts));
    put_header(out, &w, boundary, ascii);
    buf_put(out, buf_str(&parts));
    buf_finish(&parts);
    return !ascii || r->to->utf8;
}
