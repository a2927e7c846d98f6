#include "conf/source.h"

#include <errno.h>
#include <fcntl.h>

#include "conf/pattern.h"
#include "os/file.h"

static const char no_memory[] = "the configuration takes too much memory";

static bool read_open(int fd, struct conf_source *source, struct arena *arena, const char **reason)
{
    struct stat st;
    int result = os_fstat(fd, &st);
    *reason = result < 0                       ? strerror(-result)
              : !S_ISREG(st.st_mode)           ? "it is not a regular file"
              : st.st_size > LIMIT_config_file ? "it is larger than 1 MiB"
                                               : NULL;
    if (*reason)
        return false;
    size_t size = (size_t)st.st_size;
    char *text = arena_alloc(arena, size + 1);
    *reason = no_memory;
    if (!text)
        return false;
    // One octet more is asked for: an editor may be at work on the file just now.
    ssize_t count = os_pread_all(fd, text, size + 1, 0);
    *reason = count < 0 ? strerror((int)-count) : "it changed while it was read";
    source->text = str_from(text, size);
    source->device = st.st_dev;
    source->inode = st.st_ino;
    return count >= 0 && (size_t)count == size;
}

bool source_read(struct conf_source *source, struct arena *arena, const char **reason)
{
    struct str name;
    *reason = no_memory;
    if (!arena_copy(arena, source->name, &name))
        return false;
    // O_NONBLOCK: opening a named pipe would wait for a writer.
    int fd = os_open(OS_HERE, name.ptr, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0) {
        *reason = strerror(-fd);
        return false;
    }
    bool ok = read_open(fd, source, arena, reason);
    os_close(&fd);
    return ok;
}

static bool gather(void *context, const char *name)
{
    struct source_names *names = context;
    if (!pattern_matches(names->pattern, str_of(name)))
        return true;
    if (names->count == LIMIT_config_includes ||
        !arena_copy(names->arena, str_of(name), &names->items[names->count])) {
        names->too_many = true;
        return false;
    }
    names->count++;
    return true;
}

static void sort(struct source_names *names)
{
    for (size_t i = 1; i < names->count; i++)
        for (size_t k = i; k > 0 && str_cmp(names->items[k - 1], names->items[k]) > 0; k--) {
            struct str swap = names->items[k];
            names->items[k] = names->items[k - 1];
            names->items[k - 1] = swap;
        }
}

bool source_find(struct source_names *names, struct str directory, const char **reason)
{
    struct str path;
    *reason = no_memory;
    if (!arena_copy(names->arena, directory.len ? directory : STR("."), &path))
        return false;
    int dir = os_open_directory(OS_HERE, path.ptr);
    int result = dir < 0 ? dir : os_list(dir, gather, names);
    os_close(&dir);
    if (result == -ENOENT)
        return true;
    *reason = result < 0 ? strerror(-result) : "too many files match";
    sort(names);
    return result >= 0 && !names->too_many;
}

struct str source_directory(struct str path)
{
    size_t slash = str_rindex(path, '/');
    return slash == path.len ? STR("") : str_sub(path, 0, slash ? slash : 1);
}

struct str source_name(struct str path)
{
    size_t slash = str_rindex(path, '/');
    return slash == path.len ? path : str_skip(path, slash + 1);
}

struct str source_join(struct arena *arena, struct str directory, struct str name)
{
    struct buf path;
    struct str copy = STR("");
    bool absolute = str_starts(name, STR("/"));
    buf_init(&path, CONF_PATH_MAX);
    if (!absolute)
        buf_put(&path, directory);
    if (!absolute && directory.len && name.len && !str_ends(directory, STR("/")))
        buf_put_byte(&path, '/');
    buf_put(&path, name);
    if (!buf_ok(&path) || !arena_copy(arena, buf_str(&path), &copy))
        copy = STR("");
    buf_finish(&path);
    return copy;
}

bool source_is_pattern(struct str name)
{
    return str_index(name, '*') < name.len || str_index(name, '?') < name.len;
}
