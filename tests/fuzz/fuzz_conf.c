// A configuration file of any bytes: it is refused with problems that can be shown, or its values
// pass the door of conf_unpack and are the same after conf_show and after conf_pack.
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "conf/conf.h"
#include "os/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 16 << 20 };

static bool load_bytes(struct str bytes, struct arena *arena, struct conf *conf,
                       struct conf_problems *problems)
{
    char path[64];
    int fd = os_memfd("fuzz_conf");
    must(fd >= 0 && os_write_all(fd, bytes) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct str copy;
    must(arena_copy(arena, str_of(path), &copy));
    bool ok = conf_load(copy, arena, conf, problems);
    os_close(&fd);
    return ok;
}

static void check_problems(const struct conf_problems *problems)
{
    struct buf text;
    must(problems->count > 0 && problems->count <= LIMIT_config_errors);
    buf_init(&text, TEXT_MAX);
    conf_put_problems(&text, problems);
    must(buf_ok(&text) && str_is_utf8(buf_str(&text)));
    for (size_t i = 0; i < text.len; i++)
        must((unsigned char)text.ptr[i] >= 0x20 || text.ptr[i] == '\n');
    buf_finish(&text);
}

// What is shown stands in other places than what was read.
static void forget_places(struct conf *conf)
{
    for (size_t i = 0; i < conf->trusted.count; i++)
        conf->trusted.items[i].place = (struct conf_place){.file = STR("")};
}

static void check_values(struct arena *arena, struct conf *conf)
{
    struct buf packed, again, shown;
    struct conf back, reloaded;
    struct conf_problems problems;
    struct err err;
    buf_init(&packed, LIMIT_config_packed);
    buf_init(&again, LIMIT_config_packed);
    buf_init(&shown, TEXT_MAX);
    conf_pack(&packed, conf);
    must(buf_ok(&packed));
    must(conf_unpack(buf_str(&packed), arena, &back, &err));
    conf_pack(&again, &back);
    must(str_eq(buf_str(&packed), buf_str(&again)));
    conf_show(&shown, conf);
    must(buf_ok(&shown));
    // Comments with places make the text longer than what was read.
    if (shown.len < LIMIT_config_file) {
        must(load_bytes(buf_str(&shown), arena, &reloaded, &problems));
        forget_places(conf);
        forget_places(&reloaded);
        buf_clear(&packed);
        buf_clear(&again);
        conf_pack(&packed, conf);
        conf_pack(&again, &reloaded);
        must(str_eq(buf_str(&packed), buf_str(&again)));
    }
    buf_finish(&packed);
    buf_finish(&again);
    buf_finish(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct conf conf;
    struct conf_problems problems;
    arena_init(&arena, LIMIT_config_memory);
    if (load_bytes(str_from(data, size), &arena, &conf, &problems))
        check_values(&arena, &conf);
    else
        check_problems(&problems);
    arena_finish(&arena);
    return 0;
}
