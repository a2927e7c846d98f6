// Writing. Every case works in a Maildir of its own. Deliveries are broken at each of their system
// calls by the fault seam, by an error and by a kill, and done again.
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "maildir_faults.h"

static void assert_file(int dir, const char *name, struct str bytes)
{
    struct buf got;
    buf_init(&got, 1 << 24);
    int rc = os_read_file(dir, name, &got);
    if (rc < 0 || !str_eq(buf_str(&got), bytes))
        fail_msg("%s: %d, %zu octets, want %zu", name, rc, got.len, bytes.len);
    buf_finish(&got);
}

static struct mail_id some_id(void)
{
    static const uint8_t base[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    return mail_id_make(1767225600123, base, 0);
}

static void measure(struct maildir_name *name, const struct str *pieces, size_t count)
{
    struct maildir_pieces text;
    struct err err;
    maildir_pieces_init(&text, pieces, count);
    assert_true(maildir_measure(name, &text.source, &err));
}

static bool write_pieces(const struct maildir *md, const char *name, const struct str *pieces,
                         size_t count, int *fd, bool *delivered, struct err *err)
{
    struct maildir_pieces text;
    maildir_pieces_init(&text, pieces, count);
    return maildir_write(md, name, &text.source, fd, delivered, err);
}

// The name of a letter of these pieces, with a NUL behind it.
static const char *name_of(struct house *h, const struct str *pieces, size_t count)
{
    struct maildir_name name = {.id = some_id()};
    struct buf text;
    struct str copy = {NULL, 0};
    measure(&name, pieces, count);
    buf_init(&text, 256);
    maildir_name_put(&text, &name);
    assert_true(buf_ok(&text) && arena_copy(&h->arena, buf_str(&text), &copy));
    buf_finish(&text);
    return copy.ptr;
}

#define LETTER STR("Subject: \xe4\xbd\xa0\xe5\xa5\xbd\r\n\r\nbody\r\n")
#define ON_DISK STR("Subject: \xe4\xbd\xa0\xe5\xa5\xbd\n\nbody\n")

// All steps of one delivery; with *fd synced as the postman does it.
static bool deliver(const struct maildir *md, const char *name, const struct str *pieces,
                    size_t count, struct err *err)
{
    bool delivered;
    int fd, rc = 0;
    if (!write_pieces(md, name, pieces, count, &fd, &delivered, err))
        return false;
    if (!delivered) {
        rc = os_fsync(fd);
        os_close(&fd);
    }
    if (rc < 0)
        return err_system(err, rc, "sync");
    if (!delivered && !maildir_link(md, name, err))
        return false;
    rc = os_fsync(md->new);
    if (rc < 0)
        return err_system(err, rc, "sync");
    return maildir_forget(md, name, err);
}

// ---- names

static void a_name_is_a_function_of_the_letter(void **state)
{
    struct maildir_name name = {.id = some_id(), .size = 12, .wire_size = 14};
    struct buf out;
    (void)state;
    buf_init(&out, 256);
    maildir_name_put(&out, &name);
    buf_put_byte(&out, ' ');
    name.no_final_newline = true;
    name.size = name.wire_size = UINT64_MAX;
    maildir_name_put(&out, &name);
    char id[MAIL_ID_TEXT + 1], want[512];
    mail_id_text(&name.id, id);
    snprintf(want, sizeof(want),
             "1767225600.%s.posthouse,S=12,W=14 "
             "1767225600.%s.posthouse,S=18446744073709551615,W=18446744073709551615,N",
             id, id);
    assert_true(str_eq(buf_str(&out), str_of(want)));
    buf_finish(&out);
}

struct conversion {
    const char *what;
    struct str pieces[4];
    struct str on_disk;
    uint64_t wire_size;
    bool no_final_newline;
};

static const struct conversion conversions[] = {
    {"nothing", {PIECE("")}, PIECE(""), 0, false},
    {"one line", {PIECE("a\r\n")}, PIECE("a\n"), 3, false},
    {"no line end", {PIECE("a\r\nb")}, PIECE("a\nb"), 4, true},
    {"only a line end", {PIECE("\r\n")}, PIECE("\n"), 2, false},
    {"cut between CR and LF", {PIECE("a\r"), PIECE("\nb\r\n")}, PIECE("a\nb\n"), 6, false},
    {"an empty piece between", {PIECE("a\r"), PIECE(""), PIECE("\nb")}, PIECE("a\nb"), 4, true},
    {"CR stays", {PIECE("a\rb\r\n")}, PIECE("a\rb\n"), 5, false},
    {"CR at a cut stays", {PIECE("a\r"), PIECE("b\r\n")}, PIECE("a\rb\n"), 5, false},
    {"CR at the end stays", {PIECE("a\r\n\r")}, PIECE("a\n\r"), 4, true},
    {"LF is a line end", {PIECE("a\nb\r\n")}, PIECE("a\nb\n"), 6, false},
    {"LF first", {PIECE("\n"), PIECE("\n")}, PIECE("\n\n"), 4, false},
    {"CR CR LF", {PIECE("a\r\r\n")}, PIECE("a\r\n"), 3, false},
    {"CR CR LF in pieces", {PIECE("a\r"), PIECE("\r"), PIECE("\n")}, PIECE("a\r\n"), 3, false},
    {"CR CR LF LF", {PIECE("\r\r"), PIECE("\n\n")}, PIECE("\r\n\n"), 4, false},
    {"NUL and 8 bits", {PIECE("\0\xff\r\n\xe7\x8e\x8b")}, PIECE("\0\xff\n\xe7\x8e\x8b"), 7, true},
};

static void letters_are_converted_and_measured(void **state)
{
    struct house *h = house_of(state);
    for (size_t i = 0; i < ARRAY_LEN(conversions); i++) {
        const struct conversion *c = &conversions[i];
        struct maildir_name name = {.size = 0};
        struct err err;
        bool delivered;
        int fd;
        measure(&name, c->pieces, ARRAY_LEN(c->pieces));
        if (name.size != c->on_disk.len || name.wire_size != c->wire_size ||
            name.no_final_newline != c->no_final_newline)
            fail_msg("%s: S=%d W=%d N=%d", c->what, (int)name.size, (int)name.wire_size,
                     name.no_final_newline);
        assert_true(
            write_pieces(&h->md, "x", c->pieces, ARRAY_LEN(c->pieces), &fd, &delivered, &err));
        assert_false(delivered);
        os_close(&fd);
        assert_file(h->md.tmp, "x", c->on_disk);
    }
}

// Larger than any buffer, with line ends across its borders; what is counted in the name is what a
// reader counts.
static void large_letters_keep_every_octet(void **state)
{
    struct house *h = house_of(state);
    enum { SIZE = 300001 };
    char *wire = malloc(SIZE), *disk = malloc(SIZE);
    size_t disk_len = 0;
    assert_true(wire && disk);
    for (size_t i = 0; i < SIZE; i++)
        wire[i] = i % 7 == 5 ? '\r' : i % 7 == 6 ? '\n' : (char)('a' + i % 26);
    for (size_t i = 0; i < SIZE; i++)
        if (wire[i] != '\r' || i + 1 == SIZE || wire[i + 1] != '\n')
            disk[disk_len++] = wire[i];
    for (size_t cut = 1; cut < SIZE; cut += 32749) {
        const struct str pieces[] = {{wire, cut}, {wire + cut, SIZE - cut}};
        struct maildir_name name = {.size = 0};
        struct err err;
        bool delivered;
        int fd;
        measure(&name, pieces, 2);
        assert_int_equal(name.size, disk_len);
        assert_int_equal(name.wire_size, SIZE);
        assert_true(write_pieces(&h->md, "large", pieces, 2, &fd, &delivered, &err));
        os_close(&fd);
        assert_file(h->md.tmp, "large", str_from(disk, disk_len));
    }
    struct maildir_letter *letters;
    size_t count;
    struct err err;
    put_file(h->md.new, "1.foreign", str_from(disk, disk_len));
    assert_true(maildir_list(&h->md, &h->arena, &letters, &count, &err));
    assert_int_equal(count, 1);
    assert_true(maildir_learn_size(&h->md, letters, &err));
    assert_int_equal(letters[0].wire_size, SIZE + 2); // it lacks its last line end
    free(wire);
    free(disk);
}

// ---- opening

static void opening_makes_what_is_missing(void **state)
{
    struct house *h = house_of(state);
    struct maildir md;
    struct stat st;
    struct err err = {.class = ERR_NONE};
    assert_false(maildir_open(h->mail_dir, STR("a/b/c"), false, &md, &err));
    assert_int_equal(err.code, ENOENT);
    assert_int_equal(md.top, -1);
    assert_int_equal(fstatat(h->mail_dir, "a", &st, 0), -1);
    assert_true(maildir_open(h->mail_dir, STR("a/b/c"), true, &md, &err));
    assert_int_equal(fstat(md.tmp, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    // What was half made, or half removed, is completed.
    assert_int_equal(unlinkat(md.top, "tmp", AT_REMOVEDIR), 0);
    maildir_close(&md);
    assert_int_equal(md.cur, -1);
    assert_false(maildir_open(h->mail_dir, STR("a/b/c"), false, &md, &err));
    assert_true(maildir_open(h->mail_dir, STR("a/b/c"), true, &md, &err));
    assert_int_equal(fstatat(h->mail_dir, "a/b/c/tmp", &st, 0), 0);
    maildir_close(&md);
    assert_true(maildir_open(h->mail_dir, STR("a/b/c"), false, &md, &err));
    maildir_close(&md);
}

static void paths_that_lead_elsewhere_are_refused(void **state)
{
    struct house *h = house_of(state);
    char long_part[300];
    memset(long_part, 'x', sizeof(long_part));
    const struct str paths[] = {
        STR(""),     STR("/"),       STR("/a"),   STR("a/"),   STR("a//b"),
        STR(".."),   STR("a/../b"),  STR("."),    STR("a/."),  STR("../etc"),
        STR("a\0b"), STR("a/b/../"), STR("a/\0"), STR("/etc"), str_from(long_part, 256),
    };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct maildir md;
        struct err err = {.class = ERR_NONE};
        if (maildir_open(h->mail_dir, paths[i], true, &md, &err))
            fail_msg("path %zu was taken", i);
        assert_int_equal(err.class, ERR_TRY_LATER);
        assert_int_equal(md.top, -1);
    }
    assert_int_equal(count_files(h->mail_dir), 1);
}

static void no_link_is_followed(void **state)
{
    static const char *const parts[] = {"d", "d/u", "d/u/new", "d/u/cur", "d/u/tmp"};
    struct house *h = house_of(state);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct maildir md;
        struct err err = {.class = ERR_NONE};
        assert_true(maildir_open(h->mail_dir, STR("d/u"), true, &md, &err));
        maildir_close(&md);
        assert_int_equal(renameat(h->mail_dir, parts[i], h->mail_dir, "moved"), 0);
        assert_int_equal(symlinkat(i ? "../moved" : "moved", h->mail_dir, parts[i]), 0);
        assert_false(maildir_open(h->mail_dir, STR("d/u"), true, &md, &err));
        assert_true(err.code == ELOOP || err.code == ENOTDIR);
        assert_int_equal(unlinkat(h->mail_dir, parts[i], 0), 0);
        assert_int_equal(renameat(h->mail_dir, "moved", h->mail_dir, parts[i]), 0);
    }
}

// ---- delivery

static void a_letter_is_delivered_once(void **state)
{
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    struct stat st;
    struct err err;
    assert_true(deliver(&h->md, name, pieces, 1, &err));
    assert_file(h->md.new, name, ON_DISK);
    assert_int_equal(count_files(h->md.tmp), 0);
    assert_int_equal(fstatat(h->md.new, name, &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
    // The whole once more: the name is the answer.
    assert_true(deliver(&h->md, name, pieces, 1, &err));
    assert_int_equal(count_files(h->md.new), 1);
    assert_int_equal(count_files(h->md.tmp), 0);
    assert_true(maildir_forget(&h->md, name, &err));
}

static void the_link_count_is_the_witness(void **state)
{
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    struct err err;
    bool delivered;
    int fd;
    assert_true(write_pieces(&h->md, name, pieces, 1, &fd, &delivered, &err));
    os_close(&fd);
    assert_true(maildir_link(&h->md, name, &err));
    // "done" was not committed; meanwhile the owner reads and flags it.
    assert_int_equal(renameat(h->md.new, name, h->md.cur, "seen:2,S"), 0);
    assert_true(write_pieces(&h->md, name, pieces, 1, &fd, &delivered, &err));
    assert_true(delivered);
    assert_int_equal(fd, -1);
    assert_file(h->md.cur, "seen:2,S", ON_DISK);
    // The owner removes it: the one case in which it comes again.
    assert_int_equal(unlinkat(h->md.cur, "seen:2,S", 0), 0);
    assert_true(write_pieces(&h->md, name, pieces, 1, &fd, &delivered, &err));
    assert_false(delivered);
    os_close(&fd);
}

static void what_was_not_linked_is_written_afresh(void **state)
{
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    struct stat old, fresh;
    struct err err;
    bool delivered;
    int fd, outside = openat(h->mail_dir, "outside", O_RDWR | O_CREAT, 0600);
    put_file(h->md.tmp, name, STR("half of a longer letter that will not be"));
    assert_int_equal(fstatat(h->md.tmp, name, &old, 0), 0);
    int keep = openat(h->md.tmp, name, O_RDONLY); // its inode is not used again
    assert_true(write_pieces(&h->md, name, pieces, 1, &fd, &delivered, &err));
    assert_false(delivered);
    assert_int_equal(fstat(fd, &fresh), 0);
    assert_int_not_equal(old.st_ino, fresh.st_ino);
    os_close(&fd);
    close(keep);
    assert_file(h->md.tmp, name, ON_DISK);
    // Nor is a symbolic link in its place followed.
    assert_int_equal(unlinkat(h->md.tmp, name, 0), 0);
    assert_int_equal(symlinkat("../../../outside", h->md.tmp, name), 0);
    assert_true(write_pieces(&h->md, name, pieces, 1, &fd, &delivered, &err));
    assert_false(delivered);
    os_close(&fd);
    assert_file(h->md.tmp, name, ON_DISK);
    assert_int_equal(lseek(outside, 0, SEEK_END), 0);
    close(outside);
    // A directory there is an error, and stays.
    assert_int_equal(unlinkat(h->md.tmp, name, 0) | mkdirat(h->md.tmp, name, 0700), 0);
    assert_false(write_pieces(&h->md, name, pieces, 1, &fd, &delivered, &err));
    assert_int_equal(fd, -1);
    assert_int_equal(err.class, ERR_TRY_LATER);
}

static void linking_what_is_not_there_is_an_error(void **state)
{
    struct house *h = house_of(state);
    struct err err = {.class = ERR_NONE};
    assert_false(maildir_link(&h->md, "nothing", &err));
    assert_int_equal(err.code, ENOENT);
    assert_true(maildir_forget(&h->md, "nothing", &err));
}

#ifdef POSTHOUSE_FAULT_SEAM

// Opens the mailbox anew and delivers, as the postman does.
static bool whole_delivery(struct house *h, const char *name, const struct str *pieces,
                           size_t count, struct err *err)
{
    struct maildir md;
    if (!maildir_open(h->mail_dir, STR("d/用户"), true, &md, err))
        return false;
    bool ok = deliver(&md, name, pieces, count, err);
    maildir_close(&md);
    return ok;
}

static void remove_mailbox(struct house *h)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/d", h->path);
    (void)remove_tree(path);
}

static void assert_one_letter(struct house *h, const char *name)
{
    struct maildir md;
    struct err err;
    assert_true(maildir_open(h->mail_dir, STR("d/用户"), false, &md, &err));
    assert_int_equal(count_files(md.new), 1);
    assert_int_equal(count_files(md.cur), 0);
    assert_int_equal(count_files(md.tmp), 0);
    assert_file(md.new, name, ON_DISK);
    maildir_close(&md);
}

static void any_call_may_fail(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    size_t before = open_descriptors();
    unsigned failures = 0;
    for (size_t e = 0; e < ARRAY_LEN(errors); e++)
        for (uint64_t n = 1;; n++) {
            struct err err = {.class = ERR_NONE};
            struct fault_rule *r = arm(0, FAULT_ANY, n, 1, errors[e]);
            bool ok = whole_delivery(h, name, pieces, 1, &err);
            bool acted = r->acted > 0;
            disarm();
            assert_int_equal(open_descriptors(), before);
            if (!ok) {
                failures++;
                assert_int_equal(err.class, ERR_TRY_LATER);
                assert_int_equal(err.code, errors[e]);
                assert_int_equal(err.status.subject, 3);
                assert_int_equal(err.status.detail, errors[e] == ENOSPC);
                assert_true(whole_delivery(h, name, pieces, 1, &err));
            }
            assert_one_letter(h, name);
            remove_mailbox(h);
            if (!acted)
                break;
        }
    assert_true(failures > 30); // each of some twenty calls, twice
}

static void a_kill_may_come_at_any_call(void **state)
{
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    unsigned kills = 0;
    for (uint64_t n = 1;; n++) {
        int status;
        struct err err;
        arm(0, FAULT_ANY, n, 1, 0)->kill = 1;
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(!whole_delivery(h, name, pieces, 1, &err));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        disarm();
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        assert_true(killed || status == 0);
        assert_true(whole_delivery(h, name, pieces, 1, &err));
        assert_one_letter(h, name);
        remove_mailbox(h);
        if (!killed)
            break;
        kills++;
    }
    assert_true(kills > 15);
}

static void short_writes_are_continued(void **state)
{
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    struct err err;
    arm(0, FAULT_write, 1, UINT64_MAX, 0)->limit = 1;
    assert_true(whole_delivery(h, name, pieces, 1, &err));
    disarm();
    assert_one_letter(h, name);
    remove_mailbox(h);
}

static void a_failed_write_leaves_nothing(void **state)
{
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    struct err err;
    bool delivered;
    int fd;
    arm(0, FAULT_write, 1, UINT64_MAX, ENOSPC);
    assert_false(write_pieces(&h->md, "x", pieces, 1, &fd, &delivered, &err));
    assert_int_equal(fd, -1);
    assert_false(delivered);
    assert_int_equal(err.status.detail, 1);
    assert_int_equal(count_files(h->md.tmp), 0);
    // And when nothing works at all, the error is still the first one.
    arm(0, FAULT_write, 1, UINT64_MAX, ENOSPC);
    page->rules[1] = page->rules[0];
    page->rules[1].call = FAULT_unlink;
    page->rules[1].error = EIO;
    assert_false(write_pieces(&h->md, "x", pieces, 1, &fd, &delivered, &err));
    assert_int_equal(err.code, ENOSPC);
    page->rules[1].armed = 0;
    disarm();
    assert_true(write_pieces(&h->md, "x", pieces, 1, &fd, &delivered, &err));
    os_close(&fd);
    assert_file(h->md.tmp, "x", ON_DISK);
}

// A source that gives one piece and then fails, as a body whose second slice has rotted.
struct rotten {
    struct maildir_source source;
    bool began;
};

static bool next_rotten(struct maildir_source *source, struct str *piece, struct err *err)
{
    struct rotten *r = CONTAINER_OF(source, struct rotten, source);
    *piece = LETTER;
    if (r->began)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "rotten");
    return r->began = true;
}

static void rotten_again(struct maildir_source *source)
{
    CONTAINER_OF(source, struct rotten, source)->began = false;
}

static void a_source_that_fails_leaves_no_file(void **state)
{
    struct house *h = house_of(state);
    struct rotten r = {.source = {.next = next_rotten, .again = rotten_again}};
    struct maildir_name name = {.id = some_id()};
    struct err err;
    bool delivered;
    int fd;
    assert_false(maildir_measure(&name, &r.source, &err));
    assert_int_equal(err.class, ERR_OUR_BUG);
    assert_false(maildir_write(&h->md, "x", &r.source, &fd, &delivered, &err));
    assert_int_equal(err.class, ERR_OUR_BUG);
    assert_int_equal(fd, -1);
    assert_int_equal(count_files(h->md.tmp), 0);
}

// ---- without hard links

static void without_links_a_letter_is_moved_in(void **state)
{
    static const int errors[] = {EPERM, EOPNOTSUPP, EMLINK, ENOSYS};
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    struct err err;
    char seen[300];
    snprintf(seen, sizeof(seen), "%s:2,FS", name);
    for (size_t e = 0; e < ARRAY_LEN(errors); e++) {
        arm(0, FAULT_link, 1, UINT64_MAX, errors[e]);
        assert_true(whole_delivery(h, name, pieces, 1, &err));
        assert_one_letter(h, name);
        // Again: found in new.
        assert_true(whole_delivery(h, name, pieces, 1, &err));
        assert_one_letter(h, name);
        // Again: found in cur, flags and all.
        struct maildir md;
        assert_true(maildir_open(h->mail_dir, STR("d/用户"), false, &md, &err));
        assert_int_equal(renameat(md.new, name, md.cur, seen), 0);
        assert_true(whole_delivery(h, name, pieces, 1, &err));
        assert_int_equal(count_files(md.new), 0);
        assert_int_equal(count_files(md.tmp), 0);
        assert_file(md.cur, seen, ON_DISK);
        // The name alone is no proof: the size must match too.
        put_file(md.cur, seen, STR("torn"));
        assert_true(whole_delivery(h, name, pieces, 1, &err));
        assert_file(md.new, name, ON_DISK);
        maildir_close(&md);
        remove_mailbox(h);
        disarm();
    }
}

static void without_links_any_call_may_fail(void **state)
{
    struct house *h = house_of(state);
    const struct str pieces[] = {LETTER};
    const char *name = name_of(h, pieces, 1);
    struct fault_rule no_link = *arm(0, FAULT_link, 1, UINT64_MAX, EPERM);
    size_t before = open_descriptors();
    for (uint64_t n = 1;; n++) {
        struct err err = {.class = ERR_NONE};
        page->rules[1] = no_link;
        struct fault_rule *r = arm(0, FAULT_ANY, n, 1, EIO);
        bool ok = whole_delivery(h, name, pieces, 1, &err);
        bool acted = r->acted > 0;
        disarm();
        assert_int_equal(open_descriptors(), before);
        if (!ok)
            assert_true(whole_delivery(h, name, pieces, 1, &err));
        assert_one_letter(h, name);
        remove_mailbox(h);
        if (!acted)
            break;
    }
    page->rules[1].armed = 0;
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_a_function_of_the_letter),
        CASE(letters_are_converted_and_measured),
        CASE(large_letters_keep_every_octet),
        CASE(opening_makes_what_is_missing),
        CASE(paths_that_lead_elsewhere_are_refused),
        CASE(no_link_is_followed),
        CASE(a_letter_is_delivered_once),
        CASE(the_link_count_is_the_witness),
        CASE(what_was_not_linked_is_written_afresh),
        CASE(linking_what_is_not_there_is_an_error),
#ifdef POSTHOUSE_FAULT_SEAM
        CASE(any_call_may_fail),
        CASE(a_kill_may_come_at_any_call),
        CASE(short_writes_are_continued),
        CASE(a_failed_write_leaves_nothing),
        CASE(a_source_that_fails_leaves_no_file),
        CASE(without_links_a_letter_is_moved_in),
        CASE(without_links_any_call_may_fail),
#endif
    };
#ifdef POSTHOUSE_FAULT_SEAM
    start_page("postman");
#endif
    return cmocka_run_group_tests_name("maildir", tests, NULL, NULL);
}
