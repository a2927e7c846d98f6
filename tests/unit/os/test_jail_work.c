// What each role needs works inside its jail, and no more of it than its row says.
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "jail_inmate.h"
#include "os/file.h"

// ---- what the roles need

static int use_memory(struct inmate *in)
{
    (void)in;
    char *p = malloc(1000);
    for (size_t size = 1000; p && size < 50u << 20; size *= 3) {
        char *bigger = realloc(p, size * 3);
        if (!bigger)
            return 1;
        p = bigger;
        memset(p, 1, size * 3);
    }
    free(p);
    return p ? 0 : 1;
}

static int use_loop(struct inmate *in)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct timespec now;
    char byte;
    if (epoll_ctl(in->epoll, EPOLL_CTL_ADD, in->pair[1], &event) < 0 ||
        send(in->pair[0], "x", 1, MSG_NOSIGNAL) != 1 || epoll_wait(in->epoll, &event, 1, 1000) != 1)
        return errno ? errno : 1;
    int copy = fcntl(in->pair[1], F_DUPFD_CLOEXEC, 0);
    if (copy < 0 || fcntl(copy, F_GETFL) < 0 || recv(copy, &byte, 1, 0) != 1)
        return errno;
    if (clock_gettime(CLOCK_MONOTONIC, &now) < 0 || usleep(1) < 0)
        return errno;
    return result(close(copy));
}

static int leave_cleanly(struct inmate *in)
{
    (void)in;
    free(malloc(100));
    exit(0); // with all that libraries do then
}

static void *thread_main(void *argument)
{
    int *failed = argument;
    char *bytes = calloc(3, 100000);
    *failed = !bytes || pthread_setname_np(pthread_self(), "jailed") != 0;
    free(bytes);
    return NULL;
}

static int use_threads(struct inmate *in)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int failed[THREADS] = {0}, sum = 0;
    (void)in;
    for (int i = 0; i < THREADS; i++) {
        int rc = pthread_create(&threads[i], NULL, thread_main, &failed[i]);
        if (rc)
            return rc;
    }
    for (int i = 0; i < THREADS; i++) {
        if (pthread_join(threads[i], NULL))
            return 1;
        sum += failed[i];
    }
    return sum;
}

static int use_accept(struct inmate *in)
{
    int one = 1;
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    int fd = accept4(in->listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
        return errno;
    len = sizeof(peer);
    if (getsockname(fd, (struct sockaddr *)&peer, &len) < 0 ||
        send(fd, "220", 3, MSG_NOSIGNAL) != 3)
        return errno;
    return result(shutdown(fd, SHUT_WR));
}

static int pass_descriptor(struct inmate *in)
{
    char byte = 'x', space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &in->file, sizeof(int));
    if (sendmsg(in->pair[0], &m, MSG_NOSIGNAL) != 1)
        return errno;
    m.msg_controllen = sizeof(space);
    if (recvmsg(in->pair[1], &m, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m))
        return errno;
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
    if (fd <= in->file || read(fd, &byte, 1) != 1 || byte != 'k')
        return 1;
    struct stat st; // as os_fstat does
    return syscall(SYS_fstat, fd, &st) == 0 && st.st_size == 5 ? 0 : 1;
}

static int use_memfd(struct inmate *in)
{
    (void)in;
    int fd = memfd_create("window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, 8192) < 0 || write(fd, "letter", 6) != 6 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return errno;
    void *at = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || memcmp(at, "letter", 6) != 0)
        return errno ? errno : 1;
    return 0;
}

static int use_locks(struct inmate *in)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    if (flock(in->inside, LOCK_EX | LOCK_NB) < 0 || fcntl(in->file, F_SETLK, &lock) < 0)
        return errno;
    lock = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (fcntl(in->file, F_SETLK, &lock) < 0)
        return errno;
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return result(fcntl(in->file, F_OFD_SETLK, &lock));
}

static bool see_name(void *context, const char *name)
{
    *(size_t *)context += name[0] != '\0';
    return true;
}

