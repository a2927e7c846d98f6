// Delivery is safe against a crash at any point because of three facts:
//
// 1. tmp/NAME is complete and synced before new/NAME exists; the link makes the letter appear
// whole.
// 2. NAME is a function of letter and recipient, so a repeated delivery meets what the first left.
// 3. The link count of tmp/NAME is the witness of the link: the owner may move, flag or delete the
//    letter in new, tmp/NAME still tells (until the owner's delete takes the count back to 1: that
//    letter may come once more). tmp/NAME goes only after "done" is committed elsewhere.
//
// A failed sync leaves pages that look clean and are not on the disk, so a repetition never goes on
// with an old tmp/NAME: it makes a fresh file.
//
// In a Maildir the directory `cur` is made last: where it exists, all others exist durably.
#include "store/maildir.h"

#include <errno.h>
#include <fcntl.h>

#include "base/base32.h"
#include "base/digest.h"
#include "base/limits.h"
#include "os/fault.h"
#include "os/file.h"

enum {
    NAME_OCTETS = 255, // of one part of a path, on every file system that we know
    PATH_OCTETS = 1024,
    WRITE_BUFFER = 32768,
    READ_BUFFER = 32768,
    UIDL_MAX = 70,  // RFC 1939 section 7
    SEARCHES = 3,   // a letter can move while we look for it; one that moves thrice is left
    FIRST_ROOM = 64 // letters
};

static const struct maildir closed = {-1, -1, -1, -1};

// ---- names

void maildir_name_put(struct buf *out, const struct maildir_name *name)
{
    buf_putf(out, "%llu.", (unsigned long long)(mail_id_ms(&name->id) / 1000));
    mail_id_put(out, &name->id);
    buf_putf(out, ".posthouse,S=%llu,W=%llu%s", (unsigned long long)name->size,
             (unsigned long long)name->wire_size, name->no_final_newline ? ",N" : "");
}

static struct str unique_part(struct str file)
{
    struct str before_colon = str_sub(file, 0, str_index(file, ':'));
    return str_sub(before_colon, 0, str_index(before_colon, ','));
}

static struct str unique_of(const struct maildir_letter *letter)
{
    return str_from(letter->file, letter->unique);
}

// The fields behind the unique part, ",S=1,W=2,N". Other programs' sizes are believed: Dovecot's
// mean the same as ours.
struct fields {
    uint64_t size, wire_size;
    bool has_size, has_wire_size, no_final_newline;
};

static struct fields fields_of(struct str file)
{
    struct str rest = str_skip(str_sub(file, 0, str_index(file, ':')), unique_part(file).len);
    struct str field;
    struct fields f = {.size = 0};
    while (str_cut(&rest, ',', &field)) {
        if (str_starts(field, STR("S=")))
            f.has_size = str_to_u64(str_skip(field, 2), &f.size);
        else if (str_starts(field, STR("W=")))
            f.has_wire_size = str_to_u64(str_skip(field, 2), &f.wire_size);
        else if (str_eq(field, STR("N")))
            f.no_final_newline = true;
    }
    return f;
}

// Where both sizes are there. No other program says that a last line end is missing: of such a
// letter RETR gives two octets more.
static uint64_t size_in_name(struct str file)
{
    struct fields f = fields_of(file);
    if (!f.has_size || !f.has_wire_size || f.size > f.wire_size || f.wire_size > INT64_MAX)
        return MAILDIR_SIZE_UNKNOWN;
    return f.wire_size + (f.no_final_newline ? 2 : 0);
}

static uint64_t number_in_front(struct str file)
{
    uint64_t number = 0;
    size_t digits = 0;
    while (digits < file.len && file.ptr[digits] >= '0' && file.ptr[digits] <= '9')
        digits++;
    return str_to_u64(str_sub(file, 0, digits), &number) ? number : 0;
}

