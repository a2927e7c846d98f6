// MAIL and RCPT, RFC 5321 sections 4.1.1.2 and 4.1.1.3, with the parameters of the extensions.
#include "proto/smtp_private.h"

// ---- parameters

static bool parameter_size(struct smtp_server *s, struct str value)
{
    enum { SIZE_DIGITS = 20 }; // RFC 1870 section 6.1
    if (value.len == 0 || value.len > SIZE_DIGITS)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
    if (!str_to_u64(value, &s->declared_size))
        s->declared_size = UINT64_MAX; // 20 digits hold more than 64 bits
    return true;
}

// No BINARYMIME: it needs BDAT (RFC 3030 section 3).
static bool parameter_body(struct smtp_server *s, struct str value)
{
    s->body_8bit = str_eq_nocase(value, STR("8BITMIME"));
    return s->body_8bit || str_eq_nocase(value, STR("7BIT"));
}

static bool parameter_smtputf8(struct smtp_server *s, struct str value)
{
    s->utf8 = true;
    return value.ptr == NULL;
}

struct parameter {
    struct str keyword;
    bool (*read)(struct smtp_server *s, struct str value);
};

// clang-format off
static const struct parameter mail_parameters[] = {
    {WORD("SIZE"),     parameter_size},     // RFC 1870
    {WORD("BODY"),     parameter_body},     // RFC 6152
    {WORD("SMTPUTF8"), parameter_smtputf8}, // RFC 6531
    {WORD("RET"),      smtp_parameter_ret}, // RFC 3461
    {WORD("ENVID"),    smtp_parameter_envid},
    {{NULL, 0},        NULL},
};
static const struct parameter rcpt_parameters[] = {
    {WORD("NOTIFY"),   smtp_parameter_notify},
    {WORD("ORCPT"),    smtp_parameter_orcpt},
    {{NULL, 0},        NULL},
};
// clang-format on

// One parameter. True when it is right; *seen has a bit for each that was there before.
static bool read_parameter(struct smtp_server *s, const struct parameter *known, struct str text,
                           unsigned *seen, struct smtp_event *event)
{
    size_t equals = str_index(text, '=');
    struct str keyword = str_sub(text, 0, equals);
    struct str value = equals < text.len ? str_skip(text, equals + 1) : (struct str){NULL, 0};
    for (unsigned i = 0; s->esmtp && known[i].read; i++) {
        if (!str_eq_nocase(known[i].keyword, keyword))
            continue;
        bool repeated = *seen & (1U << i);
        *seen |= 1U << i;
        if (!repeated && known[i].read(s, value))
            return true;
        smtp_refuse(s, event, SMTP_REPLY_bad_argument, text);
        return false;
    }
    smtp_refuse(s, event, SMTP_REPLY_unknown_parameter, text);
    return false;
}

static bool read_parameters(struct smtp_server *s, const struct parameter *known, struct str text,
                            struct smtp_event *event)
{
    struct str one;
    unsigned seen = 0;
    while (str_cut(&text, ' ', &one))
        if (one.len > 0 && !read_parameter(s, known, one, &seen, event))
            return false;
    return true;
}

// ---- MAIL

// "FROM:" or "TO:", and the one space behind the colon that people type, though RFC 5321
// section 3.3 has none.
static bool take_path_keyword(struct str *args, struct str keyword)
{
    if (!str_starts_nocase(*args, keyword))
        return false;
    *args = str_skip(*args, keyword.len);
    if (args->len > 0 && args->ptr[0] == ' ')
        *args = str_skip(*args, 1);
    return true;
}

static void refuse_path(struct smtp_server *s, struct smtp_event *event, enum smtp_reply syntax,
                        const struct err *err)
{
    if (err->class == ERR_TRY_LATER)
        smtp_refuse(s, event, SMTP_REPLY_no_memory, STR(""));
    else if (err->code == (int)smtp_reply_code(SMTP_REPLY_bad_literal))
        smtp_refuse(s, event, SMTP_REPLY_bad_literal, STR(""));
    else
        smtp_refuse(s, event, syntax, err_text(err));
}

static bool read_mail(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    struct err err = {.class = ERR_NONE};
    if (!take_path_keyword(&args, STR("FROM:"))) {
        smtp_refuse(s, event, SMTP_REPLY_bad_argument, STR("MAIL FROM:<address>"));
        return false;
    }
    // Whether SMTPUTF8 was said is known behind the path only.
    if (!address_read_path(&args, PATH_REVERSE, true, &s->transaction, &s->reverse_path, &err)) {
        refuse_path(s, event, SMTP_REPLY_bad_sender, &err);
        return false;
    }
    if (!read_parameters(s, mail_parameters, args, event))
        return false;
    if (s->reverse_path.utf8 && !s->utf8) {
        smtp_refuse(s, event, SMTP_REPLY_bad_sender,
                    STR("an address that is not ASCII needs SMTPUTF8"));
        return false;
    }
    return true;
}

void smtp_command_mail(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    s->has_id = s->id_drawn;
    s->id_drawn = false;
    if (!read_mail(s, args, event)) {
        smtp_clear_transaction(s);
        return;
    }
    if (s->declared_size > s->config->max_message) {
        smtp_refuse(s, event, SMTP_REPLY_too_large, STR(""));
        smtp_clear_transaction(s);
        return;
    }
    s->asked = event->type = SMTP_ASK_MAIL;
    event->address = &s->reverse_path;
    event->size = s->declared_size;
}

// ---- RCPT

void smtp_command_rcpt(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    struct err err = {.class = ERR_NONE};
    struct address address;
    if (s->state == MAIL)
        s->state = ALL_REFUSED; // until one is accepted: DATA will say 554, not 503
    if (!take_path_keyword(&args, STR("TO:"))) {
        smtp_refuse(s, event, SMTP_REPLY_bad_argument, STR("RCPT TO:<address>"));
        return;
    }
    if (s->recipient_count >= s->config->max_recipients) {
        smtp_refuse(s, event, SMTP_REPLY_too_many_recipients, STR(""));
        return;
    }
    if (!address_read_path(&args, PATH_FORWARD, s->utf8, &s->transaction, &address, &err)) {
        refuse_path(s, event, SMTP_REPLY_bad_recipient, &err);
        return;
    }
    s->candidate = ARENA_NEW(&s->transaction, struct smtp_recipient);
    if (!s->candidate) {
        smtp_refuse(s, event, SMTP_REPLY_no_memory, STR(""));
        return;
    }
    s->candidate->address = address;
    if (!read_parameters(s, rcpt_parameters, args, event)) {
        s->candidate = NULL;
        return;
    }
    s->asked = event->type = SMTP_ASK_RCPT;
    event->address = &s->candidate->address;
}