static int read_files(struct inmate *in)
{
    size_t names = 0;
    struct stat st;
    struct statfs fs;
    char bytes[256];
    int fd = openat(in->readable, "letter", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 || pread(fd, bytes, 7, 0) != 7)
        return errno;
    int dir = openat(in->inside, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || os_list(dir, see_name, &names) < 0 || names != 1)
        return errno ? errno : 1;
    if (fstatat(in->inside, "new/letter", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno;
    return result(fstatat(in->inside, "new/none", &st, 0)) == ENOENT ? 0 : 1;
}

static int deliver(struct inmate *in)
{
    int fd = openat(in->inside, "tmp/x", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "letter\n", 7) != 7 || pwrite(fd, "L", 1, 0) != 1 ||
        ftruncate(fd, 6) < 0 || fdatasync(fd) < 0 || fsync(in->inside) < 0)
        return errno;
    if (linkat(in->inside, "tmp/x", in->inside, "new/x", 0) < 0 || syncfs(in->inside) < 0 ||
        renameat(in->inside, "new/x", in->inside, "cur/x") < 0 ||
        unlinkat(in->inside, "tmp/x", 0) < 0 || unlinkat(in->inside, "cur/x", 0) < 0)
        return errno;
    return result(mkdirat(in->inside, "made", 0700)) || result(unlinkat(in->inside, "made", 0x200));
}

static int move_letters(struct inmate *in)
{
    if (renameat(in->inside, "new/letter", in->inside, "cur/letter:2,S") < 0)
        return errno;
    int cur = openat(in->inside, "cur", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cur < 0 || unlinkat(cur, "letter:2,S", 0) < 0)
        return errno;
    return result(fsync(cur));
}

static int read_handed(struct inmate *in)
{
    char octet;
    return result(pread(in->file, &octet, 1, 0));
}

static int use_store(struct inmate *in)
{
    struct stat st;
    if (pwrite(in->file, "更多", 6, 4096) != 6 || fdatasync(in->file) < 0 ||
        fstat(in->file, &st) < 0 || st.st_size != 4102 || ftruncate(in->file, 5) < 0)
        return errno ? errno : 1;
    return 0;
}

static int count_rows(sqlite3 *db, int a)
{
    sqlite3_stmt *ask = NULL;
    int count = -1;
    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM t WHERE a = ?", -1, &ask, NULL) == SQLITE_OK) {
        sqlite3_bind_int(ask, 1, a);
        if (sqlite3_step(ask) == SQLITE_ROW)
            count = sqlite3_column_int(ask, 0);
    }
    sqlite3_finalize(ask);
    return count;
}

// More frames than one page of the wal-index holds, a sort beyond the cache, checkpoints, another
// process's write, and the end: all without opening a file.
static int use_database(struct inmate *in)
{
    char byte;
    if (sql(in->db,
            "PRAGMA wal_autocheckpoint=0; BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT i+10, randomblob(3000) "
            "FROM n; COMMIT; UPDATE t SET b='王' WHERE a=12") != SQLITE_OK)
        return 2;
    if (count_rows(in->db, 5010) != 1 || sql(in->db, "SELECT * FROM t ORDER BY b") != SQLITE_OK)
        return 3;
    if (sql(in->db, "BEGIN; SAVEPOINT s; DELETE FROM t WHERE a>10; ROLLBACK TO s; COMMIT") !=
        SQLITE_OK)
        return 4;
    if (sql(in->db, "PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(7,'after')") !=
        SQLITE_OK)
        return 5;
    if (write(in->go, "g", 1) != 1 || read(in->done, &byte, 1) != 0)
        return 6;
    if (count_rows(in->db, HELPER_ROW) < 1 || sql(in->db, "DELETE FROM t") != SQLITE_OK)
        return 7;
    return sqlite3_close(in->db) == SQLITE_OK ? 0 : 8;
}

static void *database_thread(void *argument)
{
    sqlite3 *db = argument;
    return count_rows(db, 1) >= 1 && sql(db, "INSERT INTO t VALUES(2,'thread')") == SQLITE_OK
               ? db
               : NULL;
}

static int use_database_in_thread(struct inmate *in)
{
    pthread_t thread;
    void *got = NULL;
    if (pthread_create(&thread, NULL, database_thread, in->db) || pthread_join(thread, &got))
        return 1;
    return got == in->db ? 0 : 2;
}

static int connect_out(struct inmate *in)
{
    int error;
    socklen_t len = sizeof(error);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = in->port};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS))
        return errno;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return errno;
    return result(socket(AF_INET6, SOCK_STREAM, 0));
}

// As libunbound does.
static int ask_servers(struct inmate *in)
{
    struct sockaddr_in at = {.sin_family = AF_INET},
                       to = {.sin_family = AF_INET, .sin_port = in->port};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), yes = 1;
    at.sin_addr.s_addr = to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || send(fd, "x", 1, 0) != 1)
        return errno;
    return connect_out(in); // long answers come by TCP
}

struct wanted {
    const char *what;
    unsigned calls;
    int (*body)(struct inmate *);
};