bool maildir_uidl(const struct maildir_letter *letter, struct arena *arena, struct str *uidl)
{
    struct str unique = unique_of(letter);
    bool fits = unique.len > 0 && unique.len <= UIDL_MAX;
    for (size_t i = 0; fits && i < unique.len; i++)
        fits = unique.ptr[i] >= 0x21 && unique.ptr[i] <= 0x7e;
    if (fits) {
        *uidl = unique;
        return true;
    }
    unsigned char digest[DIGEST_SHA256_SIZE];
    struct buf text;
    buf_init(&text, UIDL_MAX);
    digest_sha256(unique, digest);
    base32_put(&text, str_from(digest, sizeof(digest)));
    bool ok = arena_copy(arena, buf_str(&text), uidl);
    buf_finish(&text);
    return ok;
}

// ---- opening

static bool is_part(struct str part)
{
    return part.len > 0 && part.len <= NAME_OCTETS && str_index(part, '\0') == part.len &&
           !str_eq(part, STR(".")) && !str_eq(part, STR(".."));
}

// Beyond what users are called, this is the wall between their mailboxes.
static bool is_path(struct str path)
{
    if (path.len == 0 || path.len > PATH_OCTETS || path.ptr[path.len - 1] == '/')
        return false;
    struct str rest = path, part;
    while (str_cut(&rest, '/', &part))
        if (!is_part(part))
            return false;
    return true;
}

static int open_part(int dir, const char *name)
{
    return os_open(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int make_part(int dir, const char *name)
{
    int rc = os_mkdir(dir, name, 0700);
    if (rc < 0 && rc != -EEXIST)
        return rc;
    // One that exists may be of a life that ended before this sync.
    return fault_bites(BITE_mailbox_directory) ? 0 : os_fsync(dir);
}

// The directory at the end of the path: a descriptor, or -errno.
static int open_top(int mail_dir, struct str path, bool make)
{
    char name[NAME_OCTETS + 1];
    struct str part;
    int at = mail_dir;
    int rc = 0;
    while (rc >= 0 && str_cut(&path, '/', &part)) {
        memcpy(name, part.ptr, part.len);
        name[part.len] = '\0';
        if (make)
            rc = make_part(at, name);
        if (rc >= 0)
            rc = open_part(at, name);
        if (at != mail_dir)
            os_close(&at);
        at = rc;
    }
    return rc;
}

static int open_folder(int top, const char *name, bool make, int *fd)
{
    int rc = make ? make_part(top, name) : 0;
    if (rc >= 0)
        rc = open_part(top, name);
    *fd = rc;
    return rc;
}

static int open_all(int mail_dir, struct str path, bool make, struct maildir *md)
{
    *md = closed;
    int rc = md->top = open_top(mail_dir, path, make);
    if (rc >= 0)
        rc = open_folder(md->top, "tmp", make, &md->tmp);
    if (rc >= 0)
        rc = open_folder(md->top, "new", make, &md->new);
    if (rc >= 0)
        rc = open_folder(md->top, "cur", make, &md->cur); // last: see above
    if (rc < 0)
        maildir_close(md);
    return rc < 0 ? rc : 0;
}

bool maildir_open(int mail_dir, struct str path, bool make, struct maildir *md, struct err *err)
{
    *md = closed;
    if (!is_path(path))
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 5), "not the path of a mailbox: %.*s",
                       STR_ARG(path));
    int rc = open_all(mail_dir, path, false, md);
    if (rc == -ENOENT && make)
        rc = open_all(mail_dir, path, true, md);
    return rc == 0 || err_system(err, rc, "mailbox %.*s", STR_ARG(path));
}

void maildir_close(struct maildir *md)
{
    os_close(&md->cur);
    os_close(&md->new);
    os_close(&md->tmp);
    os_close(&md->top);
}

// ---- writing

// The octet `back` places before piece[at]; `tail` holds the last two of the pieces before.
static char octet_before(struct str piece, size_t at, size_t back, const char tail[2])
{
    return at >= back ? piece.ptr[at - back] : tail[2 + at - back];
}

