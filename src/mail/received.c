#include "mail/received.h"

#include "base/base32.h"
#include "base/digest.h"
#include "base/limits.h"
#include "mail/date.h"

enum { LINE_WIDTH = 77, CLAUSE_MAX = 1024 };

// Writes clause by clause; one that does not fit in the line begins the next.
struct folder {
    struct buf *out;
    struct buf clause;
    size_t column;
};

static void new_line(struct folder *f)
{
    buf_put(f->out, STR("\r\n\t"));
    f->column = 1;
}

static void end_clause(struct folder *f)
{
    size_t space = f->column > 1;
    if (f->column > 1 && f->column + space + f->clause.len > LINE_WIDTH) {
        new_line(f);
        space = 0;
    }
    if (space)
        buf_put_byte(f->out, ' ');
    buf_put(f->out, buf_str(&f->clause));
    f->column += space + f->clause.len;
    must(buf_ok(&f->clause));
    buf_clear(&f->clause);
}

// A name of outside, checked once more: what is no domain or literal would be free text in the
// header. U-labels stand only in a letter that may have UTF-8 there, as A-labels otherwise.
static bool put_host(struct buf *out, struct str name, bool utf8)
{
    char room[DOMAIN_ROOM];
    struct str folded;
    struct err err;
    enum literal_kind kind = domain_literal_kind(name);
    bool literal = kind == LITERAL_IPV4 || kind == LITERAL_IPV6;
    if (!literal && !domain_fold(name, room, &folded, &err))
        return false;
    if (str_ends(name, STR("."))) // the root of a name has no place in the grammar
        name.len--;
    if (literal || utf8 || str_is_ascii(name))
        buf_put(out, name);
    else
        buf_put(out, folded);
    return true;
}

// TCP-info: "(" [ Domain FWS ] address-literal ")".
static void put_tcp_info(struct folder *f, const struct received *r)
{
    struct buf literal;
    buf_init(&literal, LIMIT_domain);
    buf_put(&literal, r->ipv6 ? STR("[IPv6:") : STR("["));
    buf_put(&literal, r->ip);
    buf_put_byte(&literal, ']');
    enum literal_kind kind = domain_literal_kind(buf_str(&literal));
    if (buf_ok(&literal) && kind == (r->ipv6 ? LITERAL_IPV6 : LITERAL_IPV4)) {
        buf_put_byte(&f->clause, '(');
        if (put_host(&f->clause, r->reverse_name, r->utf8))
            end_clause(f);
        buf_put(&f->clause, buf_str(&literal));
        buf_put_byte(&f->clause, ')');
        end_clause(f);
    }
    buf_finish(&literal);
}

// RFC 3848 and RFC 6531 section 4.3. S and A are registered for the extended protocols only.
static void put_with(struct buf *out, const struct received *r)
{
    buf_put(out, STR("with "));
    if (r->utf8)
        buf_put(out, r->lmtp ? STR("UTF8LMTP") : STR("UTF8SMTP"));
    else if (r->lmtp)
        buf_put(out, STR("LMTP"));
    else
        buf_put(out, r->esmtp || r->tls || r->auth ? STR("ESMTP") : STR("SMTP"));
    if (r->tls)
        buf_put_byte(out, 'S');
    if (r->auth)
        buf_put_byte(out, 'A');
}

bool received_needs_utf8(struct str header)
{
    struct str line;
    bool in_field = false;
    if (str_is_ascii(header))
        return false;
    while (str_cut(&header, '\n', &line)) {
        bool folded = line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t');
        if (in_field && !folded)
            break;
        in_field = in_field || str_starts_nocase(line, STR("Received:"));
        if (in_field && str_find(line, STR("with UTF8")) < line.len)
            return true;
    }
    return false;
}

static bool is_mark(struct str mark)
{
    for (size_t i = 0; i < mark.len; i++)
        if ((mark.ptr[i] < 'a' || mark.ptr[i] > 'z') && mark.ptr[i] != '-')
            return false;
    return mark.len > 0;
}

// An address that needs UTF-8 stands only where the header may have it.
static bool wants_for(const struct received *r)
{
    const struct address *to = r->only_recipient;
    return to && to->kind != ADDRESS_NULL && (r->utf8 || !to->utf8);
}

void received_put(struct buf *out, const struct received *r)
{
    struct folder f = {.out = out};
    buf_init(&f.clause, CLAUSE_MAX);
    buf_put(out, STR("Received:"));
    f.column = sizeof "Received:" - 1;

    buf_put(&f.clause, STR("from "));
    if (!put_host(&f.clause, r->helo, r->utf8))
        buf_put(&f.clause, STR("unknown"));
    end_clause(&f);
    put_tcp_info(&f, r);

    new_line(&f);
    buf_put(&f.clause, STR("by "));
    if (!put_host(&f.clause, r->by, r->utf8))
        buf_put(&f.clause, STR("localhost"));
    end_clause(&f);
    put_with(&f.clause, r);
    end_clause(&f);
    if (is_mark(r->helo_mark)) {
        buf_putf(&f.clause, "(helo=%.*s)", STR_ARG(r->helo_mark));
        end_clause(&f);
    }
    buf_put(&f.clause, STR("id "));
    mail_id_put(&f.clause, &r->id);
    if (wants_for(r)) {
        end_clause(&f);
        buf_put(&f.clause, STR("for <"));
        address_put(&f.clause, r->only_recipient);
        buf_put_byte(&f.clause, '>');
    }
    buf_put_byte(&f.clause, ';');
    end_clause(&f);

    new_line(&f);
    date_put(&f.clause, r->wall_ms, r->zone_minutes);
    end_clause(&f);
    buf_put(out, STR("\r\n"));
    buf_finish(&f.clause);
}

void return_path_put(struct buf *out, const struct address *reverse_path)
{
    buf_put(out, STR("Return-Path: <"));
    address_put(out, reverse_path);
    buf_put(out, STR(">\r\n"));
}

void delivered_token_put(struct buf *out, const struct address *recipient, struct str secret)
{
    enum { TOKEN_SIZE = 10 };
    unsigned char mac[DIGEST_SHA256_SIZE];
    struct buf folded;
    buf_init(&folded, 4 * LIMIT_address); // case folding makes a local part at most thrice as long
    address_put_folded(&folded, recipient);
    must(buf_ok(&folded));
    digest_hmac_sha256(secret, buf_str(&folded), mac);
    buf_finish(&folded);
    base32_put(out, str_from(mac, TOKEN_SIZE));
}

void delivered_to_put(struct buf *out, struct str recipient, struct str token)
{
    buf_put(out, STR("Delivered-To: "));
    buf_put(out, recipient);
    buf_put(out, STR(" ("));
    buf_put(out, token);
    buf_put(out, STR(")\r\n"));
}
