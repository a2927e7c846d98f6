// From files to struct conf. Each file becomes a tree; its keys are looked up in the tables; what
// does not fit becomes a problem, and the reading goes on: one run tells all. Nothing is said twice
// about one place: a value that can not be read is not checked further.
#include "conf/conf.h"

#include "base/limits.h"
#include "base/nearest.h"
#include "conf/networks.h"
#include "conf/pattern.h"
#include "conf/source.h"
#include "conf/tree.h"
#include "conf/value.h"
#include "os/cwd.h"

// The keys at the top of a file: the options of group top, then groups, records and `include`.
enum {
    KEY_GROUPS = CONF_OPTIONS, // one for each group but the top
    KEY_RECORDS = KEY_GROUPS + CONF_GROUPS - 1,
    KEY_INCLUDE = KEY_RECORDS + CONF_RECORDS,
    KEYS,
};

enum { SMTP_PORT = 25 };

struct loader {
    struct arena *arena;
    struct conf *conf;
    struct conf_problems *problems;
    struct conf_source *sources; // LIMIT_config_includes + 1
    size_t source_count;
    size_t listen_room, route_room;
    struct str home; // the present directory
    bool incomplete; // part of a file could not be read: do not say that something is missing
};

// The file that is being read.
struct file {
    const struct conf_source *source;
    struct str directory; // as it was named: for the names of included files
    struct str base;      // the same, absolute: for paths
};

static struct conf_place place_of(const struct file *f, const struct tree_node *node)
{
    return (struct conf_place){f->source->name, node->line, node->column};
}

static void wrong(struct loader *l, const struct file *f, const struct tree_node *node,
                  struct str text, struct str hint)
{
    problems_add(l->problems, f->source, place_of(f, node), (struct complaint){text, hint});
}

static void out_of_memory(struct loader *l, const struct file *f, const struct tree_node *node)
{
    wrong(l, f, node, STR("the configuration takes too much memory"), STR(""));
}

// "set twice" with the first place.
static void wrong_again(struct loader *l, const struct file *f, const struct tree_node *node,
                        struct str name, const struct conf_place *first)
{
    wrong(l, f, node,
          problem_text(l->arena, "%.*s stands here again; first at %.*s:%u:%u", STR_ARG(name),
                       STR_ARG(first->file), first->line, first->column),
          STR("remove one of the two"));
}

static enum conf_group group_of_key(unsigned key)
{
    return (enum conf_group)(key - KEY_GROUPS + 1);
}

static const char *key_name(enum conf_group group, unsigned key)
{
    if (key < CONF_OPTIONS) {
        const struct conf_option *option = option_at((enum conf_option_number)key);
        return option->group == group ? option->name : NULL;
    }
    if (group != CONF_GROUP_top)
        return NULL;
    if (key < KEY_RECORDS)
        return option_group_name(group_of_key(key));
    if (key == KEY_INCLUDE)
        return "include";
    return option_record((enum conf_record_number)(key - KEY_RECORDS))->name;
}

// KEYS when there is none such.
static unsigned find_key(enum conf_group group, struct str name)
{
    unsigned key = 0;
    for (; key < KEYS; key++) {
        const char *known = key_name(group, key);
        if (known && str_eq(str_of(known), name))
            break;
    }
    return key;
}

static void unknown_key(struct loader *l, const struct file *f, const struct tree_node *node,
                        enum conf_group group)
{
    struct str hint = STR("posthouse.yaml(5) lists the keys");
    struct nearest nearest;
    nearest_init(&nearest, node->text);
    for (unsigned key = 0; key < KEYS; key++)
        if (key_name(group, key))
            nearest_offer(&nearest, str_of(key_name(group, key)));
    enum conf_group home = CONF_GROUP_top;
    while (home < CONF_GROUPS && find_key(home, node->text) == KEYS)
        home++;
    if (home == CONF_GROUP_top)
        hint = problem_text(l->arena, "write it at the top of the file, not below \"%s:\"",
                            option_group_name(group));
    else if (home < CONF_GROUPS)
        hint = problem_text(l->arena, "write it below \"%s:\"", option_group_name(home));
    else if (nearest.best.len)
        hint = problem_text(l->arena, "did you mean \"%.*s\"?", STR_ARG(nearest.best));
    wrong(l, f, node, problem_text(l->arena, "unknown key \"%.*s\"", STR_ARG(node->text)), hint);
}

