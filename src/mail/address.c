// The reader walks over the text once, with one position; each read_ function begins where the
// one before it stopped. What it finds is checked there and then, and only copied into the arena
// when the whole path is right.
#include "mail/address.h"

#include <unicase.h>
#include <uninorm.h>

#include "base/base32.h"
#include "base/digest.h"
#include "base/limits.h"

struct reader {
    struct str text;
    size_t at;
    char end;  // '>' of a path in brackets, ' ' of a bare one, '\0': the end of the text only
    bool utf8; // bytes above 127 may stand
    enum path_role role;
    struct arena *arena;
    struct err *err;
    char local[LIMIT_local_part]; // content of the local part
    size_t local_len;
};

static bool wrong(struct reader *r, const char *why)
{
    return err_set(r->err, ERR_PEER_WRONG, STATUS(5, 1, 3), "%s", why);
}

static bool no_memory(struct reader *r)
{
    return err_set(r->err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for an address");
}

// ---- characters

static bool is_utf8_byte(char c)
{
    return (unsigned char)c >= 0x80;
}

static bool is_alnum(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

// atext of RFC 5322 section 3.2.3, with UTF8-non-ascii as RFC 6531 section 3.3 adds it.
static bool is_atext(char c)
{
    struct str specials = STR("!#$%&'*+-/=?^_`{|}~");
    return is_alnum(c) || is_utf8_byte(c) || str_index(specials, c) < specials.len;
}

static bool is_domain_byte(char c)
{
    return is_alnum(c) || is_utf8_byte(c) || c == '-' || c == '_' || c == '.';
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

// U+0080 to U+009F.
static bool has_c1_control(struct str s)
{
    for (size_t i = 0; i + 1 < s.len; i++)
        if ((unsigned char)s.ptr[i] == 0xc2 && (unsigned char)s.ptr[i + 1] < 0xa0)
            return true;
    return false;
}

static bool is_dot_string(struct str s)
{
    if (s.len == 0 || s.ptr[0] == '.' || s.ptr[s.len - 1] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] == '.' ? s.ptr[i - 1] == '.' : !is_atext(s.ptr[i]))
            return false;
    return true;
}

// ---- reading

// NUL when there is none; a NUL in the text is as wrong as that everywhere.
static char peek(const struct reader *r)
{
    return r->at < r->text.len ? r->text.ptr[r->at] : '\0';
}

static bool at_end(const struct reader *r)
{
    if (r->at == r->text.len)
        return r->end != '>';
    return r->end != '\0' && r->text.ptr[r->at] == r->end;
}

static bool unexpected(struct reader *r, const char *where)
{
    char c = peek(r);
    if (at_end(r))
        return wrong(r, "the address ends too early");
    if (r->at == r->text.len)
        return wrong(r, "the closing > is missing");
    if (is_control(c))
        return wrong(r, "a control character in the address");
    if (c == ' ')
        return wrong(r, "a space in the address");
    if (is_utf8_byte(c))
        return wrong(r, "a character that may not stand in an address");
    return err_set(r->err, ERR_PEER_WRONG, STATUS(5, 1, 3), "%c may not stand in the %s", c, where);
}

static bool check_utf8(struct reader *r, struct str s)
{
    if (str_is_ascii(s))
        return true;
    if (!r->utf8)
        return wrong(r, "an address that is not ASCII needs SMTPUTF8");
    if (!str_is_utf8(s))
        return wrong(r, "the address is not valid UTF-8");
    return !has_c1_control(s) || wrong(r, "a control character in the address");
}

static bool add_to_local(struct reader *r, char c)
{
    if (r->local_len == sizeof r->local)
        return wrong(r, "the local part is longer than 64 octets");
    r->local[r->local_len++] = c;
    return true;
}

// DQUOTE *QcontentSMTP DQUOTE; the position is at the first quote.
static bool read_quoted(struct reader *r)
{
    for (r->at++; peek(r) != '"'; r->at++) {
        if (r->at < r->text.len && peek(r) == '\\')
            r->at++;
        if (r->at >= r->text.len)
            return wrong(r, "the closing quote is missing");
        if (is_control(peek(r)))
            return wrong(r, "a control character in the address");
        if (!add_to_local(r, peek(r)))
            return false;
    }
    r->at++;
    return true;
}

static bool read_dot_string(struct reader *r)
{
    for (; is_atext(peek(r)) || peek(r) == '.'; r->at++)
        if (!add_to_local(r, peek(r)))
            return false;
    if (r->local_len == 0)
        return at_end(r) ? wrong(r, "the address is empty") : unexpected(r, "local part");
    return is_dot_string(str_from(r->local, r->local_len)) ||
           wrong(r, "a dot at the edge of the local part, or two in a row");
}

// A domain or literal as it stands in the text; it is checked by its reader.
static struct str read_domain_text(struct reader *r)
{
    size_t start = r->at;
    if (peek(r) == '[') {
        size_t close = str_index(str_skip(r->text, r->at), ']');
        r->at += close;
        r->at += r->at < r->text.len;
    } else {
        while (is_domain_byte(peek(r)))
            r->at++;
    }
    return str_sub(r->text, start, r->at - start);
}

static bool check_literal(struct reader *r, struct str text)
{
    switch (domain_literal_kind(text)) {
    case LITERAL_IPV4:
    case LITERAL_IPV6:
        return true;
    case LITERAL_GENERAL:
        wrong(r, "unknown kind of address literal");
        r->err->code = 553;
        return false;
    case LITERAL_BAD:
        break;
    }
    return wrong(r, "not an address literal");
}

// "@a,@b:" in front of the mailbox: checked and dropped, RFC 5321 appendix C.
static bool skip_source_route(struct reader *r)
{
    char room[DOMAIN_ROOM];
    struct str folded;
    while (peek(r) == '@') {
        r->at++;
        struct str hop = read_domain_text(r);
        if (hop.len == 0)
            return unexpected(r, "source route");
        if (hop.ptr[0] == '[' ? !check_literal(r, hop)
                              : !check_utf8(r, hop) || !domain_fold(hop, room, &folded, r->err))
            return false;
        char c = peek(r);
        if (c == ':') {
            r->at++;
            return true;
        }
        if (c != ',')
            return unexpected(r, "source route");
        r->at++;
    }
    return unexpected(r, "source route");
}

// ---- from text to address

// Shares the memory of `text` when folding changes nothing: most addresses of most letters.
static bool keep_folded(struct reader *r, struct str text, struct str folded, struct str *copy)
{
    if (str_eq(text, folded)) {
        *copy = text;
        return true;
    }
    return arena_copy(r->arena, folded, copy) || no_memory(r);
}

static bool fold_local(struct reader *r, struct str local, struct str *folded)
{
    if (str_is_ascii(local)) {
        char lower[LIMIT_local_part];
        for (size_t i = 0; i < local.len; i++)
            lower[i] = ascii_lower(local.ptr[i]);
        return keep_folded(r, local, str_from(lower, local.len), folded);
    }
    size_t len;
    uint8_t *cased =
        u8_casefold((const uint8_t *)local.ptr, local.len, NULL, UNINORM_NFC, NULL, &len);
    if (!cased)
        return no_memory(r);
    bool ok = keep_folded(r, local, str_from(cased, len), folded);
    free(cased);
    return ok;
}

static bool keep_domain(struct reader *r, struct str text, struct address *address)
{
    char room[DOMAIN_ROOM];
    struct str folded;
    if (text.ptr[0] == '[') {
        if (!check_literal(r, text))
            return false;
        address->kind = ADDRESS_LITERAL;
        for (size_t i = 0; i < text.len; i++)
            room[i] = ascii_lower(text.ptr[i]);
        folded = str_from(room, text.len);
    } else {
        if (!check_utf8(r, text) || !domain_fold(text, room, &folded, r->err))
            return false;
        address->kind = ADDRESS_DOMAIN;
        if (text.ptr[text.len - 1] == '.')
            text.len--;
    }
    if (!arena_copy(r->arena, text, &address->domain))
        return no_memory(r);
    return keep_folded(r, address->domain, folded, &address->folded_domain);
}

static bool keep_mailbox(struct reader *r, struct str domain, struct address *address)
{
    struct str local = str_from(r->local, r->local_len);
    if (!check_utf8(r, local) || !keep_domain(r, domain, address))
        return false;
    if (!arena_copy(r->arena, local, &address->local))
        return no_memory(r);
    address->utf8 = !str_is_ascii(local) || !str_is_ascii(domain);
    return fold_local(r, address->local, &address->folded_local);
}

static struct address bare_postmaster(void)
{
    return (struct address){
        .kind = ADDRESS_POSTMASTER, .local = STR("postmaster"), .folded_local = STR("postmaster")};
}

// Mailbox, or the postmaster without a domain (RFC 5321 section 4.5.1).
static bool read_mailbox(struct reader *r, struct address *address)
{
    bool quoted = peek(r) == '"';
    if (quoted ? !read_quoted(r) : !read_dot_string(r))
        return false;
    if (at_end(r)) {
        struct str local = str_from(r->local, r->local_len);
        if (r->role == PATH_REVERSE || quoted || !str_eq_nocase(local, STR("postmaster")))
            return wrong(r, "the domain is missing");
        *address = bare_postmaster();
        return true;
    }
    if (peek(r) != '@')
        return unexpected(r, "local part");
    r->at++;
    struct str domain = read_domain_text(r);
    if (!at_end(r))
        return unexpected(r, "domain");
    if (domain.len == 0)
        return wrong(r, "the domain is empty");
    return keep_mailbox(r, domain, address);
}

static bool read_path(struct reader *r, struct address *address)
{
    bool brackets = peek(r) == '<';
    r->end = brackets ? '>' : ' ';
    r->at += brackets;
    if (brackets && r->role == PATH_REVERSE && peek(r) == '>') {
        *address = (struct address){.kind = ADDRESS_NULL};
    } else {
        if (peek(r) == '@' && !skip_source_route(r))
            return false;
        if (!read_mailbox(r, address))
            return false;
    }
    r->at += brackets;
    // A bare path is counted as if it had its brackets.
    if (r->at + (brackets ? 0 : 2) > LIMIT_path)
        return wrong(r, "the path is longer than 256 octets");
    return r->at == r->text.len || peek(r) == ' ' || wrong(r, "text right behind the closing >");
}

bool address_read_path(struct str *text, enum path_role role, bool utf8, struct arena *arena,
                       struct address *address, struct err *err)
{
    struct reader r = {.text = *text, .role = role, .utf8 = utf8, .arena = arena, .err = err};
    struct address read = {.kind = ADDRESS_NULL};
    if (!read_path(&r, &read)) {
        if (err->class == ERR_PEER_WRONG && err->code == 0) {
            err->status = role == PATH_REVERSE ? STATUS(5, 1, 7) : STATUS(5, 1, 3);
            err->code = 501;
        }
        return false;
    }
    *text = str_skip(*text, r.at);
    *address = read;
    return true;
}

static bool read_whole(struct reader *r, struct address *address)
{
    struct address read = {.kind = ADDRESS_NULL};
    bool ok = read_mailbox(r, &read);
    if (ok && r->text.len + 2 > LIMIT_path)
        ok = wrong(r, "the address is longer than 254 octets");
    if (ok)
        *address = read;
    else if (r->err->class == ERR_PEER_WRONG && r->err->code == 0)
        r->err->code = 501;
    return ok;
}

bool address_read(struct str text, struct arena *arena, struct address *address, struct err *err)
{
    struct reader r = {
        .text = text, .role = PATH_REVERSE, .utf8 = true, .arena = arena, .err = err};
    return read_whole(&r, address);
}

bool address_read_stored(struct str text, enum path_role role, struct arena *arena,
                         struct address *address, struct err *err)
{
    struct reader r = {.text = text, .role = role, .utf8 = true, .arena = arena, .err = err};
    if (text.len > 0 || role == PATH_FORWARD)
        return read_whole(&r, address);
    *address = (struct address){.kind = ADDRESS_NULL};
    return true;
}

// ---- writing

static void put_local(struct buf *out, struct str local)
{
    if (is_dot_string(local)) {
        buf_put(out, local);
        return;
    }
    buf_put_byte(out, '"');
    for (size_t i = 0; i < local.len; i++) {
        if (local.ptr[i] == '"' || local.ptr[i] == '\\')
            buf_put_byte(out, '\\');
        buf_put_byte(out, local.ptr[i]);
    }
    buf_put_byte(out, '"');
}

static void put_mailbox(struct buf *out, enum address_kind kind, struct str local,
                        struct str domain)
{
    switch (kind) {
    case ADDRESS_NULL:
        return;
    case ADDRESS_POSTMASTER:
        buf_put(out, local);
        return;
    case ADDRESS_DOMAIN:
    case ADDRESS_LITERAL:
        put_local(out, local);
        buf_put_byte(out, '@');
        buf_put(out, domain);
        return;
    }
}

void address_put(struct buf *out, const struct address *address)
{
    put_mailbox(out, address->kind, address->local, address->domain);
}

void address_put_folded(struct buf *out, const struct address *address)
{
    put_mailbox(out, address->kind, address->folded_local, address->folded_domain);
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->kind == b->kind && str_eq(a->folded_local, b->folded_local) &&
           str_eq(a->folded_domain, b->folded_domain);
}

bool address_is_postmaster(const struct address *address)
{
    return str_eq(address->folded_local, STR("postmaster"));
}

// ---- file names

static bool stands_in_file_name(char c)
{
    struct str others = STR("-_.+=");
    return is_alnum(c) || str_index(others, c) < others.len;
}

// Length of the well-formed character above ASCII and above the C1 controls at s[i], or 0.
static size_t utf8_length(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.ptr[i];
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    struct str one = str_sub(s, i, n);
    return c >= 0x80 && one.len == n && str_is_utf8(one) && !has_c1_control(one) ? n : 0;
}

static void put_encoded(struct buf *out, struct str part)
{
    for (size_t i = 0; i < part.len;) {
        size_t n = utf8_length(part, i);
        if (n == 0 && stands_in_file_name(part.ptr[i]) && !(i == 0 && part.ptr[i] == '.'))
            n = 1;
        if (n > 0)
            buf_put(out, str_sub(part, i, n));
        else
            buf_putf(out, "%%%02x", (unsigned char)part.ptr[i]);
        i += n > 0 ? n : 1;
    }
}

// The encoding writes % only before two hexadecimal digits, so %empty and %sha256 are names that
// no content has.
void address_put_file_name(struct buf *out, struct str part)
{
    enum { NAME_MAX_OCTETS = 255 };
    struct buf name;
    buf_init(&name, NAME_MAX_OCTETS);
    if (part.len == 0) {
        buf_put(out, STR("%empty"));
        return;
    }
    put_encoded(&name, part);
    if (buf_ok(&name)) {
        buf_put(out, buf_str(&name));
    } else {
        unsigned char digest[DIGEST_SHA256_SIZE];
        digest_sha256(part, digest);
        buf_put(out, STR("%sha256-"));
        base32_put(out, str_from(digest, sizeof digest));
    }
    buf_finish(&name);
}
