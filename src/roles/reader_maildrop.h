// A maildrop: the letters of one Maildir as they were when login announced the user, under an
// exclusive lock (RFC 1939 section 4) for as long as the maildrop is open. It waits for its client
// with a ticket that is good once and for a short time.
#ifndef ROLES_READER_MAILDROP_H
#define ROLES_READER_MAILDROP_H

#include "base/map.h"
#include "ipc/verdicts.h"
#include "os/loop.h"
#include "proto/pop3_server.h"
#include "store/maildir.h"

struct maildrop {
    struct maildrops *set;
    struct arena arena; // all of what follows; LIMIT_maildrop
    struct str mailbox;
    struct str user;
    struct str ticket;
    struct maildir dir; // descriptors -1 where there is no Maildir yet
    struct maildir_letter *files;
    struct pop3_letter *letters; // in the same order
    size_t count;
    struct timer expiry;
};

// All that are open.
struct maildrops {
    struct loop *loop;
    int mail_dir;
    uint64_t max;
    struct map by_mailbox;
    struct map by_ticket; // those that wait for their client
    uint64_t key[2];
};

void maildrops_init(struct maildrops *set, struct loop *loop, int mail_dir, uint64_t max);
// For the answer to `admit`: LOGIN_OK, and the maildrop waits; LOGIN_IN_USE; or LOGIN_TROUBLE,
// which was logged.
enum login_verdict maildrops_admit(struct maildrops *set, struct str ticket, struct str mailbox,
                                   struct str user);
// The maildrop of that ticket, which is good no more, or NULL.
struct maildrop *maildrops_adopt(struct maildrops *set, struct str ticket);
// Sets the size of a letter, where the name did not tell it, by reading the file. It stands for the
// session; renaming the file would confuse the programs that know it by its name. On an error it is
// 0: RETR will say what is wrong.
MUST_USE bool maildrop_learn_size(struct maildrop *drop, size_t letter, struct err *err);
// Closes those that wait for their client.
void maildrops_forget_waiting(struct maildrops *set);
// Unlocks. Sets *drop to NULL; takes NULL.
void maildrop_close(struct maildrop **drop);

#endif