// Nothing there, as when all lines below a key are comments.
static bool is_missing(const struct tree_node *node)
{
    return node->kind == TREE_SCALAR && node->plain &&
           (node->text.len == 0 || str_eq(node->text, STR("~")) || str_eq(node->text, STR("null")));
}

static bool is_value(struct loader *l, const struct file *f, const struct tree_node *key,
                     const struct tree_node *node)
{
    if (node->kind == TREE_BROKEN)
        return false;
    if (is_missing(node))
        wrong(l, f, key, problem_text(l->arena, "%.*s has no value", STR_ARG(key->text)),
              STR("write one after the colon, or remove the line"));
    else if (node->kind != TREE_SCALAR)
        wrong(l, f, node, problem_text(l->arena, "%.*s takes one value", STR_ARG(key->text)),
              STR("write one word or number"));
    else
        return true;
    return false;
}

static void take_option(struct loader *l, const struct file *f, enum conf_option_number number,
                        const struct tree_node *key, const struct tree_node *node)
{
    struct conf_place *place = &l->conf->places[number];
    struct conf_value value;
    struct complaint complaint;
    if (place->line) {
        wrong_again(l, f, key, key->text, place);
        return;
    }
    *place = place_of(f, key);
    if (!is_value(l, f, key, node))
        return;
    if (value_read(option_at(number), node->text, f->base, l->arena, &value, &complaint))
        value_store(l->conf, option_at(number), &value);
    else
        problems_add(l->problems, f->source, place_of(f, node), complaint);
}

// The lists of all files are joined.
static void take_networks(struct loader *l, const struct file *f, enum conf_option_number number,
                          const struct tree_node *key, const struct tree_node *node)
{
    const struct conf_option *option = option_at(number);
    struct conf_value all = value_of(l->conf, option), one;
    struct conf_networks *networks = &all.networks;
    struct complaint complaint;
    size_t entries = 0;
    if (is_missing(node) || node->kind == TREE_BROKEN)
        return;
    for (const struct tree_node *at = node->first; at; at = at->next)
        entries++;
    struct conf_network *items =
        arena_alloc_array(l->arena, networks->count + entries, sizeof(*items));
    if (node->kind != TREE_LIST || !items) {
        if (node->kind == TREE_LIST && entries)
            out_of_memory(l, f, node);
        else if (node->kind != TREE_LIST)
            wrong(l, f, node, problem_text(l->arena, "%s takes a list", option->name),
                  STR("write it like [\"192.0.2.0/24\", \"2001:db8::/32\"]"));
        return;
    }
    if (networks->count)
        memcpy(items, networks->items, networks->count * sizeof(*items));
    networks->items = items;
    for (const struct tree_node *at = node->first; at; at = at->next) {
        if (!is_value(l, f, key, at))
            continue;
        if (!value_read(option, at->text, f->base, l->arena, &one, &complaint)) {
            problems_add(l->problems, f->source, place_of(f, at), complaint);
            continue;
        }
        items[networks->count] = one.networks.items[0];
        items[networks->count++].place = place_of(f, at);
    }
    if (!value_check(option, &all, l->arena, &complaint))
        problems_add(l->problems, f->source, place_of(f, key), complaint);
    value_store(l->conf, option, &all);
    if (!l->conf->places[number].line)
        l->conf->places[number] = place_of(f, key);
}

// A key of this mapping for the first time? `seen` holds where each key stood.
static bool first_time(struct loader *l, const struct file *f, const struct tree_node *key,
                       const struct tree_node **seen)
{
    if (*seen) {
        struct conf_place first = place_of(f, *seen);
        wrong_again(l, f, key, key->text, &first);
        return false;
    }
    *seen = key;
    return true;
}

