#include "conf/pattern.h"

#include "base/limits.h"

static bool is_letter_or_digit(char c)
{
    char low = ascii_lower(c);
    return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

// What is wrong with a label, or NULL.
static const char *label_fault(struct str label)
{
    if (label.len == 0)
        return "has two dots together, or one at an end";
    if (label.len > 63)
        return "has a part of more than 63 octets";
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return "has a hyphen at the end of a part";
    for (size_t i = 0; i < label.len; i++)
        if (!is_letter_or_digit(label.ptr[i]) && label.ptr[i] != '-')
            return "holds something else than letters, digits, hyphens and dots";
    return NULL;
}

bool pattern_check_host(struct str name, struct arena *arena, struct complaint *complaint)
{
    const char *fault = name.len == 0 ? "is empty" : NULL;
    struct str rest = name, label = STR("");
    uint64_t number;
    size_t labels = 0;
    if (name.len > LIMIT_domain)
        fault = "is longer than 255 octets";
    while (!fault && str_cut(&rest, '.', &label)) {
        fault = label_fault(label);
        labels++;
    }
    if (!fault && str_ends(name, STR(".")))
        fault = label_fault(STR(""));
    if (!fault && labels < 2)
        fault = "is not a full name";
    if (!fault && str_to_u64(label, &number))
        fault = "is not a name but an address";
    if (!fault)
        return true;
    return complain(complaint,
                    problem_text(arena, "the host name \"%.*s\" %s", STR_ARG(name), fault),
                    STR("write a full domain name, like mail.example.com"));
}

bool conf_is_server(struct str text)
{
    struct net_address address;
    size_t at = str_index(text, '@');
    uint64_t port = 53;
    return net_ip_read(str_sub(text, 0, at), &address) && address.scope == 0 &&
           (at == text.len ||
            (str_to_u64(str_skip(text, at + 1), &port) && port > 0 && port <= UINT16_MAX));
}

bool pattern_check_server(struct str text, struct arena *arena, struct complaint *complaint)
{
    return conf_is_server(text) ||
           complain(
               complaint,
               problem_text(arena, "\"%.*s\" is not the IP address of a DNS server", STR_ARG(text)),
               STR("write it like 127.0.0.1, or 127.0.0.1@5353 with a port"));
}

// Can this byte come out of a user's or domain's file name (address_put_file_name)?
static bool in_file_name(char c)
{
    return is_letter_or_digit(c) || memchr("-_.+=%", c, 6) != NULL;
}

// NULL when the pattern's %-signs are in order. Between two of the names must stand what neither
// can hold: with "%d-%u" the users b of a-x.org... would share a mailbox with others.
static const char *escapes_fault(struct str pattern)
{
    bool user = false, name_before = false, parted = false;
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.ptr[i] != '%') {
            parted |= !in_file_name(pattern.ptr[i]);
            continue;
        }
        char what = i + 1 < pattern.len ? pattern.ptr[++i] : '\0';
        if (what == '%')
            continue;
        if (what != 'u' && what != 'd')
            return "has a % that is followed by none of u, d and %";
        if (name_before && !parted)
            return "does not keep %d and %u apart: two users could get one mailbox";
        name_before = true;
        parted = false;
        user |= what == 'u';
    }
    return user ? NULL : "has no %u: all users would get one mailbox";
}

bool pattern_check_mailbox(struct str pattern, struct arena *arena, struct complaint *complaint)
{
    const char *fault = escapes_fault(pattern);
    struct str rest = pattern, part;
    if (!fault && str_starts(pattern, STR("/")))
        fault = "is absolute";
    if (!fault && str_ends(pattern, STR("/")))
        fault = "ends with a slash";
    while (!fault && str_cut(&rest, '/', &part))
        if (part.len == 0 || str_eq(part, STR(".")) || str_eq(part, STR("..")))
            fault = "has a part that is empty, . or ..";
    if (!fault)
        return true;
    return complain(complaint,
                    problem_text(arena, "the mailbox pattern \"%.*s\" %s", STR_ARG(pattern), fault),
                    STR("write a path below mail_dir, like \"%d/%u\""));
}

void conf_put_mailbox(struct buf *out, const struct conf *conf, struct str domain_name,
                      struct str user_name)
{
    struct str pattern = conf->mailbox;
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.ptr[i] != '%') {
            buf_put_byte(out, pattern.ptr[i]);
            continue;
        }
        char what = pattern.ptr[++i]; // the pattern was checked
        if (what == 'd')
            buf_put(out, domain_name);
        else if (what == 'u')
            buf_put(out, user_name);
        else
            buf_put_byte(out, '%');
    }
}

bool pattern_matches(struct str pattern, struct str name)
{
    size_t p = 0, n = 0, star = pattern.len, resume = 0;
    if (str_starts(name, STR(".")) && !str_starts(pattern, STR(".")))
        return false;
    while (n < name.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            // Try with nothing for the star; on a mismatch come back and give it one byte more.
            star = p++;
            resume = n;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == name.ptr[n])) {
            p++;
            n++;
        } else if (star < pattern.len) {
            p = star + 1;
            n = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}
