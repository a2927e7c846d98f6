// Files and directories. Every call passes the fault seam (os/fault.h). A call returns >= 0, or a
// negative errno; EINTR never comes back. Paths are relative to a directory's descriptor, so that a
// role needs no name outside the directories it was given. All descriptors are close-on-exec.
#ifndef OS_FILE_H
#define OS_FILE_H

#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { OS_HERE = -100 }; // AT_FDCWD: for the supervisor and the command only

// flags: O_ constants; O_CLOEXEC is added. A descriptor, or -errno.
MUST_USE int os_open(int dir, const char *path, int flags, unsigned mode);
// A directory, for use as `dir` of other calls.
MUST_USE int os_open_directory(int dir, const char *path);
// Closes *fd when it is >= 0 and sets it to -1. Errors of close are of no use after a sync.
void os_close(int *fd);
// Another descriptor for the same open file.
MUST_USE int os_duplicate(int fd);

// One call, at most len bytes: a count, 0 at the end, or -errno.
MUST_USE ssize_t os_read(int fd, void *to, size_t len);
MUST_USE ssize_t os_pread(int fd, void *to, size_t len, uint64_t offset);
// All of it: 0, or -errno. A short write is continued; part may be written on an error.
MUST_USE int os_write_all(int fd, struct str bytes);
MUST_USE int os_pwrite_all(int fd, struct str bytes, uint64_t offset);
// Reads len bytes, fewer only at the end of the file: a count, or -errno.
MUST_USE ssize_t os_pread_all(int fd, void *to, size_t len, uint64_t offset);
// The whole file, appended to out: 0, -errno, or -EFBIG past out's limit.
MUST_USE int os_read_file(int dir, const char *path, struct buf *out);

MUST_USE int os_fdatasync(int fd);
MUST_USE int os_fsync(int fd);
// fd: any descriptor on the file system.
MUST_USE int os_syncfs(int fd);
MUST_USE int os_link(int from_dir, const char *from, int to_dir, const char *to);
MUST_USE int os_rename(int from_dir, const char *from, int to_dir, const char *to);
MUST_USE int os_unlink(int dir, const char *path);
MUST_USE int os_rmdir(int dir, const char *path);
MUST_USE int os_mkdir(int dir, const char *path, unsigned mode);
MUST_USE int os_truncate(int fd, uint64_t size);
MUST_USE int os_stat(int dir, const char *path, struct stat *st); // follows no link at the end
MUST_USE int os_fstat(int fd, struct stat *st);
// A private name: chmod 0600 at birth is by `mode` of os_open; this changes an existing file.
MUST_USE int os_chmod(int dir, const char *path, unsigned mode);
MUST_USE int os_chown(int dir, const char *path, unsigned uid, unsigned gid);

struct os_space {
    uint64_t bytes_free; // for us, root's reserve not counted
    uint64_t bytes_total;
    uint64_t inodes_free; // UINT64_MAX where the file system has no count
};
MUST_USE int os_space(int fd, struct os_space *space);
// ext4 or XFS on kernel >= 5.17: syncfs reports data errors and file system errors there.
bool os_syncfs_trusted(int fd);

// Calls `each` for every name but "." and ".."; stops early when it returns false. `dir` stays
// open. 0, or -errno.
MUST_USE int os_list(int dir, bool (*each)(void *context, const char *name), void *context);
// The same without what the directory itself says is no regular file; nothing is asked of the
// files.
MUST_USE int os_list_files(int dir, bool (*each)(void *context, const char *name), void *context);

// An exclusive lock on the open file, for the life of the descriptor: 0, -EWOULDBLOCK when another
// process holds it, or -errno.
MUST_USE int os_lock(int fd);
// flock on a directory or file, shared with nobody: same results. Freed by os_close.
MUST_USE int os_flock(int fd);

// Anonymous memory with a descriptor that can be passed on. Sealable.
MUST_USE int os_memfd(const char *name);
enum os_seal {
    OS_SEAL_SHRINK = 1, // can not be cut short under a reader's mapping
    OS_SEAL_GROW = 2,
    OS_SEAL_WRITE = 4, // nobody can change it; fails with -EBUSY while a writable mapping exists
};
MUST_USE int os_seal(int fd, unsigned seals);
// True when all of `seals` are set.
bool os_sealed(int fd, unsigned seals);
MUST_USE int os_map(int fd, size_t len, bool writable, void **at);
void os_unmap(void *at, size_t len);

#endif