static bool is_key(struct loader *l, const struct file *f, const struct tree_node *key)
{
    if (key->kind == TREE_SCALAR)
        return true;
    if (key->kind != TREE_BROKEN)
        wrong(l, f, key, STR("a key is one word"), STR("write \"key: value\""));
    return false;
}

static void take_group(struct loader *l, const struct file *f, enum conf_group group,
                       const struct tree_node *key, const struct tree_node *node)
{
    if (is_missing(node) || node->kind == TREE_BROKEN)
        return;
    if (node->kind != TREE_MAPPING) {
        wrong(l, f, node, problem_text(l->arena, "%.*s takes keys of its own", STR_ARG(key->text)),
              STR("write them below it, indented"));
        return;
    }
    const struct tree_node *seen[CONF_OPTIONS] = {NULL};
    for (const struct tree_node *at = node->first; at; at = at->next->next) {
        if (!is_key(l, f, at))
            continue;
        enum conf_option_number number = option_find(group, at->text);
        if (number == CONF_OPTIONS)
            unknown_key(l, f, at, group);
        else if (first_time(l, f, at, &seen[number]))
            take_option(l, f, number, at, at->next);
    }
}

// Would the second bind fail, or take the first one's place? An address for all of IPv6 takes IPv4
// with it. Port 0 is a new port each time.
static bool collide(const struct net_address *a, const struct net_address *b)
{
    static const uint8_t any[16] = {0};
    size_t octets = a->family == 4 ? 4 : 16;
    bool a_any = memcmp(a->bytes, any, octets) == 0;
    bool b_any = memcmp(b->bytes, any, b->family == 4 ? 4 : 16) == 0;
    if (a->port != b->port || a->port == 0)
        return false;
    if (a->family != b->family)
        return (a->family == 6 && a_any) || (b->family == 6 && b_any);
    return a_any || b_any || (memcmp(a->bytes, b->bytes, octets) == 0 && a->scope == b->scope);
}

// Items, or their copy with room for one more; NULL when the arena is full, and nothing is changed.
static void *make_room(struct loader *l, void *items, size_t count, size_t *room, size_t size)
{
    size_t more = *room ? 2 * *room : 8;
    if (count < *room)
        return items;
    void *copy = arena_alloc_array(l->arena, more, size);
    if (copy && count)
        memcpy(copy, items, count * size);
    if (copy)
        *room = more;
    return copy;
}

static void add_listen(struct loader *l, const struct file *f, const struct tree_node *node,
                       const struct conf_value *values)
{
    struct conf *conf = l->conf;
    struct conf_listen listen = {
        .protocol = (enum conf_protocol)values[0].number,
        .address = values[1].address,
        .place = place_of(f, node),
    };
    if (listen.protocol == CONF_LMTP && listen.address.port == SMTP_PORT) {
        wrong(l, f, node, STR("LMTP is not spoken on port 25 (RFC 2033)"),
              STR("give it a port of its own, such as 24"));
        return;
    }
    for (size_t i = 0; i < conf->listen_count; i++)
        if (collide(&conf->listen[i].address, &listen.address)) {
            const struct conf_place *first = &conf->listen[i].place;
            wrong(l, f, node,
                  problem_text(l->arena, "this address is taken by the listener at %.*s:%u:%u",
                               STR_ARG(first->file), first->line, first->column),
                  STR("give each listener an address or a port of its own"));
            return;
        }
    struct conf_listen *all =
        make_room(l, conf->listen, conf->listen_count, &l->listen_room, sizeof(*all));
    if (!all) {
        out_of_memory(l, f, node);
        return;
    }
    conf->listen = all;
    conf->listen[conf->listen_count++] = listen;
}

