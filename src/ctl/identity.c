#include "ctl/identity.h"

#include <errno.h>

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

// Domains and users come before the first start: the directory for them may still be missing.
static bool make_state_dir(const struct command *c, const struct os_identity *owner,
                           struct err *err)
{
    struct str path;
    if (!arena_copy(c->arena, c->conf->state_dir, &path))
        return err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "the state directory's name is too long");
    int code = os_mkdir(OS_HERE, path.ptr, 0700);
    if (code == -EEXIST)
        return true;
    if (code >= 0 && owner)
        code = os_chown(OS_HERE, path.ptr, owner->uid, owner->gid);
    return code >= 0 || err_system(err, code, "%s", path.ptr);
}

int identity_take(const struct command *c)
{
    struct os_identity identity;
    struct err err;
    bool root = os_is_root();
    if (root && !os_find_user(c->conf->run_as, &identity, &err))
        return command_error(c, &err);
    if (!make_state_dir(c, root ? &identity : NULL, &err))
        return command_error(c, &err);
    if (!root)
        return EXIT_DONE;
    if (!reaches(&identity, c->conf->state_dir, c->arena) || os_become(&identity, &err))
        return EXIT_DONE;
    return command_error(c, &err);
}
