// The fault seam of test builds. All state is in two shared mappings made before the jail; what a
// call does afterwards is atomic arithmetic on them, fstat of a descriptor, and a sleep.
#define _GNU_SOURCE
#include "os/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/seam.h"

// tests/fault.py has these numbers too.
_Static_assert(sizeof(struct fault_rule) == 128, "page layout");
_Static_assert(offsetof(struct fault_rule, role) == 64, "page layout");
_Static_assert(sizeof(struct fault_role) == 536, "page layout");
_Static_assert(offsetof(struct fault_page, rules) == 64, "page layout");
_Static_assert(offsetof(struct fault_page, roles) == 4160, "page layout");
_Static_assert(sizeof(struct fault_trace) == 64, "trace layout");
_Static_assert(sizeof(struct fault_record) == 128, "trace layout");
_Static_assert((int)FAULT_CALLS <= (int)FAULT_COUNTERS, "page layout");

// Test builds only; set once by fault_start, while there is one thread.
static struct {
    struct fault_page *page;
    struct fault_trace *trace;
    struct fault_role *role;
    uint32_t pid;
    enum fault_bite bite;
} seam;

static void *map_shared(const char *variable, struct str magic)
{
    const char *path = getenv(variable);
    if (!path || !*path)
        return NULL;
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    must(fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size >= magic.len);
    void *at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(at != MAP_FAILED);
    close(fd);
    must(memcmp(at, magic.ptr, magic.len) == 0);
    return at;
}

// This role's row of counters: the one with its name, or a free one.
static struct fault_role *claim_role(struct fault_page *page, const char name[FAULT_NAME])
{
    for (size_t i = 0; i < FAULT_ROLES; i++) {
        struct fault_role *role = &page->roles[i];
        uint32_t expected = 0;
        if (atomic_compare_exchange_strong(&role->state, &expected, 1)) {
            memcpy(role->name, name, FAULT_NAME);
            atomic_store(&role->state, 2);
            return role;
        }
        while (atomic_load(&role->state) == 1)
            continue; // another process writes its name: a few instructions
        if (memcmp(role->name, name, FAULT_NAME) == 0)
            return role;
    }
    return NULL;
}

static enum fault_bite find_bite(void)
{
    static const char *const names[] = {
        "",
#define BITE(name, what) #name,
#include "os/bites.def"
#undef BITE
    };
    struct str wanted = str_of(getenv("POSTHOUSE_BITE"));
    size_t i = 0;
    while (i < ARRAY_LEN(names) && !str_eq(wanted, str_of(names[i])))
        i++;
    must(i < ARRAY_LEN(names));
    return (enum fault_bite)i;
}

bool fault_bites(enum fault_bite bite)
{
    return seam.bite == bite;
}

void fault_start(const char *role)
{
    seam.bite = find_bite();
    char name[FAULT_NAME] = {0};
    size_t len = str_of(role).len;
    must(len < FAULT_NAME);
    memcpy(name, role, len);
    seam.page = map_shared("POSTHOUSE_FAULT", STR("PHFAULT1"));
    if (!seam.page)
        return;
    must(seam.page->version == FAULT_VERSION && seam.page->calls == FAULT_CALLS);
    seam.role = claim_role(seam.page, name);
    must(seam.role != NULL);
    seam.trace = map_shared("POSTHOUSE_TRACE", STR("PHTRACE1"));
    seam.pid = (uint32_t)getpid();
}

static bool rule_matches(const struct fault_rule *rule, enum fault_call call, const char *path)
{
    if (rule->call != FAULT_ANY && rule->call != (uint32_t)call)
        return false;
    if (rule->role[0] && memcmp(rule->role, seam.role->name, FAULT_NAME) != 0)
        return false;
    return !rule->path[0] || (path && strstr(path, rule->path));
}

static void obey(struct fault_rule *rule, struct fault_verdict *verdict)
{
    uint64_t nth = atomic_fetch_add(&rule->seen, 1) + 1;
    if (nth < rule->first || nth - rule->first >= rule->count)
        return;
    atomic_fetch_add(&rule->acted, 1);
    if (rule->delay_ms)
        os_sleep_ms(rule->delay_ms);
    if (rule->kill) {
        raise(SIGKILL);
        __builtin_trap(); // where the jail forbids even that
    }
    if (rule->limit < verdict->limit)
        verdict->limit = rule->limit;
    if (rule->error)
        verdict->error = -rule->error;
}

struct fault_verdict fault_before(enum fault_call call, const char *path)
{
    struct fault_verdict verdict = {0, SIZE_MAX};
    if (!seam.page)
        return verdict;
    atomic_fetch_add(&seam.role->calls[call], 1);
    for (size_t i = 0; i < FAULT_RULES; i++) {
        struct fault_rule *rule = &seam.page->rules[i];
        if (atomic_load(&rule->armed) && rule_matches(rule, call, path))
            obey(rule, &verdict);
    }
    return verdict;
}

static uint64_t next_sequence(void)
{
    return atomic_fetch_add(&seam.page->sequence, 1) + 1;
}

static struct fault_record *record_at(uint64_t at)
{
    return (struct fault_record *)((char *)seam.trace + at);
}

