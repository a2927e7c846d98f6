#include "conf/value.h"

#include "base/limits.h"
#include "base/nearest.h"
#include "conf/pattern.h"

struct unit {
    const char *suffix;
    uint64_t factor;
};

// The largest first: value_put takes the first that divides. The last is used when none does.
static const struct unit sizes[] = {{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}};
static const struct unit times[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static struct str units_of(const struct conf_option *option, const struct unit **units,
                           size_t *count)
{
    bool size = option->type == CONF_SIZE;
    *units = size ? sizes : times;
    *count = size ? ARRAY_LEN(sizes) : ARRAY_LEN(times);
    return size ? STR("write a number of octets, or with a unit: 64K, 25M, 1G")
                : STR("write a number and a unit: 500ms, 30s, 5m, 4h, 5d");
}

// Digits and a unit without a space. Zero needs no unit.
static bool read_with_unit(const struct conf_option *option, struct str text, struct arena *arena,
                           uint64_t *number, struct complaint *complaint)
{
    const struct unit *units;
    size_t count, digits = 0;
    struct str hint = units_of(option, &units, &count);
    uint64_t n;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    struct str suffix = str_skip(text, digits);
    if (digits == 0)
        return complain(complaint,
                        problem_text(arena, "\"%.*s\" is not a %s", STR_ARG(text),
                                     option->type == CONF_SIZE ? "size" : "time"),
                        hint);
    if (!str_to_u64(str_sub(text, 0, digits), &n))
        n = UINT64_MAX; // out of range whatever the unit
    if (n == 0 && suffix.len == 0) {
        *number = 0;
        return true;
    }
    for (size_t i = 0; i < count; i++)
        if (str_eq(suffix, str_of(units[i].suffix))) {
            *number = n > UINT64_MAX / units[i].factor ? UINT64_MAX : n * units[i].factor;
            return true;
        }
    if (suffix.len == 0)
        return complain(complaint, problem_text(arena, "\"%.*s\" lacks a unit", STR_ARG(text)),
                        hint);
    return complain(complaint, problem_text(arena, "\"%.*s\" is no unit here", STR_ARG(suffix)),
                    hint);
}

// HH:MM, both of two digits.
static bool read_clock(struct str text, struct arena *arena, uint64_t *number,
                       struct complaint *complaint)
{
    uint64_t hour, minute;
    bool ok = text.len == 5 && text.ptr[2] == ':' && str_to_u64(str_sub(text, 0, 2), &hour) &&
              str_to_u64(str_skip(text, 3), &minute) && hour < 24 && minute < 60;
    if (ok)
        *number = hour * 60 + minute;
    return ok ||
           complain(complaint, problem_text(arena, "\"%.*s\" is no hour of the day", STR_ARG(text)),
                    STR("write hours and minutes, from 00:00 to 23:59"));
}

static bool read_flag(struct str text, struct arena *arena, uint64_t *number,
                      struct complaint *complaint)
{
    *number = str_eq(text, STR("yes")) || str_eq(text, STR("true"));
    if (*number || str_eq(text, STR("no")) || str_eq(text, STR("false")))
        return true;
    return complain(complaint, problem_text(arena, "\"%.*s\" is neither yes nor no", STR_ARG(text)),
                    STR("write yes or no"));
}

static bool read_choice(const struct conf_option *option, struct str text, struct arena *arena,
                        uint64_t *number, struct complaint *complaint)
{
    struct nearest nearest;
    struct buf words;
    const char *word;
    nearest_init(&nearest, text);
    buf_init(&words, 1000);
    for (*number = 0; (word = option_choice(option, *number, NULL)) != NULL; (*number)++) {
        if (str_eq(text, str_of(word)))
            break;
        nearest_offer(&nearest, str_of(word));
        buf_putf(&words, "%s%s", *number ? ", " : "", word);
    }
    if (!word) {
        struct str hint = nearest.best.len
                              ? problem_text(arena, "did you mean \"%.*s\"? The words are: %.*s",
                                             STR_ARG(nearest.best), STR_ARG(buf_str(&words)))
                              : problem_text(arena, "write one of: %.*s", STR_ARG(buf_str(&words)));
        complain(complaint,
                 problem_text(arena, "%s knows no \"%.*s\"", option->name, STR_ARG(text)), hint);
    }
    buf_finish(&words);
    return word != NULL;
}

static bool read_path(struct str text, struct str directory, struct arena *arena, struct str *path,
                      struct complaint *complaint)
{
    struct buf joined;
    buf_init(&joined, CONF_PATH_MAX);
    if (text.len && text.ptr[0] != '/') {
        buf_put(&joined, directory);
        if (!str_ends(directory, STR("/")))
            buf_put_byte(&joined, '/');
    }
    while (text.len > 1 && str_ends(text, STR("/")))
        text.len--;
    buf_put(&joined, text);
    bool ok = buf_ok(&joined);
    if (!ok)
        complain(complaint, STR("the path is too long"), STR("write a shorter one"));
    else if (text.len == 0)
        ok = complain(complaint, STR("the path is empty"), STR("write the name of a directory"));
    else if (!arena_copy(arena, buf_str(&joined), path))
        ok = complain(complaint, STR("the configuration takes too much memory"), STR(""));
    buf_finish(&joined);
    return ok;
}

static bool read_text(struct str text, struct arena *arena, struct str *copy,
                      struct complaint *complaint)
{
    return arena_copy(arena, text, copy) ||
           complain(complaint, STR("the configuration takes too much memory"), STR(""));
}

static bool read_pattern(struct str text, struct arena *arena, struct str *pattern,
                         struct complaint *complaint)
{
    struct err err;
    return route_pattern_read(text, arena, pattern, &err) ||
           complain(complaint, problem_text(arena, "\"%.*s\": %s", STR_ARG(text), err.text),
                    STR("write a domain, like example.com or .example.com, or \"*\""));
}

static bool read_network(struct str text, struct arena *arena, struct conf_networks *networks,
                         struct complaint *complaint)
{
    struct net_range range;
    if (!net_range_read(text, &range))
        return complain(complaint, problem_text(arena, "\"%.*s\" is not a network", STR_ARG(text)),
                        STR("write it like \"192.0.2.0/24\", \"2001:db8::/32\", or an address "
                            "alone; behind the prefix no bit is set"));
    networks->items = ARENA_NEW(arena, struct conf_network);
    if (!networks->items)
        return complain(complaint, STR("the configuration takes too much memory"), STR(""));
    networks->items[0] = (struct conf_network){.range = range};
    networks->count = 1;
    return true;
}

bool value_read(const struct conf_option *option, struct str text, struct str directory,
                struct arena *arena, struct conf_value *value, struct complaint *complaint)
{
    bool read = false;
    *value = (struct conf_value){.text = STR("")};
    switch (option->type) {
    case CONF_NAME:
    case CONF_TEXT:
    case CONF_SERVER:
    case CONF_TARGET:
        read = read_text(text, arena, &value->text, complaint);
        break;
    case CONF_PATH:
        read = read_path(text, directory, arena, &value->text, complaint);
        break;
    case CONF_SIZE:
    case CONF_TIME:
        read = read_with_unit(option, text, arena, &value->number, complaint);
        break;
    case CONF_COUNT:
        read = str_to_u64(text, &value->number) ||
               complain(complaint, problem_text(arena, "\"%.*s\" is not a number", STR_ARG(text)),
                        STR("write digits only"));
        break;
    case CONF_CLOCK:
        read = read_clock(text, arena, &value->number, complaint);
        break;
    case CONF_FLAG:
        read = read_flag(text, arena, &value->number, complaint);
        break;
    case CONF_CHOICE:
        read = read_choice(option, text, arena, &value->number, complaint);
        break;
    case CONF_ADDRESS:
        read =
            net_address_read(text, &value->address) ||
            complain(complaint,
                     problem_text(arena, "\"%.*s\" is not an IP address and a port", STR_ARG(text)),
                     STR("write it like \"127.0.0.1:2525\", \"[::1]:2525\", or \"*:25\" for all "
                         "addresses of this host"));
        break;
    case CONF_PATTERN:
        read = read_pattern(text, arena, &value->text, complaint);
        break;
    case CONF_NETWORKS:
        read = read_network(text, arena, &value->networks, complaint);
        break;
    }
    return read && value_check(option, value, arena, complaint);
}

static bool check_range(const struct conf_option *option, uint64_t number, struct arena *arena,
                        struct complaint *complaint)
{
    struct buf low, high;
    if (number >= option->min && number <= option->max)
        return true;
    buf_init(&low, 64);
    buf_init(&high, 64);
    value_put(&low, option, &(struct conf_value){.number = option->min});
    value_put(&high, option, &(struct conf_value){.number = option->max});
    complain(
        complaint,
        problem_text(arena, "%s is too %s", option->name, number < option->min ? "small" : "large"),
        problem_text(arena, "write a value from %.*s to %.*s", STR_ARG(buf_str(&low)),
                     STR_ARG(buf_str(&high))));
    buf_finish(&low);
    buf_finish(&high);
    return false;
}

// Texts end in log lines, replies and file names: no control character may stand in them.
static bool check_text(const struct conf_option *option, struct str text, struct arena *arena,
                       struct complaint *complaint)
{
    bool control = false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
        control |= c < 0x20 || c == 0x7f || c1;
    }
    if (control || !str_is_utf8(text))
        return complain(complaint,
                        problem_text(arena, "%s holds a control character", option->name),
                        STR("write printable text"));
    if (text.len > CONF_PATH_MAX)
        return complain(complaint, problem_text(arena, "%s is too long", option->name),
                        STR("write at most 4095 octets"));
    return true;
}