// On disk CRLF is LF. On its way out every LF is CRLF again, but for one that follows a CR on disk
// (CR CR LF came in): there the reader adds none.
static void measure_piece(struct maildir_name *name, struct str piece, char tail[2])
{
    size_t at = 0;
    name->size += piece.len;
    name->wire_size += piece.len;
    while ((at += str_index(str_skip(piece, at), '\n')) < piece.len) {
        bool pair = octet_before(piece, at, 1, tail) == '\r';
        bool stays = pair && octet_before(piece, at, 2, tail) == '\r';
        name->size -= pair;
        name->wire_size += !pair;
        name->wire_size -= stays;
        at++;
    }
    char last = piece.ptr[piece.len - 1];
    tail[0] = octet_before(piece, piece.len, 2, tail);
    tail[1] = last;
}

bool maildir_measure(struct maildir_name *name, struct maildir_source *source, struct err *err)
{
    char tail[2] = {'\n', '\n'};
    struct str piece;
    bool ok;
    name->size = name->wire_size = 0;
    source->again(source);
    while ((ok = source->next(source, &piece, err)) && piece.len)
        measure_piece(name, piece, tail);
    name->no_final_newline = tail[1] != '\n';
    return ok;
}

// Empty pieces would be an end.
static bool next_in_memory(struct maildir_source *source, struct str *piece, struct err *err)
{
    struct maildir_pieces *p = CONTAINER_OF(source, struct maildir_pieces, source);
    (void)err;
    *piece = STR("");
    while (p->at < p->count && piece->len == 0)
        *piece = p->pieces[p->at++];
    return true;
}

static void again_in_memory(struct maildir_source *source)
{
    CONTAINER_OF(source, struct maildir_pieces, source)->at = 0;
}

void maildir_pieces_init(struct maildir_pieces *p, const struct str *pieces, size_t count)
{
    *p = (struct maildir_pieces){.source = {.next = next_in_memory, .again = again_in_memory},
                                 .pieces = pieces,
                                 .count = count};
}

// Turns CRLF into LF on the way to a file. A CR at the end of a piece waits for the next piece.
struct converter {
    int fd;
    int error;
    bool cr;
    size_t len;
    char bytes[WRITE_BUFFER];
};

static void flush(struct converter *c)
{
    if (c->error == 0)
        c->error = os_write_all(c->fd, str_from(c->bytes, c->len));
    c->len = 0;
}

static void put(struct converter *c, struct str s)
{
    while (s.len) {
        size_t room = sizeof(c->bytes) - c->len;
        size_t n = s.len < room ? s.len : room;
        memcpy(c->bytes + c->len, s.ptr, n);
        c->len += n;
        s = str_skip(s, n);
        if (c->len == sizeof(c->bytes))
            flush(c);
    }
}

static void convert(struct converter *c, struct str piece)
{
    while (piece.len) {
        if (c->cr && piece.ptr[0] != '\n')
            put(c, STR("\r"));
        size_t text = str_index(piece, '\r');
        put(c, str_sub(piece, 0, text));
        c->cr = text < piece.len;
        piece = str_skip(piece, text + c->cr);
    }
}

static bool write_all(int fd, struct maildir_source *source, const char *name, struct err *err)
{
    struct converter c; // not zeroed: the buffer is large
    struct str piece;
    bool ok;
    c.fd = fd;
    c.error = 0;
    c.cr = false;
    c.len = 0;
    source->again(source);
    while ((ok = source->next(source, &piece, err)) && piece.len && c.error == 0)
        convert(&c, piece);
    if (!ok)
        return false;
    if (c.cr)
        put(&c, STR("\r"));
    flush(&c);
    return c.error == 0 || err_system(err, c.error, "writing tmp/%s", name);
}

// A fresh tmp/NAME: a descriptor, or -errno. *delivered: what stands there has been linked.
static int create(const struct maildir *md, const char *name, bool *delivered)
{
    enum { FLAGS = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW };
    struct stat st;
    int fd = os_open(md->tmp, name, FLAGS, 0600);
    if (fd != -EEXIST)
        return fd;
    int rc = os_stat(md->tmp, name, &st);
    if (rc < 0)
        return rc;
    *delivered = S_ISREG(st.st_mode) && st.st_nlink >= 2 && !fault_bites(BITE_witness);
    if (*delivered)
        return -EEXIST;
    rc = os_unlink(md->tmp, name);
    return rc < 0 ? rc : os_open(md->tmp, name, FLAGS, 0600);
}