static void add_route(struct loader *l, const struct file *f, const struct tree_node *node,
                      const struct conf_value *values)
{
    struct conf *conf = l->conf;
    size_t n = conf->route_count, room = l->route_room;
    for (size_t i = 0; i < n; i++)
        if (str_eq(conf->routes[i].domain, values[0].text) &&
            str_eq(conf->routes[i].sender, values[1].text)) {
            wrong_again(l, f, node, STR("this route"), &conf->route_places[i]);
            return;
        }
    struct route_rule *routes = make_room(l, conf->routes, n, &room, sizeof(*routes));
    struct conf_place *places =
        routes ? make_room(l, conf->route_places, n, &l->route_room, sizeof(*places)) : NULL;
    if (!places) {
        out_of_memory(l, f, node);
        return;
    }
    conf->routes = routes;
    conf->route_places = places;
    conf->routes[n] = (struct route_rule){values[0].text, values[1].text, values[2].text};
    conf->route_places[n] = place_of(f, node);
    conf->route_count++;
}

static struct str like(struct loader *l, const struct conf_record *record)
{
    return problem_text(l->arena, "write it like %s", record->example);
}

static size_t find_field(const struct conf_record *record, struct str name)
{
    size_t i = 0;
    while (i < record->field_count && !str_eq(str_of(record->fields[i].name), name))
        i++;
    return i;
}

// Fills values[] in the order of the record's fields; false when one is wrong or a needed one is
// missing.
static bool read_record(struct loader *l, const struct file *f, const struct conf_record *record,
                        const struct tree_node *node, struct conf_value *values)
{
    const struct tree_node *seen[CONF_FIELDS_MAX] = {NULL};
    bool ok = true;
    for (const struct tree_node *key = node->first; key; key = key->next->next) {
        struct complaint complaint;
        size_t i = is_key(l, f, key) ? find_field(record, key->text) : record->field_count;
        if (i == record->field_count) {
            struct nearest nearest;
            nearest_init(&nearest, key->text);
            for (size_t k = 0; k < record->field_count; k++)
                nearest_offer(&nearest, str_of(record->fields[k].name));
            if (key->kind == TREE_SCALAR)
                wrong(l, f, key,
                      problem_text(l->arena, "unknown key \"%.*s\" in %s", STR_ARG(key->text),
                                   record->name),
                      nearest.best.len
                          ? problem_text(l->arena, "did you mean \"%.*s\"?", STR_ARG(nearest.best))
                          : STR(""));
            ok = false;
        } else if (!first_time(l, f, key, &seen[i]) || !is_value(l, f, key, key->next)) {
            ok = false;
        } else if (!value_read(&record->fields[i], key->next->text, f->base, l->arena, &values[i],
                               &complaint)) {
            problems_add(l->problems, f->source, place_of(f, key->next), complaint);
            ok = false;
        }
    }
    for (size_t i = 0; i < record->field_count; i++)
        if (!seen[i] && record->fields[i].needed) {
            wrong(l, f, node,
                  problem_text(l->arena, "an entry of %s has no %s", record->name,
                               record->fields[i].name),
                  like(l, record));
            ok = false;
        }
    return ok;
}

static void take_records(struct loader *l, const struct file *f, enum conf_record_number number,
                         const struct tree_node *node)
{
    static void (*const adders[CONF_RECORDS])(struct loader *, const struct file *,
                                              const struct tree_node *,
                                              const struct conf_value *) = {
        [CONF_RECORD_listen] = add_listen,
        [CONF_RECORD_routes] = add_route,
    };
    const struct conf_record *record = option_record(number);
    if (is_missing(node) || node->kind == TREE_BROKEN)
        return;
    if (node->kind != TREE_LIST) {
        wrong(l, f, node, problem_text(l->arena, "%s takes a list", record->name),
              STR("begin each entry with a dash"));
        return;
    }
    for (const struct tree_node *at = node->first; at; at = at->next) {
        struct conf_value values[CONF_FIELDS_MAX] = {{.number = 0}};
        if (at->kind == TREE_BROKEN)
            continue;
        if (at->kind != TREE_MAPPING)
            wrong(l, f, at, problem_text(l->arena, "an entry of %s takes keys", record->name),
                  like(l, record));
        else if (read_record(l, f, record, at, values))
            adders[number](l, f, at, values);
    }
}

static void load_file(struct loader *l, struct str path, const struct file *from,
                      const struct tree_node *at);

