// Counts what a mailbox holds, while letters go on coming in. One thread does that, mailbox by
// mailbox: a large one must not hold up deliveries.
//
// The answer is what the mailbox holds when it is given. What the listing saw, it saw some time
// before; each letter that was delivered meanwhile and that it did not see is added. So no letter
// is in the answer twice, and none is in it that the directory hears of behind it.
#ifndef ROLES_POSTMAN_COUNT_H
#define ROLES_POSTMAN_COUNT_H

#include "base/list.h"
#include "ipc/ipc.h"
#include "os/process.h"

struct counter {
    struct loop *loop;
    int mail_dir;
    struct os_workers *workers; // NULL: nothing was to be counted yet
    struct link counts;         // under way
};

void counter_init(struct counter *c, struct loop *loop, int mail_dir);
// Answers a `count` with `counted`.
void counter_begin(struct counter *c, struct ipc_channel *directory, const struct msg *m);
// A letter is durable in a mailbox: by its mailbox, the name of its file, and octets on disk.
void counter_came(struct counter *c, struct str mailbox, struct str name, uint64_t octets);
// Nobody waits for what this channel asked.
void counter_forget(struct counter *c, struct ipc_channel *directory);

#endif