bool maildir_write(const struct maildir *md, const char *name, struct maildir_source *source,
                   int *fd, bool *delivered, struct err *err)
{
    *delivered = false;
    *fd = create(md, name, delivered);
    if (*delivered) {
        *fd = -1;
        return true;
    }
    bool ok =
        *fd < 0 ? err_system(err, *fd, "making tmp/%s", name) : write_all(*fd, source, name, err);
    if (!ok && *fd >= 0) { // gives the space back; where that fails too, the repetition meets it
        int rc = os_unlink(md->tmp, name);
        (void)rc;
    }
    if (!ok) {
        os_close(fd);
        *fd = -1;
    }
    return ok;
}

// ---- delivery without hard links

struct search {
    struct str unique; // wanted
    char name[NAME_OCTETS + 1];
    bool found;
};

static bool search_name(void *context, const char *name)
{
    struct search *s = context;
    struct str file = str_of(name);
    if (file.len > NAME_OCTETS || !str_eq(unique_part(file), s->unique))
        return true;
    memcpy(s->name, name, file.len + 1);
    s->found = true;
    return false;
}

// Looks through a folder for a letter, whatever its flags: 1 = found (s->name), 0, or -errno.
static int search(int folder, struct search *s)
{
    s->found = false;
    int rc = os_list(folder, search_name, s);
    return rc < 0 ? rc : s->found;
}

// Is a letter of this name and size in the folder? 1, 0 or -errno.
static int is_delivered(int folder, struct search *s, off_t size)
{
    struct stat st;
    int rc = search(folder, s);
    if (rc > 0)
        rc = os_stat(folder, s->name, &st);
    if (rc == -ENOENT)
        return 0; // it moves: the next look will find it
    return rc < 0 ? rc : s->found && S_ISREG(st.st_mode) && st.st_size == size;
}

static int move_in(const struct maildir *md, const char *name)
{
    const int folders[] = {md->new, md->cur, md->new};
    struct search s = {.unique = unique_part(str_of(name))};
    struct stat st;
    int rc = os_stat(md->tmp, name, &st);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        rc = is_delivered(folders[i], &s, st.st_size);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
    int moved = os_rename(md->tmp, name, md->new, name);
    return moved < 0 ? moved : os_fsync(md->tmp); // a file of two names is damage there
}

bool maildir_link(const struct maildir *md, const char *name, struct err *err)
{
    int rc = os_link(md->tmp, name, md->new, name);
    if (rc == -EEXIST)
        rc = 0;
    if (rc == -EPERM || rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EMLINK)
        rc = move_in(md, name);
    return rc == 0 || err_system(err, rc, "linking new/%s", name);
}

bool maildir_forget(const struct maildir *md, const char *name, struct err *err)
{
    int rc = os_unlink(md->tmp, name);
    return rc == 0 || rc == -ENOENT || err_system(err, rc, "removing tmp/%s", name);
}

// ---- what was left in tmp

// A name as maildir_name_put makes it; 0.1.0 set "_NUMBER" of the recipient behind the id.
static bool is_our_name(struct str file)
{
    struct str rest = unique_part(file), seconds, number, id;
    struct mail_id read;
    uint64_t value;
    return str_cut(&rest, '.', &seconds) && str_to_u64(seconds, &value) &&
           str_cut(&rest, '.', &number) && str_eq(rest, STR("posthouse")) &&
           str_cut(&number, '_', &id) && mail_id_read(id, &read) &&
           value == mail_id_ms(&read) / 1000 && (number.len == 0 || str_to_u64(number, &value)) &&
           size_in_name(file) != MAILDIR_SIZE_UNKNOWN;
}

struct sweep {
    const struct maildir *md;
    const struct maildir_witnesses *witnesses;
    uint64_t before_s;
    size_t seen, removed;
    int rc;
};