static void include_matches(struct loader *l, const struct file *f, const struct tree_node *node,
                            struct str path)
{
    struct str directory = source_directory(path);
    struct source_names *names = ARENA_NEW(l->arena, struct source_names);
    const char *reason;
    if (!names) {
        out_of_memory(l, f, node);
        return;
    }
    names->arena = l->arena;
    names->pattern = source_name(path);
    if (!source_find(names, directory, &reason)) {
        wrong(l, f, node,
              problem_text(l->arena, "can not look into %.*s: %s", STR_ARG(directory), reason),
              STR(""));
        return;
    }
    for (size_t i = 0; i < names->count; i++)
        load_file(l, source_join(l->arena, directory, names->items[i]), f, node);
}

static void include(struct loader *l, const struct file *f, const struct tree_node *node)
{
    struct str path = source_join(l->arena, f->directory, node->text);
    if (node->text.len == 0 || path.len == 0 || str_index(path, '\0') < path.len)
        wrong(l, f, node, STR("this is no file name"), STR("write it like \"conf.d/*.yaml\""));
    else if (source_is_pattern(source_directory(node->text)))
        wrong(l, f, node, STR("* and ? in the name of a directory"),
              STR("use them in the name of the file only"));
    else if (source_is_pattern(node->text))
        include_matches(l, f, node, path);
    else
        load_file(l, path, f, node);
}

static void take_includes(struct loader *l, const struct file *f, const struct tree_node *node)
{
    if (is_missing(node) || node->kind == TREE_BROKEN)
        return;
    if (node->kind != TREE_LIST) {
        wrong(l, f, node, STR("include takes a list of file names"),
              STR("write it like [conf.d/*.yaml]"));
        return;
    }
    for (const struct tree_node *at = node->first; at; at = at->next)
        if (at->kind == TREE_SCALAR)
            include(l, f, at);
        else if (at->kind != TREE_BROKEN)
            wrong(l, f, at, STR("include takes a list of file names"),
                  STR("write it like [conf.d/*.yaml]"));
}

static void take_top(struct loader *l, const struct file *f, const struct tree_node *root)
{
    const struct tree_node *seen[KEYS] = {NULL};
    if (root->kind == TREE_BROKEN)
        return;
    if (root->kind != TREE_MAPPING) {
        wrong(l, f, root, STR("the file does not begin with a key"),
              STR("write lines like \"hostname: mail.example.com\""));
        return;
    }
    for (const struct tree_node *at = root->first; at; at = at->next->next) {
        if (!is_key(l, f, at))
            continue;
        unsigned key = find_key(CONF_GROUP_top, at->text);
        if (key == KEYS)
            unknown_key(l, f, at, CONF_GROUP_top);
        else if (!first_time(l, f, at, &seen[key]))
            continue;
        else if (key < CONF_OPTIONS && option_at(key)->type == CONF_NETWORKS)
            take_networks(l, f, (enum conf_option_number)key, at, at->next);
        else if (key < CONF_OPTIONS)
            take_option(l, f, (enum conf_option_number)key, at, at->next);
        else if (key < KEY_RECORDS)
            take_group(l, f, group_of_key(key), at, at->next);
        else if (key == KEY_INCLUDE)
            take_includes(l, f, at->next);
        else
            take_records(l, f, (enum conf_record_number)(key - KEY_RECORDS), at->next);
    }
}

// `from` and `at`: the include that names the file; NULL for the main one.
static void load_file(struct loader *l, struct str path, const struct file *from,
                      const struct tree_node *at)
{
    struct conf_source *source = &l->sources[l->source_count];
    struct str fault = STR("");
    struct tree_node *root = NULL;
    const char *reason = "its name is too long";
    if (l->source_count > LIMIT_config_includes) {
        wrong(l, from, at, problem_text(l->arena, "more than %d files", LIMIT_config_includes),
              STR("put them together"));
        return;
    }
    *source = (struct conf_source){.name = path, .text = STR("")};
    if (path.len == 0 || !source_read(source, l->arena, &reason))
        fault = problem_text(l->arena, "can not read %.*s: %s", STR_ARG(path), reason);
    for (size_t i = 0; i < l->source_count && !fault.len; i++)
        if (l->sources[i].device == source->device && l->sources[i].inode == source->inode)
            fault = problem_text(l->arena, "%.*s is read a second time", STR_ARG(path));
    l->incomplete |= fault.len > 0;
    if (fault.len && from) {
        wrong(l, from, at, fault, STR(""));
        return;
    }
    l->source_count++;
    if (fault.len) {
        problems_add(l->problems, NULL, (struct conf_place){.file = path},
                     (struct complaint){str_of(reason), STR("name the file with -c, or make one "
                                                            "with posthouse init")});
        return;
    }
    struct file f = {.source = source, .directory = source_directory(path)};
    f.base = source_join(l->arena, l->home, f.directory);
    if (!tree_read(source, l->arena, &root, l->problems))
        l->incomplete = true;
    if (root)
        take_top(l, &f, root);
}

