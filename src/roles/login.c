// The role login: checks a password for the porter, and tells the reader whom to expect.
//
//     porter --check--> login --admit--> reader --admitted--> login --checked--> porter
//
// A login holds one of a fixed number of places, with its password in it, from `check` to
// `checked`. Hashing takes 30 ms, so it is done by worker threads. Each has a desk: its own handles
// of the databases, opened before the jail. A login waits in line for a free desk, works there, and
// comes back to the loop.
//
// What a stranger can learn from the answer: an unknown user costs the same hashing as a wrong
// password (a hash of our own stands in), and both are answered at the same time after the question
// came: the porter is told when (login_failures.h), so that who fails holds no place here
// meanwhile. The password is wiped as soon as it was checked.
#include "roles/role.h"

#include "base/base32.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/wipe.h"
#include "ipc/verdicts.h"
#include "os/process.h"
#include "os/random.h"
#include "roles/login_failures.h"
#include "store/directory_db.h"
#include "store/login_db.h"
#include "store/password.h"

enum {
    DESKS_MAX = 8, // 16 MiB each while hashing
    LOGIN_MEMORY = 8192,
    HASH_MAX = 512,
};

struct login {
    struct link link;           // free, or in line for a desk; in neither while it is under way
    struct ipc_channel *porter; // NULL: it is gone, nobody waits for the answer
    struct login_role *owner;
    uint32_t slot;
    char secret[LIMIT_password]; // a password, or the digest of APOP
    size_t secret_len;           // 0 where it is longer than any password: that one never matches
    struct arena memory;         // all texts below
    struct str user;             // as the client wrote it
    struct str name;             // as it is compared
    struct str challenge;        // of APOP; empty: a password is checked
    struct str peer;
    struct directory_user found;
    struct buf ticket;
    uint8_t verdict;
    const char *why; // for the log, where the verdict is LOGIN_WRONG
    struct err err;  // where it is LOGIN_TROUBLE
};

struct desk {
    struct os_job job;
    struct link link; // free
    struct directory_db *directory;
    struct login_db *passwords;
    struct str dummy; // the hash that an unknown user's password is checked against
    bool apop;        // it is switched on
    struct login *login;
};

struct login_role {
    struct role *role;
    struct os_workers *workers;
    struct desk desks[DESKS_MAX];
    unsigned desk_count;
    struct link free_desks;
    struct login logins[LIMIT_logins];
    struct link free_logins;
    struct link line; // logins that wait for a desk
    unsigned busy;    // logins that are not free
    bool draining;
    struct login_failures failures;
    struct buf dummy;
    struct buf mailbox;
};

// ---- in a worker thread: touches the desk and its login only

static bool keep_name(struct login *login, const struct address *address)
{
    struct buf folded;
    buf_init(&folded, 2 * LIMIT_address); // quoting doubles at most
    address_put_folded(&folded, address);
    bool ok = buf_ok(&folded) && arena_copy(&login->memory, buf_str(&folded), &login->name);
    buf_finish(&folded);
    return ok;
}

// Who is meant, and what that one's secret is checked with: the hash of a password, or the secret
// of APOP. None: *why says why not.
static bool find_secret(struct desk *desk, struct login *login, struct buf *stored, bool *found,
                        struct err *err)
{
    struct address address;
    struct err wrong;
    *found = false;
    login->why = "no such user";
    if (!address_read(login->user, &login->memory, &address, &wrong))
        return wrong.class != ERR_TRY_LATER || (*err = wrong, false);
    if (!keep_name(login, &address))
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "the name is too long");
    if (!directory_db_find(desk->directory, &address, &login->memory, found, &login->found, err))
        return false;
    if (!*found)
        return true;
    if (login->challenge.len == 0) {
        login->why = "no password is set";
        return login_db_find(desk->passwords, &address, found, stored, err);
    }
    login->why = "no APOP secret is set";
    *found = desk->apop;
    return !desk->apop || login_db_find_apop(desk->passwords, &address, found, stored, err);
}

