#include "session/doors.h"

#include <errno.h>

#include "base/base32.h"
#include "os/file.h"
#include "os/log.h"
#include "os/random.h"

enum {
    ACCEPTS_A_TURN = 64,
    ACCEPT_AGAIN_MS = 100, // when descriptors or memory ran out
    TELL_AGAIN_MS = 60000, // that they did
};

struct door {
    struct link link;
    struct doors *doors;
    struct watch watch;
    struct timer again;
};

static bool out_of_something(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM;
}

static void wait_outside(struct door *door, int rc)
{
    struct doors *doors = door->doors;
    uint64_t now = loop_now(doors->loop);
    if (doors->told_ms == 0 || now - doors->told_ms >= TELL_AGAIN_MS) {
        log_line(LOG_WARNING, "clients wait outside: %s", strerror(-rc));
        doors->told_ms = now;
    }
    loop_change(doors->loop, &door->watch, 0);
    loop_set_timer(doors->loop, &door->again, ACCEPT_AGAIN_MS);
}

static void ready(struct watch *watch, unsigned events)
{
    struct door *door = CONTAINER_OF(watch, struct door, watch);
    struct doors *doors = door->doors;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct net_address peer;
        int fd = net_accept(watch->fd, &peer);
        if (fd == -EAGAIN)
            return;
        if (out_of_something(fd)) {
            wait_outside(door, fd);
            return;
        }
        if (fd >= 0) // else that one client is gone again
            doors->welcome(doors, fd, &peer);
    }
}

static void again(struct timer *timer)
{
    struct door *door = CONTAINER_OF(timer, struct door, again);
    loop_change(door->doors->loop, &door->watch, LOOP_READ);
}

void doors_init(struct doors *doors, struct loop *loop,
                void (*welcome)(struct doors *doors, int fd, const struct net_address *peer))
{
    *doors = (struct doors){.loop = loop, .welcome = welcome};
    list_init(&doors->list);
}

bool doors_open(struct doors *doors, int fd, struct err *err)
{
    struct door *door = calloc(1, sizeof *door);
    must(door != NULL);
    door->doors = doors;
    door->watch = (struct watch){.fd = fd, .ready = ready};
    door->again.fire = again;
    if (!loop_add(doors->loop, &door->watch, LOOP_READ, err)) {
        os_close(&door->watch.fd);
        free(door);
        return false;
    }
    list_append(&doors->list, &door->link);
    return true;
}

void doors_close(struct doors *doors)
{
    for (struct link *at; (at = list_pop(&doors->list)) != NULL;) {
        struct door *door = CONTAINER_OF(at, struct door, link);
        loop_cancel_timer(doors->loop, &door->again);
        loop_remove(doors->loop, &door->watch);
        os_close(&door->watch.fd);
        free(door);
    }
}

void session_id(char id[SESSION_ID_TEXT + 1])
{
    unsigned char random[(SESSION_ID_TEXT * 5 + 7) / 8];
    struct buf text;
    os_random(random, sizeof random);
    buf_init(&text, 32);
    base32_put(&text, str_from(random, sizeof random));
    memcpy(id, text.ptr + text.len - SESSION_ID_TEXT, SESSION_ID_TEXT);
    id[SESSION_ID_TEXT] = '\0';
    buf_finish(&text);
}