static void set_defaults(struct loader *l, struct str base)
{
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++) {
        const struct conf_option *option = option_at(n);
        struct conf_value value = {.text = STR("")};
        struct complaint complaint = {.text = STR("")};
        if (option->preset[0])
            if (!value_read(option, str_of(option->preset), base, l->arena, &value, &complaint))
                problems_add(l->problems, NULL, (struct conf_place){.file = l->sources[0].name},
                             complaint);
        value_store(l->conf, option, &value);
    }
}

static void check_whole(struct loader *l)
{
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++) {
        const struct conf_option *option = option_at(n);
        if (option->type == CONF_NAME && !option->preset[0] && !l->conf->places[n].line)
            problems_add(l->problems, NULL, (struct conf_place){.file = l->sources[0].name},
                         (struct complaint){problem_text(l->arena, "%s is missing", option->name),
                                            problem_text(l->arena, "write \"%s: mail.example.com\"",
                                                         option->name)});
    }
}

static void check_trusted(struct loader *l)
{
    struct net_address gateways[LIMIT_gateways];
    size_t count = l->conf->trusted.count ? net_gateways(gateways, LIMIT_gateways) : 0;
    struct complaint complaint;
    for (size_t i = 0; i < l->conf->trusted.count && !l->conf->trust_wide; i++) {
        const struct conf_network *network = &l->conf->trusted.items[i];
        const struct conf_source *source = l->sources;
        while (!str_eq(source->name, network->place.file))
            source++;
        if (network_is_wide(&network->range, gateways, count, l->arena, &complaint))
            problems_add(l->problems, source, network->place, complaint);
    }
}

static bool find_home(struct loader *l)
{
    struct buf path;
    buf_init(&path, CONF_PATH_MAX);
    bool ok = os_current_directory(&path) >= 0 && arena_copy(l->arena, buf_str(&path), &l->home);
    buf_finish(&path);
    return ok;
}

bool conf_load(struct str path, struct arena *arena, struct conf *conf,
               struct conf_problems *problems)
{
    struct loader l = {.arena = arena, .conf = conf, .problems = problems};
    *conf = (struct conf){0};
    problems_init(problems, arena);
    l.sources = arena_alloc_array(arena, LIMIT_config_includes + 1, sizeof(*l.sources));
    conf->places = arena_alloc_array(arena, CONF_OPTIONS, sizeof(*conf->places));
    conf->sources = arena_alloc_array(arena, LIMIT_config_includes + 1, sizeof(*conf->sources));
    must(l.sources && conf->places && conf->sources); // among the first things in the arena
    l.sources[0].name = path;
    if (!find_home(&l)) {
        problems_add(problems, NULL, (struct conf_place){.file = path},
                     (struct complaint){STR("the present directory has no path"),
                                        STR("go to a directory that exists")});
        return false;
    }
    set_defaults(&l, source_join(arena, l.home, source_directory(path)));
    load_file(&l, path, NULL, NULL);
    if (!l.incomplete) {
        check_whole(&l);
        check_trusted(&l);
    }
    problems_sort(problems, l.sources, l.source_count);
    for (size_t i = 0; i < l.source_count; i++)
        conf->sources[conf->source_count++] = l.sources[i].name;
    return problems->count == 0;
}