static bool check_target(struct str text, struct arena *arena, struct complaint *complaint)
{
    struct route_target target;
    struct err err;
    return route_target_read(text, arena, &target, &err) ||
           complain(complaint, problem_text(arena, "\"%.*s\": %s", STR_ARG(text), err.text),
                    STR("write it like \"smtp://192.0.2.1:25\", \"smtp://mail.example.com:25\", "
                        "\"lmtp:/run/lmtp\" or \"error:no mail goes there\""));
}

// Folded already, so that it reads as itself.
static bool check_pattern(struct str text, struct arena *arena, struct complaint *complaint)
{
    struct str pattern;
    return read_pattern(text, arena, &pattern, complaint) &&
           (str_eq(pattern, text) ||
            complain(complaint, STR("a domain that is not folded"), STR("")));
}

bool value_check(const struct conf_option *option, const struct conf_value *value,
                 struct arena *arena, struct complaint *complaint)
{
    switch (option->type) {
    case CONF_NAME:
        return check_text(option, value->text, arena, complaint) &&
               pattern_check_host(value->text, arena, complaint);
    case CONF_PATH:
        if (!str_starts(value->text, STR("/")))
            return complain(complaint, problem_text(arena, "%s is not absolute", option->name),
                            STR(""));
        return check_text(option, value->text, arena, complaint);
    case CONF_TEXT:
        if (!check_text(option, value->text, arena, complaint))
            return false;
        return option->offset != offsetof(struct conf, mailbox) ||
               pattern_check_mailbox(value->text, arena, complaint);
    case CONF_SERVER:
        return value->text.len == 0 || pattern_check_server(value->text, arena, complaint);
    case CONF_PATTERN:
        return (value->text.len == 0 && !option->needed) ||
               check_pattern(value->text, arena, complaint);
    case CONF_TARGET:
        return check_text(option, value->text, arena, complaint) &&
               check_target(value->text, arena, complaint);
    case CONF_SIZE:
    case CONF_TIME:
    case CONF_COUNT:
    case CONF_CLOCK:
        return check_range(option, value->number, arena, complaint);
    case CONF_FLAG:
        return value->number <= 1 ||
               complain(complaint, STR("neither yes nor no"), STR("write yes or no"));
    case CONF_CHOICE:
        return option_choice(option, value->number, NULL) != NULL ||
               complain(complaint, problem_text(arena, "%s has no such word", option->name),
                        STR(""));
    case CONF_ADDRESS:
        return value->address.family == 4 || value->address.family == 6 ||
               complain(complaint, STR("neither IPv4 nor IPv6"), STR(""));
    case CONF_NETWORKS: // whether they are wide depends on another option: networks.h
        return value->networks.count <= LIMIT_networks ||
               complain(complaint, problem_text(arena, "%s has too many entries", option->name),
                        STR(""));
    }
    return false;
}