static const struct wanted wanted[] = {
    {"memory", JAIL_BASE, use_memory},
    {"loop", JAIL_BASE, use_loop},
    {"a clean exit", JAIL_BASE, leave_cleanly},
    {"threads", JAIL_THREADS, use_threads},
    {"accept", JAIL_ACCEPT, use_accept},
    {"passing descriptors", JAIL_PASS, pass_descriptor},
    {"memfd and seals", JAIL_MEMFD, use_memfd},
    {"locks", JAIL_LOCKS, use_locks},
    {"reading files", JAIL_FILES, read_files},
    {"delivery", JAIL_CHANGE, deliver},
    {"moving letters", JAIL_FILES | JAIL_MOVE, move_letters},
    {"open files", JAIL_STORE, use_store},
    {"SQLite", JAIL_STORE | JAIL_LOCKS, use_database},
    {"SQLite in a thread", JAIL_STORE | JAIL_LOCKS | JAIL_THREADS, use_database_in_thread},
    {"asking name servers", JAIL_RESOLVE, ask_servers},
    {"connecting", JAIL_CONNECT, connect_out},
    {"reading what it was handed", JAIL_HANDED, read_handed},
};

static void must_work(const struct row *row, const struct wanted *w)
{
    int end = in_jail(row, w->body);
    if (end != 0)
        fail_msg("%s: %s ended with %d", row->role, w->what, end);
}

static void every_role_can_work(void **state)
{
    (void)state;
    unsigned tried = 0;
    for (size_t r = 0; r < row_count; r++)
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
            if ((rows[r].calls & wanted[i].calls) == wanted[i].calls) {
                must_work(&rows[r], &wanted[i]);
                tried |= wanted[i].calls;
            }
    // Every group of some role was used.
    for (size_t r = 0; r < row_count; r++)
        assert_int_equal(rows[r].calls & ~tried, 0);
}

TRY(look_around, fstatat(in->outside, "secret", &(struct stat){.st_size = 0}, 0))

// The other way round: a group that a role lacks is a wall.
static void lacking_groups_are_walls(void **state)
{
    static const struct wanted walls[] = {
        {"threads", JAIL_THREADS, use_threads},
        {"accept", JAIL_ACCEPT, use_accept},
        {"passing", JAIL_PASS, pass_descriptor},
        {"memfd", JAIL_MEMFD, use_memfd},
        {"locks", JAIL_LOCKS, use_locks},
        {"files", JAIL_FILES, read_files},
        {"delivery", JAIL_CHANGE, deliver},
        {"moving", JAIL_MOVE | JAIL_CHANGE, move_letters},
        {"open files", JAIL_STORE | JAIL_CHANGE, use_store},
        {"handed files", JAIL_STORE | JAIL_FILES | JAIL_HANDED, read_handed},
        {"status of a path", JAIL_STORE | JAIL_FILES | (SANITIZED ? JAIL_BASE : 0), look_around},
    };
    (void)state;
    for (size_t r = 0; r < row_count; r++)
        for (size_t i = 0; i < ARRAY_LEN(walls); i++)
            if (!(rows[r].calls & walls[i].calls))
                must_fail(&rows[r], walls[i].what, walls[i].body, false);
}

// ---- the reader: what stands in a letter stays as it is

TRY(rewrite_letter, openat(in->inside, "new/letter", O_RDWR))
TRY(forge_letter, openat(in->inside, "new/forged", O_RDONLY | O_CREAT, 0600))
TRY(forge_unnamed, openat(in->inside, "new", O_RDWR | O_TMPFILE, 0600))
TRY(cut_letter, openat(in->inside, "new/letter", O_RDONLY | O_TRUNC))
TRY(link_letter, linkat(in->inside, "new/letter", in->inside, "cur/letter", 0))

static void a_reader_changes_no_letter(void **state)
{
    static const struct row reader = {"reader", JAIL_BASE | JAIL_FILES | JAIL_MOVE, 64, 0};
    (void)state;
    must_fail(&reader, "write", rewrite_letter, false);
    must_fail(&reader, "create", forge_letter, false);
    must_fail(&reader, "create without a name", forge_unnamed, false);
    must_fail(&reader, "truncate", cut_letter, false);
    must_fail(&reader, "link", link_letter, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_role_can_work),
        cmocka_unit_test(lacking_groups_are_walls),
        cmocka_unit_test(a_reader_changes_no_letter),
    };
    return cmocka_run_group_tests_name("jail_work", tests, jail_directory_make,
                                       jail_directory_remove);
}
