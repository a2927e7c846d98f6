// posthouse: the administrator's command. Options that stand before the command, the row, its
// arguments, the configuration, the function, the output; each step may end it.
#include "base/limits.h"
#include "ctl/find.h"
#include "ctl/help.h"
#include "ctl/offline.h"
#include "ctl/usage.h"
#include "os/file.h"
#include "os/process.h"
#include "os/terminal.h"

struct words {
    struct str *items;
    size_t count;
};

static void say_problems(const struct conf_problems *problems)
{
    struct buf text;
    buf_init(&text, LIMIT_control_reply);
    conf_put_problems(&text, problems);
    int result = os_write_all(2, buf_str(&text));
    (void)result; // the exit code tells as well
    buf_finish(&text);
}

static bool load(struct command *c, struct conf *conf)
{
    struct conf_problems problems;
    if (!conf_load(c->conf_path, c->arena, conf, &problems)) {
        say_problems(&problems);
        return false;
    }
    c->conf = conf;
    return true;
}

static int run_row(struct command *c, const struct words *words, size_t at)
{
    struct usage usage;
    struct conf conf;
    struct str problem;
    bool help;
    usage_read(c->row->usage, &usage);
    if (!usage_match(&usage, c, words->items + at, words->count - at, &help, &problem)) {
        if (!help)
            return command_usage(c, "%.*s", STR_ARG(problem));
        help_put_command(&c->out, c->row);
        return EXIT_DONE;
    }
    if ((c->row->flags & COMMAND_CONF) && !load(c, &conf))
        return EXIT_FAILED;
    return c->row->run(c);
}

static bool is_help(struct str word)
{
    return str_eq(word, STR("--help")) || str_eq(word, STR("-h"));
}

static int run_command(struct command *c, const struct words *words, size_t at)
{
    struct str group = words->items[at++];
    struct str name = at < words->count ? words->items[at] : STR("");
    c->row = find_row(group, name);
    if (c->row)
        return run_row(c, words, at + (c->row->name[0] ? 1 : 0));
    if ((name.len == 0 || is_help(name)) && help_put_group(&c->out, group)) {
        if (is_help(name))
            return EXIT_DONE;
        // A group alone asks for nothing: its usage is the complaint.
        int result = os_write_all(2, buf_str(&c->out));
        (void)result;
        buf_clear(&c->out);
        return EXIT_USAGE;
    }
    return find_fail(c, group, name);
}

static int run(struct command *c, const struct words *words)
{
    size_t at = 0;
    for (; at < words->count && str_starts(words->items[at], STR("-")); at++) {
        struct str word = words->items[at];
        if (str_eq(word, STR("-c")) && at + 1 < words->count) {
            c->conf_path = words->items[++at];
        } else if (is_help(word)) {
            help_put_list(&c->out);
            return EXIT_DONE;
        } else if (str_eq(word, STR("--version"))) {
            buf_put(&c->out, STR("posthouse " POSTHOUSE_VERSION "\n"));
            return EXIT_DONE;
        } else if (str_eq(word, STR("-c"))) {
            return command_usage(c, "-c needs a value: FILE");
        } else {
            return command_usage(c, "unknown option %.*s; posthouse --help lists what there is",
                                 STR_ARG(word));
        }
    }
    if (at == words->count)
        return command_usage(c, "no command; posthouse help lists them");
    return run_command(c, words, at);
}

// `mailq` is `posthouse queue list`: the two words stand behind -c FILE.
static void put_words(struct words *words, int argc, char **argv)
{
    struct str self = argc > 0 ? str_of(argv[0]) : STR("");
    size_t slash = str_rindex(self, '/');
    bool mailq = str_eq(str_skip(self, slash < self.len ? slash + 1 : 0), STR("mailq"));
    int at = argc > 2 && str_eq(str_of(argv[1]), STR("-c")) ? 3 : 1;
    for (int i = 1; i < argc || i <= at; i++) {
        if (mailq && i == at) {
            words->items[words->count++] = STR("queue");
            words->items[words->count++] = STR("list");
        }
        if (i < argc)
            words->items[words->count++] = str_of(argv[i]);
    }
}

static size_t output_width(void)
{
    uint64_t columns;
    if (str_to_u64(os_environment("COLUMNS"), &columns) && columns <= UINT16_MAX)
        return (size_t)columns;
    return os_terminal_width(1);
}

int main(int argc, char **argv)
{
    struct arena process;
    arena_init(&process, LIMIT_config_memory);
    struct words words = {.count = 0};
    struct command c = {
        .conf_path = os_environment("POSTHOUSE_CONF"),
        .colour = os_is_terminal(1) && os_environment("NO_COLOR").len == 0,
        .width = output_width(),
        .arena = &process,
    };
    buf_init(&c.out, 2 * (size_t)LIMIT_control_reply);
    words.items = arena_alloc_array(&process, (size_t)argc + 3, sizeof(*words.items));
    must(words.items != NULL); // the kernel's limit on arguments is far below
    put_words(&words, argc, argv);
    if (c.conf_path.len == 0)
        c.conf_path = STR("/etc/posthouse/posthouse.yaml");
    int code = run(&c, &words);
    offline_close(&c.offline);
    if (!command_flush(&c) && code == EXIT_DONE)
        code = EXIT_FAILED;
    buf_finish(&c.out);
    arena_finish(&process);
    return code;
}