// Words that any reader of YAML takes as text stand bare, all else in double quotes.
static void put_text(struct buf *out, struct str text)
{
    bool bare = text.len > 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.ptr[i]);
        bool letter = c >= 'a' && c <= 'z';
        bool inside = (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
        bare &= letter || c == '/' || (inside && i > 0);
    }
    static const char *const words[] = {"yes", "no",   "true", "false", "on",
                                        "off", "null", "y",    "n"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        bare &= !str_eq_nocase(text, str_of(words[i]));
    if (bare) {
        buf_put(out, text);
        return;
    }
    buf_put_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\')
            buf_put_byte(out, '\\');
        buf_put_byte(out, text.ptr[i]);
    }
    buf_put_byte(out, '"');
}

void value_put(struct buf *out, const struct conf_option *option, const struct conf_value *value)
{
    switch (option->type) {
    case CONF_NAME:
    case CONF_PATH:
    case CONF_TEXT:
    case CONF_SERVER:
    case CONF_PATTERN:
    case CONF_TARGET:
        put_text(out, value->text);
        return;
    case CONF_SIZE:
    case CONF_TIME: {
        const struct unit *units;
        size_t count, i = 0;
        units_of(option, &units, &count);
        while (i + 1 < count && (value->number == 0 || value->number % units[i].factor != 0))
            i++;
        if (value->number == 0)
            buf_put_byte(out, '0');
        else
            buf_putf(out, "%llu%s", (unsigned long long)(value->number / units[i].factor),
                     units[i].suffix);
        return;
    }
    case CONF_COUNT:
        buf_putf(out, "%llu", (unsigned long long)value->number);
        return;
    case CONF_CLOCK:
        buf_putf(out, "%02u:%02u", (unsigned)value->number / 60, (unsigned)value->number % 60);
        return;
    case CONF_FLAG:
        buf_put(out, value->number ? STR("yes") : STR("no"));
        return;
    case CONF_CHOICE:
        buf_put(out, str_of(option_choice(option, value->number, NULL)));
        return;
    case CONF_ADDRESS:
        buf_put_byte(out, '"');
        net_put_address(out, &value->address);
        buf_put_byte(out, '"');
        return;
    case CONF_NETWORKS:
        buf_put_byte(out, '[');
        for (size_t i = 0; i < value->networks.count; i++) {
            buf_put(out, i ? STR(", \"") : STR("\""));
            net_put_range(out, &value->networks.items[i].range);
            buf_put_byte(out, '"');
        }
        buf_put_byte(out, ']');
        return;
    }
}

