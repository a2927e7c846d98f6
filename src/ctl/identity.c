#include "ctl/identity.h"

#include "os/file.h"
#include "os/process.h"

// May `who` go into the directory? By its mode bits alone: where they say no and something else
// would say yes, the command works as root, and works.
static bool may_enter(const struct os_identity *who, const char *path)
{
    struct stat st;
    int fd = os_open_directory(OS_HERE, path);
    bool known = fd >= 0 && os_fstat(fd, &st) >= 0;
    os_close(&fd);
    if (!known)
        return false;
    if (st.st_uid == who->uid)
        return st.st_mode & S_IXUSR;
    return st.st_mode & (st.st_gid == who->gid ? S_IXGRP : S_IXOTH);
}

// Each directory on the way along an absolute path, the last one included.
static bool reaches(const struct os_identity *who, struct str path, struct arena *arena)
{
    struct str part;
    size_t end = 0;
    while (end < path.len) {
        end += 1 + str_index(str_skip(path, end + 1), '/');
        if (!arena_copy(arena, str_sub(path, 0, end), &part) || !may_enter(who, part.ptr))
            return false;
    }
    return true;
}

int identity_take(const struct command *c)
{
    struct os_identity identity;
    struct err err;
    if (!os_is_root())
        return EXIT_DONE;
    if (!os_find_user(c->conf->run_as, &identity, &err))
        return command_error(c, &err);
    if (!reaches(&identity, c->conf->state_dir, c->arena) || os_become(&identity, &err))
        return EXIT_DONE;
    return command_error(c, &err);
}
