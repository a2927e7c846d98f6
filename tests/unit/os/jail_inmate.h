// Each case runs in a child that shuts itself into a role's jail and reports by its exit status.
#ifndef TESTS_UNIT_OS_JAIL_INMATE_H
#define TESTS_UNIT_OS_JAIL_INMATE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/types.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "os/jail.h"

#ifdef POSTHOUSE_SANITIZED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

// A row of roles/jails.def.
struct row {
    const char *role;
    unsigned calls;
    uint64_t max_files;
    uint64_t max_memory;
};

extern const struct row rows[];
extern const size_t row_count;

enum { HELPER_ROW = 4711 };

// What a role holds before its jail is shut.
struct inmate {
    char path[64]; // of the temporary directory, with inside/ and outside/ in it
    int inside;    // the directory that the jail leaves
    int readable;  // one that it leaves for reading
    int outside;   // opened before, not left
    int file;      // inside/kept, open for reading and writing
    int pair[2];
    int listener;
    int client; // connected to it, not yet accepted
    int epoll;
    uint16_t port;
    int go;   // a byte here makes the helper write to the database
    int done; // the end of file here: it did
    sqlite3 *db;
    struct jail_probe probe;
    struct jail_report report;
};

// Ends a child in which a preparation failed.
int die(const char *what);
#define NEED(cond) ((cond) ? 0 : die(#cond))

// How a case ended: its errno (0 = it worked), or KILLED + signal.
enum { KILLED = 1000 };
int ended(pid_t pid);
int in_jail(const struct row *row, int (*body)(struct inmate *));
int result(long rc); // of a system call: its errno, or 0
// A body that makes one call.
#define TRY(name, call)                                                                            \
    static int name(struct inmate *in)                                                             \
    {                                                                                              \
        (void)in;                                                                                  \
        return result(call);                                                                       \
    }

bool refused(int end);
// `kills`: by the signal of a call that is forbidden outright, where no sanitizer is in between.
void must_fail(const struct row *row, const char *what, int (*body)(struct inmate *), bool kills);

int sql(sqlite3 *db, const char *text);

// The group's directory.
int jail_directory_make(void **state);
int jail_directory_remove(void **state);

#endif
