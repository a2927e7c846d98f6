#define _GNU_SOURCE

#include "jail_inmate.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const struct row rows[] = {
#define JAIL(role, calls, max_files, max_memory) {#role, calls, max_files, max_memory},
#include "roles/jails.def"
#undef JAIL
};
const size_t row_count = ARRAY_LEN(rows);

// ---- the inmate: what a role holds before its jail is shut

int die(const char *what)
{
    fprintf(stderr, "# preparation failed: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static void put_file(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    NEED(fd >= 0);
    NEED(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

int sql(sqlite3 *db, const char *text)
{
    return sqlite3_exec(db, text, NULL, NULL, NULL);
}

static sqlite3 *open_database(const struct inmate *in)
{
    char path[128];
    sqlite3 *db = NULL;
    snprintf(path, sizeof(path), "%s/outside/test.db", in->path);
    NEED(sqlite3_open(path, &db) == SQLITE_OK);
    NEED(sqlite3_busy_timeout(db, 5000) == SQLITE_OK);
    NEED(sql(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                 "CREATE TABLE IF NOT EXISTS t(a INTEGER, b TEXT); INSERT INTO t VALUES(1, 'x');"
                 "SELECT * FROM t") == SQLITE_OK);
    return db;
}

// The administrator's command: another process, outside, that writes to the same database.
static void start_helper(struct inmate *in)
{
    int go[2], done[2];
    NEED(pipe2(go, O_CLOEXEC) == 0 && pipe2(done, O_CLOEXEC) == 0);
    pid_t pid = fork();
    NEED(pid >= 0);
    if (pid == 0) {
        char byte, text[64];
        close(go[1]);
        close(done[0]);
        if (read(go[0], &byte, 1) == 1) {
            sqlite3 *db = open_database(in);
            snprintf(text, sizeof(text), "INSERT INTO t VALUES(%d, 'helper')", HELPER_ROW);
            NEED(sql(db, text) == SQLITE_OK);
            sqlite3_close(db);
        }
        _exit(0);
    }
    close(go[0]);
    close(done[1]);
    in->go = go[1];
    in->done = done[0];
}

static void prepare_network(struct inmate *in)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(bind(in->listener, (struct sockaddr *)&at, len) == 0 && listen(in->listener, 5) == 0);
    NEED(getsockname(in->listener, (struct sockaddr *)&at, &len) == 0);
    in->port = at.sin_port;
    in->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(connect(in->client, (struct sockaddr *)&at, sizeof(at)) == 0);
    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in->pair) == 0);
}

static void prepare(struct inmate *in)
{
    static const char *const folders[] = {"new", "cur", "tmp", "empty"};
    char path[96];
    snprintf(path, sizeof(path), "%s/inside", in->path);
    in->inside = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/readable", in->path);
    in->readable = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/outside", in->path);
    in->outside = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    NEED(in->inside >= 0 && in->readable >= 0 && in->outside >= 0);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        NEED(mkdirat(in->inside, folders[i], 0700) == 0 || errno == EEXIST);
    put_file(in->inside, "new/letter", "你好\n");
    put_file(in->inside, "kept", "kept\n");
    put_file(in->readable, "letter", "你好\n");
    put_file(in->outside, "secret", "secret\n");
    in->file = openat(in->inside, "kept", O_RDWR | O_CLOEXEC);
    in->epoll = epoll_create1(EPOLL_CLOEXEC);
    NEED(in->file >= 0 && in->epoll >= 0);
    prepare_network(in);
    start_helper(in);
    in->db = open_database(in);
    jail_probe_open(&in->probe);
}

static bool enter(struct inmate *in, const struct row *row)
{
    const struct jail_path paths[] = {{in->inside, true}, {in->readable, false}};
    bool files = row->calls & (JAIL_FILES | JAIL_CHANGE | JAIL_MOVE);
    const struct jail jail = {.role = row->role,
                              .calls = row->calls,
                              .paths = files ? paths : NULL,
                              .path_count = files ? ARRAY_LEN(paths) : 0,
                              .needs_link = files,
                              .max_files = row->max_files,
                              .max_memory = row->max_memory};
    struct err err;
    if (jail_enter(&jail, &in->report, &err))
        return true;
    fprintf(stderr, "# %s\n", err.text);
    return false;
}

int ended(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return KILLED + WTERMSIG(status);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static char *temporary; // the group's directory

int in_jail(const struct row *row, int (*body)(struct inmate *))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct inmate in = {.db = NULL};
        snprintf(in.path, sizeof(in.path), "%s", temporary);
        prepare(&in);
        if (!enter(&in, row))
            _exit(98);
        _exit(body(&in));
    }
    return ended(pid);
}

int result(long rc)
{
    return rc < 0 ? errno : 0;
}

// EXDEV is Landlock's word for a link or move out of where it is allowed.
bool refused(int end)
{
    return end == EPERM || end == EACCES || end == EXDEV;
}

void must_fail(const struct row *row, const char *what, int (*body)(struct inmate *), bool kills)
{
    int end = in_jail(row, body);
    bool as_told = kills && !SANITIZED ? end == KILLED + SIGSYS : refused(end);
    if (!as_told)
        fail_msg("%s: %s ended with %d", row->role, what, end);
}

// ---- the group's directory

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

int jail_directory_remove(void **state)
{
    (void)state;
    return nftw(temporary, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int jail_directory_make(void **state)
{
    static char path[] = "/tmp/posthouse-jail-XXXXXX";
    (void)state;
    temporary = mkdtemp(path);
    if (!temporary)
        return -1;
    int dir = open(temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = mkdirat(dir, "inside", 0700) | mkdirat(dir, "outside", 0700) |
             mkdirat(dir, "readable", 0700);
    close(dir);
    return rc;
}