static bool sweep_name(void *context, const char *name)
{
    struct sweep *s = context;
    struct stat st;
    if (++s->seen > LIMIT_witness_names)
        return false;
    if (!is_our_name(str_of(name)) || s->witnesses->needed(s->witnesses, str_of(name)))
        return true;
    s->rc = os_stat(s->md->tmp, name, &st);
    if (s->rc == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_ctime < s->before_s) {
        s->rc = os_unlink(s->md->tmp, name);
        s->removed += s->rc == 0;
    }
    if (s->rc == -ENOENT) // somebody else was faster
        s->rc = 0;
    return s->rc == 0;
}

bool maildir_sweep(const struct maildir *md, uint64_t before_s,
                   const struct maildir_witnesses *witnesses, size_t *removed, struct err *err)
{
    struct sweep s = {.md = md, .witnesses = witnesses, .before_s = before_s};
    int rc = os_list(md->tmp, sweep_name, &s);
    if (rc == 0)
        rc = s.rc;
    *removed = s.removed;
    return rc == 0 || err_system(err, rc, "looking through tmp");
}

// ---- reading

// A letter's file, wherever it is: a descriptor, or -errno. A fifo or device does not hold us up.
static int64_t open_file(int folder, const char *name)
{
    struct stat st;
    int fd = os_open(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    int rc = os_fstat(fd, &st);
    if (rc == 0 && !S_ISREG(st.st_mode))
        rc = -ELOOP; // as a symbolic link says: no letter
    if (rc < 0)
        os_close(&fd);
    return rc < 0 ? rc : fd;
}

static int64_t remove_file(int folder, const char *name)
{
    return os_unlink(folder, name);
}

static int64_t size_of_file(int folder, const char *name)
{
    struct stat st;
    int rc = os_stat(folder, name, &st);
    return rc < 0 ? rc : S_ISREG(st.st_mode) ? st.st_size : 0;
}

// Does `act` to the letter where it was found, and while it is not there, where it is now. What it
// returned, or -errno.
static int64_t act_on_letter(const struct maildir *md, const struct maildir_letter *letter,
                             int64_t (*act)(int folder, const char *name))
{
    const int folders[] = {md->cur, md->new};
    struct search s = {.unique = unique_of(letter)};
    int64_t rc = act(letter->in_cur ? md->cur : md->new, letter->file);
    for (size_t i = 0; rc == -ENOENT && i < SEARCHES * ARRAY_LEN(folders); i++) {
        int folder = folders[i % ARRAY_LEN(folders)];
        rc = search(folder, &s);
        if (rc >= 0)
            rc = s.found ? act(folder, s.name) : -ENOENT;
    }
    return rc;
}

bool maildir_open_letter(const struct maildir *md, const struct maildir_letter *letter, int *fd,
                         struct err *err)
{
    int rc = (int)act_on_letter(md, letter, open_file);
    *fd = rc < 0 ? -1 : rc;
    return rc >= 0 || err_system(err, rc, "opening letter %.*s", STR_ARG(unique_of(letter)));
}

bool maildir_remove_letter(const struct maildir *md, const struct maildir_letter *letter,
                           struct err *err)
{
    int rc = (int)act_on_letter(md, letter, remove_file);
    return rc == 0 || rc == -ENOENT ||
           err_system(err, rc, "removing letter %.*s", STR_ARG(unique_of(letter)));
}

bool maildir_stored_size(const struct maildir *md, const struct maildir_letter *letter,
                         uint64_t *octets, struct err *err)
{
    struct fields f = fields_of(str_from(letter->file, letter->length));
    int64_t size;
    if (f.has_size && f.size <= INT64_MAX)
        size = (int64_t)f.size;
    else
        size = act_on_letter(md, letter, size_of_file);
    *octets = size < 0 ? 0 : (uint64_t)size;
    return size >= 0 || size == -ENOENT ||
           err_system(err, (int)size, "looking at letter %.*s", STR_ARG(unique_of(letter)));
}

// ---- listing

struct listing {
    struct arena *arena;
    struct maildir_letter *letters; // malloc
    size_t count;
    size_t room;
    bool in_cur;
    bool full; // the arena
};

static bool list_name(void *context, const char *name)
{
    struct listing *l = context;
    struct str file = str_of(name);
    if (name[0] == '.' || file.len > NAME_OCTETS)
        return true;
    if (!arena_copy(l->arena, file, &file)) {
        l->full = true;
        return false;
    }
    struct maildir_letter letter = {.file = file.ptr,
                                    .number = number_in_front(file),
                                    .wire_size = size_in_name(file),
                                    .length = (uint16_t)file.len,
                                    .unique = (uint16_t)unique_part(file).len,
                                    .in_cur = l->in_cur};
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : FIRST_ROOM;
        l->letters = realloc(l->letters, l->room * sizeof(*l->letters));
        must(l->letters != NULL);
    }
    l->letters[l->count++] = letter;
    return true;
}

