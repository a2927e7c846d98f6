#define _GNU_SOURCE
#include "os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "os/seam.h"

_Static_assert(OS_HERE == AT_FDCWD, "file.h gives the number so that no one else needs fcntl.h");

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

int os_open(int dir, const char *path, int flags, unsigned mode)
{
    bool changes = flags & (O_CREAT | O_TRUNC);
    return (int)SEAM_NOTED(
        open, path,
        changes ? fault_note_name(FAULT_open, dir, path, -1, NULL, (uint64_t)flags) : SEAM_NO_NOTE,
        openat(dir, path, flags | O_CLOEXEC, (mode_t)mode));
}

int os_open_directory(int dir, const char *path)
{
    return os_open(dir, path, O_RDONLY | O_DIRECTORY, 0);
}

void os_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int os_duplicate(int fd)
{
    return (int)SEAM(open, NULL, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

ssize_t os_read(int fd, void *to, size_t len)
{
    size_t n;
    return SEAM_MOVE(read, n, len, read(fd, to, n));
}

ssize_t os_pread(int fd, void *to, size_t len, uint64_t offset)
{
    size_t n;
    return SEAM_MOVE(read, n, len, pread(fd, to, n, (off_t)offset));
}

ssize_t os_pread_all(int fd, void *to, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = os_pread(fd, (char *)to + done, len - done, offset + done);
        if (n < 0)
            return n;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

// A disk that takes nothing of something would keep us in the loop for ever: that is an error too.
static int64_t write_result(int64_t n)
{
    return n == 0 ? -EIO : n;
}

int os_write_all(int fd, struct str bytes)
{
    while (bytes.len) {
        size_t n;
        int64_t r =
            write_result(SEAM_FULL(write, NULL, n, bytes.len,
                                   fault_note_write(fd, FAULT_AT_POSITION, str_sub(bytes, 0, n)),
                                   write(fd, bytes.ptr, n)));
        if (r < 0)
            return (int)r;
        bytes = str_skip(bytes, (size_t)r);
    }
    return 0;
}

int os_pwrite_all(int fd, struct str bytes, uint64_t offset)
{
    while (bytes.len) {
        size_t n;
        int64_t r = write_result(SEAM_FULL(write, NULL, n, bytes.len,
                                           fault_note_write(fd, offset, str_sub(bytes, 0, n)),
                                           pwrite(fd, bytes.ptr, n, (off_t)offset)));
        if (r < 0)
            return (int)r;
        bytes = str_skip(bytes, (size_t)r);
        offset += (uint64_t)r;
    }
    return 0;
}

static int read_to_end(int fd, struct buf *out)
{
    enum { PIECE = 16384 };
    for (;;) {
        char past_limit;
        size_t room = out->limit - out->len;
        size_t n = room < PIECE ? room : PIECE;
        char *to = n ? buf_reserve(out, n) : &past_limit;
        must(to != NULL);
        ssize_t got = os_read(fd, to, n ? n : 1);
        if (got <= 0)
            return (int)got;
        if (n == 0)
            return -EFBIG;
        buf_added(out, (size_t)got);
    }
}

int os_read_file(int dir, const char *path, struct buf *out)
{
    size_t before = out->len;
    int fd = os_open(dir, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int r = read_to_end(fd, out);
    if (r < 0)
        out->len = before;
    os_close(&fd);
    return r;
}

int os_fdatasync(int fd)
{
    if (fault_bites(BITE_fdatasync))
        return 0;
    return (int)SEAM_NOTED(fdatasync, NULL, fault_note_file(FAULT_fdatasync, fd, 0), fdatasync(fd));
}

int os_fsync(int fd)
{
    return (int)SEAM_NOTED(fsync, NULL, fault_note_file(FAULT_fsync, fd, 0), fsync(fd));
}

int os_syncfs(int fd)
{
    return (int)SEAM_NOTED(syncfs, NULL, fault_note_file(FAULT_syncfs, fd, 0), syncfs(fd));
}

int os_link(int from_dir, const char *from, int to_dir, const char *to)
{
    return (int)SEAM_NOTED(link, to, fault_note_name(FAULT_link, from_dir, from, to_dir, to, 0),
                           linkat(from_dir, from, to_dir, to, 0));
}

int os_rename(int from_dir, const char *from, int to_dir, const char *to)
{
    return (int)SEAM_NOTED(rename, to, fault_note_name(FAULT_rename, from_dir, from, to_dir, to, 0),
                           renameat(from_dir, from, to_dir, to));
}

int os_unlink(int dir, const char *path)
{
    return (int)SEAM_NOTED(unlink, path, fault_note_name(FAULT_unlink, dir, path, -1, NULL, 0),
                           unlinkat(dir, path, 0));
}

int os_rmdir(int dir, const char *path)
{
    return (int)SEAM_NOTED(rmdir, path, fault_note_name(FAULT_rmdir, dir, path, -1, NULL, 0),
                           unlinkat(dir, path, AT_REMOVEDIR));
}

int os_mkdir(int dir, const char *path, unsigned mode)
{
    return (int)SEAM_NOTED(mkdir, path, fault_note_name(FAULT_mkdir, dir, path, -1, NULL, 0),
                           mkdirat(dir, path, (mode_t)mode));
}

int os_truncate(int fd, uint64_t size)
{
    return (int)SEAM_NOTED(truncate, NULL, fault_note_file(FAULT_truncate, fd, size),
                           ftruncate(fd, (off_t)size));
}

int os_stat(int dir, const char *path, struct stat *st)
{
    return (int)SEAM(stat, path, fstatat(dir, path, st, AT_SYMLINK_NOFOLLOW));
}

// glibc's fstat may go by newfstatat, and a jail that allows that one shows the status of every
// path. Where `long` has 64 bits the kernel's struct is the C library's.
int seam_fstat(int fd, struct stat *st)
{
    _Static_assert(sizeof(long) == 8, "32-bit systems want fstat64");
    return (int)syscall(SYS_fstat, fd, st);
}

int os_fstat(int fd, struct stat *st)
{
    return (int)SEAM(stat, NULL, seam_fstat(fd, st));
}

int os_chmod(int dir, const char *path, unsigned mode)
{
    return (int)SEAM(chmod, path, fchmodat(dir, path, (mode_t)mode, 0));
}

int os_chown(int dir, const char *path, unsigned uid, unsigned gid)
{
    return (int)SEAM(chmod, path, fchownat(dir, path, uid, gid, AT_SYMLINK_NOFOLLOW));
}

int os_space(int fd, struct os_space *space)
{
    struct statvfs st;
    int r = (int)SEAM(statvfs, NULL, fstatvfs(fd, &st));
    if (r < 0)
        return r;
    *space = (struct os_space){
        .bytes_free = (uint64_t)st.f_bavail * st.f_frsize,
        .bytes_total = (uint64_t)st.f_blocks * st.f_frsize,
        .inodes_free = st.f_files ? st.f_favail : UINT64_MAX,
    };
    return 0;
}

// "6.1.0-18-amd64" >= 5.17?
static bool release_at_least(struct str release, uint64_t want_major, uint64_t want_minor)
{
    struct str major, minor = release;
    uint64_t a, b;
    if (!str_cut(&minor, '.', &major))
        return false;
    size_t digits = 0;
    while (digits < minor.len && minor.ptr[digits] >= '0' && minor.ptr[digits] <= '9')
        digits++;
    if (!str_to_u64(major, &a) || !str_to_u64(str_sub(minor, 0, digits), &b))
        return false;
    return a > want_major || (a == want_major && b >= want_minor);
}

bool os_syncfs_trusted(int fd)
{
    struct statfs st;
    struct utsname name;
    if (fstatfs(fd, &st) < 0 || uname(&name) < 0)
        return false;
    bool known = st.f_type == EXT4_SUPER_MAGIC || st.f_type == XFS_SUPER_MAGIC;
    return known && release_at_least(str_of(name.release), 5, 17);
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

// Some file systems do not tell.
static bool may_be_file(const struct dirent *entry)
{
    return entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN;
}

static int list(int dir, bool files_only, bool (*each)(void *context, const char *name),
                void *context)
{
    // A descriptor of its own: `dir` keeps its position, and closedir does not close it.
    int fd = (int)SEAM(list, NULL, openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return fd;
    DIR *stream = fdopendir(fd);
    must(stream != NULL);
    struct dirent *entry;
    bool more = true;
    errno = 0;
    while (more && (entry = readdir(stream))) {
        if (!is_dots(entry->d_name) && (!files_only || may_be_file(entry)))
            more = each(context, entry->d_name);
        errno = 0;
    }
    int r = -errno;
    closedir(stream);
    return r;
}

int os_list(int dir, bool (*each)(void *context, const char *name), void *context)
{
    return list(dir, false, each, context);
}

int os_list_files(int dir, bool (*each)(void *context, const char *name), void *context)
{
    return list(dir, true, each, context);
}

int os_lock(int fd)
{
    // Of the open file, not the process: closing another descriptor of the file does not lose it.
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int r = (int)SEAM(lock, NULL, fcntl(fd, F_OFD_SETLK, &lock));
    return r == -EACCES ? -EWOULDBLOCK : r;
}

int os_flock(int fd)
{
    return (int)SEAM(lock, NULL, flock(fd, LOCK_EX | LOCK_NB));
}

int os_memfd(const char *name)
{
    return (int)SEAM(memfd, name, memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

static int to_seals(unsigned seals)
{
    return (seals & OS_SEAL_SHRINK ? F_SEAL_SHRINK : 0) | (seals & OS_SEAL_GROW ? F_SEAL_GROW : 0) |
           (seals & OS_SEAL_WRITE ? F_SEAL_WRITE : 0);
}

int os_seal(int fd, unsigned seals)
{
    return (int)SEAM(seal, NULL, fcntl(fd, F_ADD_SEALS, to_seals(seals)));
}

bool os_sealed(int fd, unsigned seals)
{
    int64_t set = SEAM(seal, NULL, fcntl(fd, F_GET_SEALS));
    return set >= 0 && (set & to_seals(seals)) == to_seals(seals);
}

int os_map(int fd, size_t len, bool writable, void **at)
{
    void *where = MAP_FAILED;
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    int r = (int)SEAM(
        map, NULL, (where = mmap(NULL, len, protection, MAP_SHARED, fd, 0)) == MAP_FAILED ? -1 : 0);
    if (r == 0)
        *at = where;
    return r;
}

void os_unmap(void *at, size_t len)
{
    if (at)
        must(munmap(at, len) == 0);
}
