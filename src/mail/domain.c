#include "mail/domain.h"

#include <idn2.h>

enum { LABEL_MAX = 63 }; // RFC 1035 section 2.3.4

static bool wrong(struct err *err, const char *why)
{
    return err_set(err, ERR_PEER_WRONG, STATUS(5, 1, 3), "%s", why);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_let_dig(char c)
{
    char lower = ascii_lower(c);
    return is_digit(c) || (lower >= 'a' && lower <= 'z');
}

static bool is_hex(char c)
{
    char lower = ascii_lower(c);
    return is_digit(c) || (lower >= 'a' && lower <= 'f');
}

static bool check_label(struct str label, struct err *err)
{
    if (label.len == 0)
        return wrong(err, "a label of the domain is empty");
    if (label.len > LABEL_MAX)
        return wrong(err, "a label of the domain is longer than 63 octets");
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return wrong(err, "a label of the domain begins or ends with a hyphen");
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        if (!is_let_dig(c) && c != '-' && c != '_')
            return wrong(err, "a character that may not stand in a domain");
    }
    return true;
}

static bool fold_ascii(struct str text, char room[DOMAIN_ROOM], struct str *folded, struct err *err)
{
    if (text.len == 0)
        return wrong(err, "the domain is empty");
    if (text.len > LIMIT_domain)
        return wrong(err, "the domain is longer than 255 octets");
    // str_cut would not tell the empty label behind a last dot.
    for (size_t at = 0; at <= text.len;) {
        size_t len = str_index(str_skip(text, at), '.');
        if (!check_label(str_sub(text, at, len), err))
            return false;
        at += len + 1;
    }
    for (size_t i = 0; i < text.len; i++)
        room[i] = ascii_lower(text.ptr[i]);
    *folded = str_from(room, text.len);
    return true;
}

// The result of libidn2 is checked like any other name: its mapping can yield ASCII characters
// that may not stand in a domain, or nothing at all.
static bool fold_utf8(struct str text, char room[DOMAIN_ROOM], struct str *folded, struct err *err)
{
    char cstring[LIMIT_domain + 1];
    uint8_t *ascii = NULL;
    if (text.len > LIMIT_domain)
        return wrong(err, "the domain is longer than 255 octets");
    if (!str_is_utf8(text))
        return wrong(err, "the domain is not valid UTF-8");
    if (str_index(text, '\0') < text.len)
        return wrong(err, "a character that may not stand in a domain");
    memcpy(cstring, text.ptr, text.len);
    cstring[text.len] = '\0';
    int rc =
        idn2_lookup_u8((const uint8_t *)cstring, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc == IDN2_MALLOC)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for a domain");
    if (rc != IDN2_OK)
        return err_set(err, ERR_PEER_WRONG, STATUS(5, 1, 3),
                       "not an internationalized domain name (%s)", idn2_strerror(rc));
    bool ok = fold_ascii(str_of((const char *)ascii), room, folded, err);
    idn2_free(ascii);
    return ok;
}

bool domain_fold(struct str text, char room[DOMAIN_ROOM], struct str *folded, struct err *err)
{
    if (text.len > 1 && text.ptr[text.len - 1] == '.')
        text.len--;
    if (str_is_ascii(text))
        return fold_ascii(text, room, folded, err);
    return fold_utf8(text, room, folded, err);
}

static bool keep(struct str text, struct arena *arena, struct str *copy, struct err *err)
{
    return arena_copy(arena, text, copy) ||
           err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for a domain");
}

bool domain_read(struct str text, struct arena *arena, struct str *folded, struct err *err)
{
    char room[DOMAIN_ROOM];
    struct str view;
    return domain_fold(text, room, &view, err) && keep(view, arena, folded, err);
}

bool domain_read_host(struct str text, struct arena *arena, struct str *folded, struct err *err)
{
    if (text.len == 0 || text.ptr[0] != '[')
        return domain_read(text, arena, folded, err);
    char room[DOMAIN_ROOM];
    switch (domain_literal_kind(text)) {
    case LITERAL_BAD:
        return wrong(err, "not an address literal");
    case LITERAL_GENERAL:
        wrong(err, "unknown kind of address literal");
        err->code = 553;
        return false;
    case LITERAL_IPV4:
    case LITERAL_IPV6:
        break;
    }
    for (size_t i = 0; i < text.len; i++)
        room[i] = ascii_lower(text.ptr[i]);
    return keep(str_from(room, text.len), arena, folded, err);
}

// ---- address literals

// Snum 3("." Snum), each 1*3DIGIT and at most 255.
static bool is_ipv4(struct str s)
{
    for (int part = 0; part < 4; part++) {
        size_t len = part < 3 ? str_index(s, '.') : s.len;
        uint64_t value;
        if (len == s.len && part < 3)
            return false;
        if (len > 3 || !str_to_u64(str_sub(s, 0, len), &value) || value > 255)
            return false;
        s = str_skip(s, len + 1);
    }
    return true;
}

// IPv6-full, -comp, v4-full, v4-comp of RFC 5321 section 4.1.3: eight groups, of which an IPv4
// tail is two; one "::" stands for two groups and more.
static bool is_ipv6(struct str s)
{
    unsigned groups = 0;
    bool gap = false;
    for (size_t i = 0;;) {
        if (!gap && str_starts(str_skip(s, i), STR("::"))) {
            gap = true;
            i += 2;
            if (i == s.len)
                break;
        } else if (groups > 0) {
            if (s.ptr[i] != ':')
                return false;
            i++;
        }
        size_t hex = i;
        while (hex < s.len && is_hex(s.ptr[hex]))
            hex++;
        if (hex < s.len && s.ptr[hex] == '.') {
            if (!is_ipv4(str_skip(s, i)))
                return false;
            groups += 2;
            break;
        }
        if (hex == i || hex - i > 4)
            return false;
        groups++;
        i = hex;
        if (i == s.len)
            break;
    }
    return gap ? groups <= 6 : groups == 8;
}

// Standardized-tag ":" 1*dcontent
static bool is_general(struct str s)
{
    struct str tag = str_sub(s, 0, str_index(s, ':'));
    struct str content = str_skip(s, tag.len + 1);
    if (tag.len == 0 || content.len == 0 || tag.ptr[tag.len - 1] == '-')
        return false;
    for (size_t i = 0; i < tag.len; i++)
        if (!is_let_dig(tag.ptr[i]) && tag.ptr[i] != '-')
            return false;
    for (size_t i = 0; i < content.len; i++) {
        char c = content.ptr[i];
        if (c < 33 || c > 126 || (c >= '[' && c <= ']'))
            return false;
    }
    return true;
}

enum literal_kind domain_literal_kind(struct str text)
{
    if (text.len < 2 || text.len > LIMIT_domain || text.ptr[0] != '[' ||
        text.ptr[text.len - 1] != ']')
        return LITERAL_BAD;
    struct str inside = str_sub(text, 1, text.len - 2);
    struct str tag = STR("IPv6:");
    if (str_starts_nocase(inside, tag))
        return is_ipv6(str_skip(inside, tag.len)) ? LITERAL_IPV6 : LITERAL_BAD;
    if (is_ipv4(inside))
        return LITERAL_IPV4;
    return is_general(inside) ? LITERAL_GENERAL : LITERAL_BAD;
}
