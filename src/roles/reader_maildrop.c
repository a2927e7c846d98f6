#include "roles/reader_maildrop.h"

#include <errno.h>

#include "base/digest.h"
#include "base/limits.h"
#include "os/file.h"
#include "os/log.h"
#include "os/random.h"

enum { TICKET_MS = 30000 };

static bool mailbox_matches(const void *item, const void *key)
{
    return str_eq(((const struct maildrop *)item)->mailbox, *(const struct str *)key);
}

// In constant time: a porter that guesses learns nothing from how long a no takes.
static bool ticket_matches(const void *item, const void *key)
{
    return digest_equal(((const struct maildrop *)item)->ticket, *(const struct str *)key);
}

void maildrops_init(struct maildrops *set, struct loop *loop, int mail_dir, uint64_t max)
{
    *set = (struct maildrops){.loop = loop, .mail_dir = mail_dir, .max = max};
    map_init(&set->by_mailbox, mailbox_matches);
    map_init(&set->by_ticket, ticket_matches);
    os_random(set->key, sizeof set->key);
}

static uint64_t hash(const struct maildrops *set, struct str key)
{
    return str_hash(key, set->key);
}

// ---- opening

// A user who never got a letter has no Maildir: an empty maildrop, and nothing to lock but the
// name.
static bool open_and_lock(struct maildrop *drop, bool *in_use, struct err *err)
{
    struct err why = {.class = ERR_NONE};
    if (!maildir_open(drop->set->mail_dir, drop->mailbox, false, &drop->dir, &why)) {
        return why.code == ENOENT || (*err = why, false);
    }
    // Another reader may still serve sessions of before a reload.
    int rc = os_flock(drop->dir.new);
    *in_use = rc == -EWOULDBLOCK;
    if (rc < 0 && !*in_use)
        return err_system(err, rc, "locking %.*s", STR_ARG(drop->mailbox));
    return true;
}

static bool out_of_memory(const struct maildrop *drop, struct err *err)
{
    return err_set(err, ERR_GIVE_UP, STATUS(4, 3, 0), "%.*s has more letters than fit into memory",
                   STR_ARG(drop->mailbox));
}

// Sizes, where the names tell them, and unique-ids.
static bool number_letters(struct maildrop *drop, struct err *err)
{
    bool ok = true;
    drop->letters = arena_alloc_array(&drop->arena, drop->count, sizeof *drop->letters);
    if (!drop->letters)
        return out_of_memory(drop, err);
    for (size_t i = 0; ok && i < drop->count; i++) {
        const struct maildir_letter *file = &drop->files[i];
        struct str uidl = STR("");
        ok = maildir_uidl(file, &drop->arena, &uidl);
        drop->letters[i] = (struct pop3_letter){
            .size = file->wire_size, .uidl = uidl.ptr, .uidl_length = (uint8_t)uidl.len};
    }
    return ok || out_of_memory(drop, err);
}

static bool load(struct maildrop *drop, struct err *err)
{
    if (drop->dir.top < 0)
        return true;
    return maildir_list(&drop->dir, &drop->arena, &drop->files, &drop->count, err) &&
           (drop->count == 0 || number_letters(drop, err));
}

static void on_expired(struct timer *timer)
{
    struct maildrop *drop = CONTAINER_OF(timer, struct maildrop, expiry);
    maildrop_close(&drop);
}

enum login_verdict maildrops_admit(struct maildrops *set, struct str ticket, struct str mailbox,
                                   struct str user)
{
    if (map_find(&set->by_mailbox, hash(set, mailbox), &mailbox))
        return LOGIN_IN_USE;
    if (set->by_mailbox.count >= set->max) {
        log_line(LOG_WARNING, "max_sessions are open: %.*s has to wait", STR_ARG(user));
        return LOGIN_TROUBLE;
    }
    if (ticket.len == 0 || map_find(&set->by_ticket, hash(set, ticket), &ticket)) {
        log_line(LOG_ERROR, "a ticket that is empty or not new, for %.*s", STR_ARG(user));
        return LOGIN_TROUBLE;
    }
    struct maildrop *drop = calloc(1, sizeof *drop);
    struct err err = {.class = ERR_NONE};
    bool in_use = false;
    must(drop != NULL);
    drop->set = set;
    drop->dir = (struct maildir){-1, -1, -1, -1};
    drop->expiry.fire = on_expired;
    arena_init(&drop->arena, LIMIT_maildrop);
    bool ok = arena_copy(&drop->arena, mailbox, &drop->mailbox) &&
              arena_copy(&drop->arena, user, &drop->user) &&
              arena_copy(&drop->arena, ticket, &drop->ticket);
    must(ok); // they fit into one message
    map_put(&set->by_mailbox, hash(set, drop->mailbox), drop);
    map_put(&set->by_ticket, hash(set, drop->ticket), drop);
    loop_set_timer(set->loop, &drop->expiry, TICKET_MS);
    ok = open_and_lock(drop, &in_use, &err) && !in_use && load(drop, &err);
    if (ok)
        return LOGIN_OK;
    if (!in_use)
        log_line(LOG_ERROR, "the maildrop of %.*s: %s", STR_ARG(drop->user), err.text);
    maildrop_close(&drop);
    return in_use ? LOGIN_IN_USE : LOGIN_TROUBLE;
}

// ---- the client

_Static_assert(MAILDIR_SIZE_UNKNOWN == POP3_SIZE_UNKNOWN, "number_letters hands it on");

bool maildrop_learn_size(struct maildrop *drop, size_t letter, struct err *err)
{
    struct maildir_letter *file = &drop->files[letter];
    bool ok = drop->letters[letter].size != POP3_SIZE_UNKNOWN ||
              maildir_learn_size(&drop->dir, file, err);
    drop->letters[letter].size = ok ? file->wire_size : 0;
    return ok;
}

struct maildrop *maildrops_adopt(struct maildrops *set, struct str ticket)
{
    struct maildrop *drop = map_remove(&set->by_ticket, hash(set, ticket), &ticket);
    if (drop)
        loop_cancel_timer(set->loop, &drop->expiry);
    return drop;
}

void maildrops_forget_waiting(struct maildrops *set)
{
    struct maildrop *drop;
    for (size_t at = 0; (drop = map_next(&set->by_ticket, &at)) != NULL;)
        maildrop_close(&drop);
}

void maildrop_close(struct maildrop **drop)
{
    struct maildrop *d = *drop;
    *drop = NULL;
    if (!d)
        return;
    struct maildrops *set = d->set;
    loop_cancel_timer(set->loop, &d->expiry);
    (void)map_remove(&set->by_ticket, hash(set, d->ticket), &d->ticket);
    (void)map_remove(&set->by_mailbox, hash(set, d->mailbox), &d->mailbox);
    maildir_close(&d->dir);
    arena_finish(&d->arena);
    free(d);
}
