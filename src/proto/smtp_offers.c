#include "proto/smtp_offers.h"

// RFC 9422 section 4: "RCPTMAX=" and six digits at most, none of them only zeros.
static void read_limit(struct smtp_offers *offers, struct str limit)
{
    enum { DIGITS = 6 };
    struct str name = STR("");
    uint64_t value;
    (void)str_cut(&limit, '=', &name);
    if (limit.len > DIGITS || !str_to_u64(limit, &value))
        return;
    if (str_eq_nocase(name, STR("RCPTMAX")))
        offers->max_recipients = (uint32_t)value;
    else if (str_eq_nocase(name, STR("MAILMAX")))
        offers->max_letters = (uint32_t)value;
}

void smtp_offers_read(struct smtp_offers *offers, struct str line)
{
    struct str keyword = STR(""), limit;
    (void)str_cut(&line, ' ', &keyword);
#define SMTP_OFFER(name, word) offers->name |= str_eq_nocase(keyword, STR(word));
#include "proto/smtp_offers.def"
#undef SMTP_OFFER
    if (str_eq_nocase(keyword, STR("SIZE"))) {
        if (!str_to_u64(str_trim_blanks(line), &offers->max_message))
            offers->max_message = 0;
    } else if (str_eq_nocase(keyword, STR("LIMITS"))) {
        while (str_cut(&line, ' ', &limit))
            read_limit(offers, limit);
    }
}