bool value_has_text(const struct conf_option *option)
{
    switch (option->type) {
    case CONF_NAME:
    case CONF_PATH:
    case CONF_TEXT:
    case CONF_SERVER:
    case CONF_PATTERN:
    case CONF_TARGET:
        return true;
    case CONF_SIZE:
    case CONF_TIME:
    case CONF_COUNT:
    case CONF_FLAG:
    case CONF_CHOICE:
    case CONF_CLOCK:
    case CONF_NETWORKS:
    case CONF_ADDRESS:
        break;
    }
    return false;
}

void value_store(struct conf *conf, const struct conf_option *option,
                 const struct conf_value *value)
{
    char *member = (char *)conf + option->offset;
    if (value_has_text(option)) {
        memcpy(member, &value->text, sizeof(value->text));
    } else if (option->type == CONF_FLAG) {
        bool flag = value->number != 0;
        memcpy(member, &flag, sizeof(flag));
    } else if (option->type == CONF_CHOICE) {
        unsigned choice = (unsigned)value->number;
        memcpy(member, &choice, sizeof(choice));
    } else if (option->type == CONF_NETWORKS) {
        memcpy(member, &value->networks, sizeof(value->networks));
    } else {
        memcpy(member, &value->number, sizeof(value->number));
    }
}

struct conf_value value_of(const struct conf *conf, const struct conf_option *option)
{
    struct conf_value value = {.text = STR("")};
    const char *member = (const char *)conf + option->offset;
    if (value_has_text(option)) {
        memcpy(&value.text, member, sizeof(value.text));
    } else if (option->type == CONF_FLAG) {
        bool flag;
        memcpy(&flag, member, sizeof(flag));
        value.number = flag;
    } else if (option->type == CONF_CHOICE) {
        unsigned choice;
        memcpy(&choice, member, sizeof(choice));
        value.number = choice;
    } else if (option->type == CONF_NETWORKS) {
        memcpy(&value.networks, member, sizeof(value.networks));
    } else {
        memcpy(&value.number, member, sizeof(value.number));
    }
    return value;
}
