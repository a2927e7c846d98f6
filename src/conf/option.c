#include "conf/option.h"

#define CONF_AT_top(name) offsetof(struct conf, name)
#define CONF_AT_limits(name) offsetof(struct conf, limits.name)
#define CONF_AT_dns(name) offsetof(struct conf, dns.name)
#define IS_live true
#define IS_restart false
#define IS_must true
#define IS_may false

static const struct conf_option options[CONF_OPTIONS] = {
#define OPTION(group, name, type, preset, min, max, reload, help)                                  \
    {CONF_GROUP_##group,   CONF_##type, #name, preset, min, max, IS_##reload, false, help,         \
     CONF_AT_##group(name)},
#include "conf/options.def"
#undef OPTION
};

#define FIELD(name, type, need, help)                                                              \
    {CONF_GROUP_top, CONF_##type, #name, "", 0, 0, true, IS_##need, help, 0},
#define RECORD(name, help, example, fields)                                                        \
    static const struct conf_option name##_fields[] = {fields};
#include "conf/records.def"
#undef RECORD
#undef FIELD

static const struct conf_record records[CONF_RECORDS] = {
#define RECORD(name, help, example, fields)                                                        \
    {#name, help, example, name##_fields, ARRAY_LEN(name##_fields)},
#include "conf/records.def"
#undef RECORD
};

static const struct choice {
    const char *set;
    const char *word;
    unsigned value;
    const char *help;
} choices[] = {
#define CHOICE(set, word, value, help) {#set, word, value, help},
#include "conf/choices.def"
#undef CHOICE
};

const struct conf_option *option_at(enum conf_option_number number)
{
    must(number < CONF_OPTIONS);
    return &options[number];
}

const char *option_group_name(enum conf_group group)
{
    static const char *const names[CONF_GROUPS] = {
        [CONF_GROUP_top] = "", [CONF_GROUP_limits] = "limits", [CONF_GROUP_dns] = "dns"};
    return names[group];
}

enum conf_option_number option_find(enum conf_group group, struct str name)
{
    enum conf_option_number n = 0;
    while (n < CONF_OPTIONS &&
           (options[n].group != group || !str_eq(str_of(options[n].name), name)))
        n++;
    return n;
}

const struct conf_record *option_record(enum conf_record_number number)
{
    must(number < CONF_RECORDS);
    return &records[number];
}

static const char *choice_word(struct str set, uint64_t value, const char **help)
{
    for (size_t i = 0; i < ARRAY_LEN(choices); i++)
        if (choices[i].value == value && str_eq(str_of(choices[i].set), set)) {
            if (help)
                *help = choices[i].help;
            return choices[i].word;
        }
    return NULL;
}

const char *option_choice(const struct conf_option *option, uint64_t nth, const char **help)
{
    return choice_word(str_of(option->name), nth, help);
}

const char *conf_protocol_name(enum conf_protocol protocol)
{
    const char *word = choice_word(STR("protocol"), protocol, NULL);
    must(word != NULL);
    return word;
}

static bool same_value(const struct conf_option *option, const struct conf *a, const struct conf *b)
{
    const void *left = (const char *)a + option->offset, *right = (const char *)b + option->offset;
    switch (option->type) {
    case CONF_NAME:
    case CONF_PATH:
    case CONF_TEXT:
    case CONF_SERVER:
        return str_eq(*(const struct str *)left, *(const struct str *)right);
    case CONF_SIZE:
    case CONF_TIME:
    case CONF_COUNT:
    case CONF_CLOCK:
        return *(const uint64_t *)left == *(const uint64_t *)right;
    case CONF_FLAG:
        return *(const bool *)left == *(const bool *)right;
    case CONF_CHOICE:
        return *(const unsigned *)left == *(const unsigned *)right;
    case CONF_NETWORKS: // a reload takes it in
    case CONF_ADDRESS:  // fields of records, no options
    case CONF_PATTERN:
    case CONF_TARGET:
        break;
    }
    must(false);
    return true;
}

void conf_put_fixed(struct buf *out, const struct conf *old, const struct conf *new)
{
    for (int i = 0; i < CONF_OPTIONS; i++) {
        const struct conf_option *option = option_at((enum conf_option_number)i);
        const char *group = option_group_name(option->group);
        if (!option->live && !same_value(option, old, new))
            buf_putf(out, "%s%s%s has changed: that needs a stop and a new start\n", group,
                     group[0] ? "." : "", option->name);
    }
}