// RFC 1939 section 7: the digest of the time stamp followed by the shared secret.
static bool digest_matches(const struct login *login, struct str shared)
{
    unsigned char digest[DIGEST_MD5_SIZE];
    struct buf both, hex;
    buf_init(&both, LOGIN_MEMORY + LIMIT_password);
    buf_init(&hex, 2 * DIGEST_MD5_SIZE);
    must(buf_reserve(&both, login->challenge.len + shared.len) != NULL); // never grown: one to wipe
    buf_put(&both, login->challenge);
    buf_put(&both, shared);
    digest_md5(buf_str(&both), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        buf_putf(&hex, "%02x", digest[i]);
    bool same = digest_equal(str_from(login->secret, login->secret_len), buf_str(&hex));
    wipe(both.ptr, both.len);
    buf_finish(&both);
    buf_finish(&hex);
    return same;
}

static void check_secret(struct os_job *job)
{
    struct desk *desk = CONTAINER_OF(job, struct desk, job);
    struct login *login = desk->login;
    struct buf stored;
    bool found;
    buf_init(&stored, HASH_MAX);
    login->verdict = LOGIN_TROUBLE;
    if (find_secret(desk, login, &stored, &found, &login->err)) {
        struct str with = found ? buf_str(&stored) : desk->dummy;
        bool same = login->challenge.len > 0
                        ? digest_matches(login, with)
                        : password_matches(str_from(login->secret, login->secret_len), with);
        if (found && !same)
            login->why = "wrong password";
        login->verdict = found && same ? LOGIN_OK : LOGIN_WRONG;
    }
    wipe(login->secret, sizeof(login->secret));
    wipe(stored.ptr, stored.len);
    buf_finish(&stored);
}

// ---- the end of a login

static void give_back(struct login *login)
{
    struct login_role *r = login->owner;
    wipe(login->secret, sizeof(login->secret));
    buf_finish(&login->ticket);
    arena_finish(&login->memory);
    list_append(&r->free_logins, &login->link);
    r->busy--;
    if (r->draining && r->busy == 0)
        role_drained(r->role);
}

static void answer(struct login *login, uint8_t verdict, uint64_t delay_ms)
{
    if (login->porter) {
        struct msg reply = {.type = MSG_checked, .slot = login->slot};
        reply.checked.verdict = verdict;
        reply.checked.delay_ms = (uint32_t)delay_ms;
        if (verdict == LOGIN_OK) {
            reply.checked.ticket = buf_str(&login->ticket);
            reply.checked.user = login->found.address;
        }
        ipc_send(login->porter, &reply);
    }
    give_back(login);
}

static void tell(const struct login *login, enum log_event_name name, const char *why)
{
    struct str user = name == EVENT_login ? login->found.address : login->user;
    log_event(
        &(struct log_event){.name = name, .user = user, .peer = login->peer, .text = str_of(why)});
}

static void trouble(struct login *login, const char *why)
{
    log_line(LOG_ERROR, "login of %.*s: %s", STR_ARG(login->user), why);
    tell(login, EVENT_login_failed, why);
    answer(login, LOGIN_TROUBLE, 0);
}

static void refuse(struct login *login)
{
    struct login_role *r = login->owner;
    uint64_t now_ms = loop_now(r->role->loop);
    tell(login, EVENT_login_failed, login->why);
    answer(login, LOGIN_WRONG, login_failures_add(&r->failures, login->peer, login->name, now_ms));
}

// ---- the reader

static void put_ticket(struct buf *out)
{
    unsigned char bits[16];
    os_random(bits, sizeof(bits));
    base32_put(out, str_from(bits, sizeof(bits)));
    wipe(bits, sizeof(bits));
}

static void admit(struct login *login)
{
    struct login_role *r = login->owner;
    struct ipc_channel *reader = role_peer(r->role, IPC_READER);
    buf_clear(&r->mailbox);
    conf_put_mailbox(&r->mailbox, r->role->conf, login->found.domain_name, login->found.user_name);
    put_ticket(&login->ticket);
    must(buf_ok(&r->mailbox) && buf_ok(&login->ticket));

    struct msg m = {.type = MSG_admit};
    m.admit.ticket = buf_str(&login->ticket);
    m.admit.mailbox = buf_str(&r->mailbox);
    m.admit.user = login->found.address;
    if (!reader || !ipc_request(reader, &m, login))
        trouble(login, "the reader is away");
}

static void on_admitted(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct login *login = owner;
    (void)channel;
    if (m->admitted.verdict == LOGIN_OK) {
        tell(login, EVENT_login, NULL);
        login_failures_forget(&login->owner->failures, login->name);
        answer(login, LOGIN_OK, 0);
    } else if (m->admitted.verdict == LOGIN_IN_USE) {
        tell(login, EVENT_login_failed, "the mailbox is open in another session");
        answer(login, LOGIN_IN_USE, 0);
    } else {
        trouble(login, "the reader cannot open the mailbox");
    }
}

static void lost(struct ipc_channel *channel, enum ipc_type request, void *owner)
{
    (void)channel;
    (void)request;
    trouble(owner, "the reader is gone");
}

// ---- the line in front of the desks

static void serve_line(struct login_role *r)
{
    while (!list_empty(&r->free_desks) && !list_empty(&r->line)) {
        struct desk *desk = CONTAINER_OF(list_pop(&r->free_desks), struct desk, link);
        desk->login = CONTAINER_OF(list_pop(&r->line), struct login, link);
        os_workers_submit(r->workers, &desk->job);
    }
}

static void checked(struct os_job *job)
{
    struct desk *desk = CONTAINER_OF(job, struct desk, job);
    struct login *login = desk->login;
    struct login_role *r = login->owner;
    desk->login = NULL;
    list_append(&r->free_desks, &desk->link);
    serve_line(r);
    if (login->verdict == LOGIN_TROUBLE) {
        if (login->err.class != ERR_TRY_LATER)
            role_fail(&login->err);
        trouble(login, login->err.text);
    } else if (login->verdict == LOGIN_WRONG) {
        refuse(login);
    } else if (login->porter) {
        admit(login);
    } else {
        give_back(login);
    }
}

static struct login *take_place(struct login_role *r)
{
    if (list_empty(&r->free_logins))
        return NULL;
    struct login *login = CONTAINER_OF(list_pop(&r->free_logins), struct login, link);
    *login = (struct login){.owner = r};
    arena_init(&login->memory, LOGIN_MEMORY);
    buf_init(&login->ticket, LIMIT_address);
    r->busy++;
    return login;
}

static void on_check(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct login_role *r = role->state;
    struct str secret = m->check.secret;
    struct login *login = take_place(r);
    (void)owner;
    if (!login || !arena_copy(&login->memory, m->check.user, &login->user) ||
        !arena_copy(&login->memory, m->check.challenge, &login->challenge) ||
        !arena_copy(&login->memory, m->check.peer, &login->peer)) {
        struct msg reply = {.type = MSG_checked, .slot = m->slot};
        reply.checked.verdict = LOGIN_TROUBLE;
        ipc_send(channel, &reply);
        if (login)
            give_back(login);
        return;
    }
    login->porter = channel;
    login->slot = m->slot;
    login->name = login->user; // until it is read as an address
    if (secret.len && secret.len <= sizeof(login->secret)) {
        memcpy(login->secret, secret.ptr, secret.len);
        login->secret_len = secret.len;
    }
    list_append(&r->line, &login->link);
    serve_line(r);
}

// A porter that is gone waits for no answer. (Its successor's slots are other questions.)
static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    struct login_role *r = role->state;
    (void)why;
    for (size_t i = 0; i < ARRAY_LEN(r->logins); i++) {
        if (r->logins[i].porter == channel)
            r->logins[i].porter = NULL;
    }
}

