// The door of a role: bytes that are taken pack to the same bytes.
#include "base/limits.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct conf conf;
    struct buf again;
    struct err err;
    arena_init(&arena, LIMIT_config_memory);
    buf_init(&again, LIMIT_config_packed);
    if (conf_unpack(str_from(data, size), &arena, &conf, &err)) {
        conf_pack(&again, &conf);
        must(str_eq(buf_str(&again), str_from(data, size)));
    } else {
        must(err.text[0] != '\0');
    }
    buf_finish(&again);
    arena_finish(&arena);
    return 0;
}