struct note_parts {
    struct str path, to, data;
};

// Room for a record, its bytes filled in; the caller fills in the rest and draws `begin`.
static struct fault_record *reserve(const struct note_parts *parts, uint64_t *at)
{
    uint64_t len = sizeof(struct fault_record) + parts->path.len + parts->to.len + parts->data.len;
    len = (len + 7) & ~UINT64_C(7);
    must(len <= UINT32_MAX);
    *at = atomic_fetch_add(&seam.trace->used, len);
    if (*at > seam.trace->size || len > seam.trace->size - *at) {
        atomic_fetch_add(&seam.trace->lost, 1);
        return NULL;
    }
    struct fault_record *record = record_at(*at);
    atomic_store(&record->length, (uint32_t)len);
    record->pid = seam.pid;
    memcpy(record->role, seam.role->name, FAULT_NAME);
    record->path_len = (uint32_t)parts->path.len;
    record->to_len = (uint32_t)parts->to.len;
    record->data_len = parts->data.len;
    char *to = record->bytes;
    const struct str *pieces[] = {&parts->path, &parts->to, &parts->data};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        if (pieces[i]->len)
            memcpy(to, pieces[i]->ptr, pieces[i]->len);
        to += pieces[i]->len;
    }
    return record;
}

static struct fault_note begun(struct fault_record *record, uint64_t at)
{
    atomic_store(&record->begin, next_sequence());
    return (struct fault_note){.at = at};
}

static struct fault_file file_of(const struct stat *st)
{
    return (struct fault_file){st->st_dev, st->st_ino};
}

static bool on_disk(int fd, struct stat *st)
{
    return seam_fstat(fd, st) == 0 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
}

static uint64_t position(int fd, const struct stat *st)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_APPEND))
        return (uint64_t)st->st_size;
    return (uint64_t)lseek(fd, 0, SEEK_CUR);
}

struct fault_note fault_note_write(int fd, uint64_t offset, struct str bytes)
{
    struct stat st;
    uint64_t at;
    if (!seam.trace || !on_disk(fd, &st))
        return (struct fault_note){0};
    struct fault_record *record = reserve(&(struct note_parts){.data = bytes}, &at);
    if (!record)
        return (struct fault_note){0};
    record->call = FAULT_write;
    record->file = file_of(&st);
    record->mode = st.st_mode;
    record->argument = offset == FAULT_AT_POSITION ? position(fd, &st) : offset;
    return begun(record, at);
}

struct fault_note fault_note_file(enum fault_call call, int fd, uint64_t argument)
{
    struct stat st;
    uint64_t at;
    if (!seam.trace || !on_disk(fd, &st))
        return (struct fault_note){0};
    struct fault_record *record = reserve(&(struct note_parts){.data = {NULL, 0}}, &at);
    if (!record)
        return (struct fault_note){0};
    record->call = (uint32_t)call;
    record->file = file_of(&st);
    record->mode = st.st_mode;
    record->argument = argument;
    return begun(record, at);
}

static struct fault_file directory_of(int dir, const char *path)
{
    struct stat st;
    if (!path || path[0] == '/')
        return (struct fault_file){0, 0};
    int r = dir == AT_FDCWD ? stat(".", &st) : seam_fstat(dir, &st);
    return r == 0 ? file_of(&st) : (struct fault_file){0, 0};
}

static void note_named(struct fault_record *record, int dir, const char *path)
{
    struct stat st;
    if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        record->file = file_of(&st);
        record->mode = st.st_mode;
    }
}

struct fault_note fault_note_name(enum fault_call call, int dir, const char *path, int to_dir,
                                  const char *to, uint64_t argument)
{
    uint64_t at;
    if (!seam.trace)
        return (struct fault_note){0};
    struct note_parts parts = {.path = str_of(path), .to = str_of(to)};
    struct fault_record *record = reserve(&parts, &at);
    if (!record)
        return (struct fault_note){0};
    record->call = (uint32_t)call;
    record->argument = argument;
    record->dir = directory_of(dir, path);
    record->to_dir = directory_of(to_dir, to);
    struct fault_note note;
    if (call == FAULT_open || call == FAULT_mkdir) {
        note = begun(record, at);
        note.dir = dir;
        note.path = path;
    } else {
        note_named(record, dir, path);
        note = begun(record, at);
    }
    return note;
}

void fault_note_end(const struct fault_note *note, int64_t result)
{
    if (!note->at)
        return;
    int saved = errno;
    struct fault_record *record = record_at(note->at);
    if (note->path && result >= 0)
        note_named(record, note->dir, note->path);
    record->result = result;
    atomic_store(&record->end, next_sequence());
    errno = saved;
}

int64_t fault_wall_shift_ms(void)
{
    return seam.page ? atomic_load(&seam.page->wall_shift_ms) : 0;
}

int64_t fault_monotonic_shift_ms(void)
{
    return seam.page ? atomic_load(&seam.page->monotonic_shift_ms) : 0;
}

uint64_t fault_shorten_wait_ms(uint64_t ms)
{
    enum { LOOK_AGAIN_MS = 20 };
    return seam.page && ms > LOOK_AGAIN_MS ? LOOK_AGAIN_MS : ms;
}