// ---- the role

static bool open_desk(struct login_role *r, struct desk *desk, struct err *err)
{
    struct str state_dir = r->role->conf->state_dir;
    desk->job = (struct os_job){.work = check_secret, .done = checked};
    desk->dummy = buf_str(&r->dummy);
    desk->apop = r->role->conf->apop;
    list_append(&r->free_desks, &desk->link);
    return directory_db_open(&desk->directory, state_dir, DATABASE_READ, err) &&
           login_db_open(&desk->passwords, state_dir, DATABASE_READ, err);
}

static bool prepare(struct role *role, struct err *err)
{
    struct login_role *r = calloc(1, sizeof(*r));
    struct buf nobody;
    must(r);
    role->state = r;
    r->role = role;
    list_init(&r->free_desks);
    list_init(&r->free_logins);
    list_init(&r->line);
    login_failures_init(&r->failures);
    buf_init(&r->mailbox, LIMIT_message / 2);
    for (size_t i = 0; i < ARRAY_LEN(r->logins); i++)
        list_append(&r->free_logins, &r->logins[i].link);

    buf_init(&r->dummy, HASH_MAX);
    buf_init(&nobody, LIMIT_password);
    password_make(&nobody);
    bool ok = password_hash(buf_str(&nobody), &r->dummy, err);
    buf_finish(&nobody);

    unsigned cpus = os_cpu_count();
    r->desk_count = cpus < DESKS_MAX ? cpus : DESKS_MAX;
    for (unsigned i = 0; ok && i < r->desk_count; i++)
        ok = open_desk(r, &r->desks[i], err);
    return ok;
}

static bool begin(struct role *role, struct err *err)
{
    struct login_role *r = role->state;
    return os_workers_open(&r->workers, role->loop, "login", r->desk_count, err);
}

static void drain(struct role *role, uint64_t milliseconds)
{
    struct login_role *r = role->state;
    (void)milliseconds;
    r->draining = true;
    if (r->busy == 0)
        role_drained(role);
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_check] = on_check, [MSG_admitted] = on_admitted},
    .closed = closed,
    .lost = lost,
};

static const struct role_ops ops = {
    .role = IPC_LOGIN,
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
