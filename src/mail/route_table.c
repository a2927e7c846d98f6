#include "mail/route_table.h"

#include "mail/domain.h"

enum { SMTP_PORT = 25, UNIX_PATH_MAX = 107 }; // sun_path, with its NUL

static bool wrong(struct err *err, const char *why)
{
    return err_set(err, ERR_PEER_WRONG, STATUS(5, 1, 3), "%s", why);
}

bool route_pattern_read(struct str text, struct arena *arena, struct str *pattern, struct err *err)
{
    char room[DOMAIN_ROOM], dotted[1 + DOMAIN_ROOM] = ".";
    struct str folded = text;
    bool below = str_starts(text, STR("."));
    if (!str_eq(text, STR("*"))) {
        if (!domain_fold(str_skip(text, below), room, &folded, err))
            return false;
        memcpy(dotted + 1, folded.ptr, folded.len);
        folded = str_from(dotted + !below, folded.len + below);
    }
    return arena_copy(arena, folded, pattern) ||
           err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for a route");
}

// How close the pattern is to the domain; 0: it does not fit. The domain itself is the closest.
static size_t closeness(struct str pattern, struct str domain)
{
    if (domain.len == 0)
        return 0;
    if (str_eq(pattern, STR("*")))
        return 1;
    if (str_eq(pattern, domain))
        return SIZE_MAX;
    bool below = str_starts(pattern, STR(".")) && str_ends(domain, pattern);
    return below ? 1 + pattern.len : 0;
}

const struct route_rule *route_table_find(const struct route_rule *rules, size_t count,
                                          struct str domain, struct str sender)
{
    const struct route_rule *best = NULL;
    size_t best_domain = 0, best_sender = 0;
    for (size_t i = 0; i < count; i++) {
        size_t by_domain = closeness(rules[i].domain, domain);
        size_t by_sender = rules[i].sender.len ? closeness(rules[i].sender, sender) : 0;
        if (by_domain == 0 || (rules[i].sender.len && by_sender == 0))
            continue;
        if (!best || by_domain > best_domain ||
            (by_domain == best_domain && by_sender > best_sender)) {
            best = &rules[i];
            best_domain = by_domain;
            best_sender = by_sender;
        }
    }
    return best;
}

// ---- targets

// An IP address as it stands behind "smtp://", by the rules of address literals.
static bool is_address(struct str host, bool ipv6)
{
    char room[LIMIT_domain];
    struct str tag = ipv6 ? STR("[IPv6:") : STR("[");
    if (host.len + tag.len + 1 > sizeof room)
        return false;
    memcpy(room, tag.ptr, tag.len);
    memcpy(room + tag.len, host.ptr, host.len);
    room[tag.len + host.len] = ']';
    return domain_literal_kind(str_from(room, tag.len + host.len + 1)) ==
           (ipv6 ? LITERAL_IPV6 : LITERAL_IPV4);
}

static bool read_host(struct str text, bool bracketed, struct arena *arena, struct str *host,
                      struct err *err)
{
    struct str last = str_skip(text, str_rindex(text, '.') + 1);
    uint64_t number;
    *host = text;
    if (bracketed)
        return is_address(text, true) || wrong(err, "in the brackets is no IPv6 address");
    if (is_address(text, false))
        return true;
    if (str_to_u64(last.len ? last : text, &number))
        return wrong(err, "the host is neither a name nor an IP address");
    return domain_read(text, arena, host, err);
}

// HOST or HOST:PORT
static bool read_place(struct str text, uint16_t preset, struct arena *arena,
                       struct route_target *target, struct err *err)
{
    bool bracketed = str_starts(text, STR("["));
    size_t end = bracketed ? str_index(text, ']') : str_index(text, ':');
    if (bracketed && end == text.len)
        return wrong(err, "a bracket is not closed");
    struct str host = str_sub(text, bracketed, end - bracketed);
    struct str rest = str_skip(text, end + bracketed);
    uint64_t port = preset;
    if (rest.len && (rest.ptr[0] != ':' || !str_to_u64(str_skip(rest, 1), &port) || port == 0 ||
                     port > UINT16_MAX))
        return wrong(err, "the port is no number from 1 to 65535");
    if (port == 0)
        return wrong(err, "LMTP has no port of its own: name one");
    target->port = (uint16_t)port;
    return read_host(host, bracketed, arena, &target->host, err);
}

bool route_target_read(struct str text, struct arena *arena, struct route_target *target,
                       struct err *err)
{
    struct str smtp = STR("smtp://"), lmtp = STR("lmtp://"), path = STR("lmtp:/");
    struct str error = STR("error:");
    *target = (struct route_target){.kind = ROUTE_TO_SMTP};
    if (str_starts(text, smtp))
        return read_place(str_skip(text, smtp.len), SMTP_PORT, arena, target, err);
    if (str_starts(text, lmtp)) {
        target->kind = ROUTE_TO_LMTP;
        return read_place(str_skip(text, lmtp.len), 0, arena, target, err);
    }
    if (str_starts(text, path)) {
        target->kind = ROUTE_TO_LMTP_PATH;
        target->text = str_skip(text, path.len - 1);
        return target->text.len <= UNIX_PATH_MAX ||
               wrong(err, "the path of a unix socket holds 107 octets");
    }
    if (str_starts(text, error)) {
        target->kind = ROUTE_TO_ERROR;
        target->text = str_trim_blanks(str_skip(text, error.len));
        return target->text.len > 0 || wrong(err, "say why the mail is refused");
    }
    return wrong(err, "not a target");
}