// By number, then by name; of the same unique part the one in cur comes last.
static int compare_letters(const void *a, const void *b)
{
    const struct maildir_letter *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    int order = str_cmp(unique_of(x), unique_of(y));
    if (order == 0)
        order = x->in_cur - y->in_cur;
    return order ? order : str_cmp(str_of(x->file), str_of(y->file));
}

// A letter that moved from new to cur, or changed its flags, while we listed is there twice.
static void drop_repeated(struct listing *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++)
        if (i + 1 == l->count || !str_eq(unique_of(&l->letters[i]), unique_of(&l->letters[i + 1])))
            l->letters[kept++] = l->letters[i];
    l->count = kept;
}

static int list_all(const struct maildir *md, struct listing *l)
{
    // In this order: a letter moves from new to cur, and would be missed the other way round.
    int rc = os_list_files(md->new, list_name, l);
    l->in_cur = true;
    if (rc == 0)
        rc = os_list_files(md->cur, list_name, l);
    if (l->full)
        rc = -ENOMEM;
    if (rc < 0 || l->count == 0)
        return rc;
    qsort(l->letters, l->count, sizeof(*l->letters), compare_letters);
    drop_repeated(l);
    return 0;
}

bool maildir_list(const struct maildir *md, struct arena *arena, struct maildir_letter **letters,
                  size_t *count, struct err *err)
{
    struct listing l = {.arena = arena};
    int rc = list_all(md, &l);
    *letters = NULL;
    *count = 0;
    if (rc == 0 && l.count) {
        *letters = arena_alloc_array(arena, l.count, sizeof(*l.letters));
        if (*letters) {
            memcpy(*letters, l.letters, l.count * sizeof(*l.letters));
            *count = l.count;
        } else {
            rc = -ENOMEM;
        }
    }
    free(l.letters);
    return rc == 0 || err_system(err, rc, "listing a mailbox");
}

static int compare_to_name(const void *key, const void *item)
{
    const struct str *name = key;
    const struct maildir_letter *letter = item;
    uint64_t number = number_in_front(*name);
    if (number != letter->number)
        return number < letter->number ? -1 : 1;
    return str_cmp(unique_part(*name), unique_of(letter));
}

bool maildir_listed(const struct maildir_letter *letters, size_t count, struct str name)
{
    return count && bsearch(&name, letters, count, sizeof(*letters), compare_to_name) != NULL;
}

// ---- sizes that no name tells

static ssize_t count_octets(int fd, uint64_t *wire_size)
{
    char bytes[READ_BUFFER];
    char last = '\n';
    ssize_t n;
    *wire_size = 0;
    while ((n = os_read(fd, bytes, sizeof(bytes))) > 0) {
        struct str piece = str_from(bytes, (size_t)n);
        *wire_size += piece.len;
        size_t at = 0;
        while ((at += str_index(str_skip(piece, at), '\n')) < piece.len) {
            *wire_size += (at ? bytes[at - 1] : last) != '\r';
            at++;
        }
        last = bytes[n - 1];
    }
    *wire_size += last != '\n' ? 2 : 0;
    return n;
}

bool maildir_learn_size(const struct maildir *md, struct maildir_letter *letter, struct err *err)
{
    uint64_t wire_size;
    int fd;
    if (!maildir_open_letter(md, letter, &fd, err))
        return false;
    ssize_t rc = count_octets(fd, &wire_size);
    os_close(&fd);
    if (rc < 0)
        return err_system(err, (int)rc, "reading letter %.*s", STR_ARG(unique_of(letter)));
    letter->wire_size = wire_size;
    return true;
}
