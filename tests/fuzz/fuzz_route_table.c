// mail/route_table.c. The input: a line "DOMAIN SENDER", then rules, a line each, "DOMAIN SENDER
// TARGET". What is read reads as itself; the rule that is found fits, and none fits better.
#include "mail/domain.h"
#include "mail/route_table.h"

enum { RULES = 32, MEMORY = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_rule(struct str line, struct arena *arena, struct route_rule *rule)
{
    struct str domain = STR(""), sender = STR(""), again;
    struct route_target target;
    struct err err;
    (void)str_cut(&line, ' ', &domain);
    (void)str_cut(&line, ' ', &sender);
    *rule = (struct route_rule){.sender = STR(""), .to = line};
    if (!route_pattern_read(domain, arena, &rule->domain, &err) ||
        (sender.len && !route_pattern_read(sender, arena, &rule->sender, &err)) ||
        !route_target_read(line, arena, &target, &err)) {
        must(err.text[0] != '\0');
        return false;
    }
    must(route_pattern_read(rule->domain, arena, &again, &err) && str_eq(again, rule->domain));
    must(target.text.len > 0 || (target.host.len > 0 && target.port != 0));
    return true;
}

static bool fits(struct str pattern, struct str domain)
{
    return domain.len && (str_eq(pattern, STR("*")) || str_eq(pattern, domain) ||
                          (str_starts(pattern, STR(".")) && str_ends(domain, pattern)));
}

static void check(const struct route_rule *rules, size_t count, struct str domain,
                  struct str sender)
{
    const struct route_rule *found = route_table_find(rules, count, domain, sender);
    for (size_t i = 0; i < count; i++) {
        bool fit = fits(rules[i].domain, domain) &&
                   (!rules[i].sender.len || fits(rules[i].sender, sender));
        must(!fit || found);
        must(fit || found != &rules[i]);
        must(!fit || !str_eq(rules[i].domain, domain) || str_eq(found->domain, domain));
        must(!fit || str_eq(found->domain, domain) || found->domain.len >= rules[i].domain.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size), line, domain = STR(""), sender = STR("");
    struct route_rule rules[RULES];
    struct arena arena;
    struct err err;
    size_t count = 0;
    arena_init(&arena, MEMORY);
    if (str_cut(&in, '\n', &line)) {
        (void)str_cut(&line, ' ', &domain);
        if (!domain_read_host(domain, &arena, &domain, &err))
            domain = STR("example.com");
        if (!domain_read(line, &arena, &sender, &err))
            sender = STR("");
        while (count < RULES && str_cut(&in, '\n', &line))
            count += read_rule(line, &arena, &rules[count]);
        check(rules, count, domain, sender);
    }
    arena_finish(&arena);
    return 0;
}
