// The pump. Reading goes to a scratch area on the stack, so a session that waits for its client
// holds no input buffer; `kept` exists only while the engine waits for an answer or for the rest of
// something that it takes in one piece.
#include "session/pump.h"

#include <errno.h>

#include "os/file.h"

enum { SCRATCH = 65536, READS_A_TURN = 4 };

static void set_timer(struct pump *p)
{
    loop_set_timer(p->loop, &p->timer, p->timeout_ms);
}

// While the engine waits for an answer a client mostly waits too: reading stays asked for until
// bytes do come meanwhile, which saves two system calls an answer.
static void ask_events(struct pump *p)
{
    unsigned events = p->stuck ? LOOP_WRITE : 0;
    if (p->paused ? p->watch.events & LOOP_READ : !p->finishing)
        events |= LOOP_READ;
    if (events != p->watch.events)
        loop_change(p->loop, &p->watch, events);
}

// Nothing may touch the pump after this.
static void end(struct pump *p, enum pump_end why)
{
    if (p->ended)
        return;
    p->ended = true;
    p->ops->ended(p, why);
}

// True while the pump lives.
static bool flush_now(struct pump *p)
{
    while (p->out->len) {
        ssize_t n = net_send(p->watch.fd, buf_str(p->out));
        if (n == -EAGAIN) {
            p->stuck = true;
            ask_events(p);
            return true;
        }
        if (n < 0) {
            end(p, PUMP_FAILED);
            return false;
        }
        buf_drop(p->out, (size_t)n);
        set_timer(p);
    }
    buf_release(p->out);
    p->stuck = false;
    if (p->finishing) {
        end(p, PUMP_DONE);
        return false;
    }
    ask_events(p);
    return true;
}

static void at_turn_end(struct turn_hook *hook)
{
    struct pump *p = CONTAINER_OF(hook, struct pump, flush);
    if (p->ended)
        return;
    bool had_output = p->out->len > 0;
    if (flush_now(p) && had_output && p->out->len == 0 && p->ops->drained)
        p->ops->drained(p);
}

void pump_flush(struct pump *p)
{
    if (!p->ended)
        loop_at_turn_end(p->loop, &p->flush);
}

void pump_give(struct pump *p, struct str bytes)
{
    p->inside = true;
    size_t taken = p->ops->input(p, bytes);
    p->inside = false;
    if (p->ended)
        return;
    must(taken <= bytes.len);
    if (taken < bytes.len)
        buf_put(&p->kept, str_skip(bytes, taken));
    must(buf_ok(&p->kept));
    if (p->out->len)
        pump_flush(p);
}

// Kept bytes go first, together with what just came.
static void give_kept(struct pump *p)
{
    struct buf kept = p->kept;
    buf_init(&p->kept, kept.limit);
    pump_give(p, buf_str(&kept));
    buf_finish(&kept);
}

static void read_some(struct pump *p)
{
    char scratch[SCRATCH];
    for (int i = 0; i < READS_A_TURN && !p->paused && !p->finishing && !p->ended; i++) {
        size_t room = p->kept.limit - p->kept.len;
        must(room > 0); // an engine that takes nothing of so much has paused
        size_t want = room < sizeof scratch ? room : sizeof scratch;
        ssize_t n = net_receive(p->watch.fd, scratch, want);
        if (n == -EAGAIN)
            return;
        if (n == 0 && p->out->len) { // it may still read what it was told last
            pump_finish_output(p);
            return;
        }
        if (n <= 0) {
            end(p, n == 0 ? PUMP_PEER_CLOSED : PUMP_FAILED);
            return;
        }
        set_timer(p);
        if (p->kept.len) {
            buf_put(&p->kept, str_from(scratch, (size_t)n));
            give_kept(p);
        } else {
            pump_give(p, str_from(scratch, (size_t)n));
        }
        if ((size_t)n < want)
            return;
    }
}

static void ready(struct watch *watch, unsigned events)
{
    struct pump *p = CONTAINER_OF(watch, struct pump, watch);
    if ((events & LOOP_WRITE) && p->out->len)
        pump_flush(p);
    if ((events & LOOP_READ) && p->paused)
        loop_change(p->loop, watch, watch->events & ~(unsigned)LOOP_READ);
    else if (events & LOOP_READ)
        read_some(p);
    else if (events & LOOP_HANGUP)
        end(p, PUMP_FAILED);
}

static void timed_out(struct timer *timer)
{
    struct pump *p = CONTAINER_OF(timer, struct pump, timer);
    if (p->ended)
        return;
    if (p->finishing) { // the peer does not even take our last words
        end(p, PUMP_FAILED);
        return;
    }
    p->ops->ended(p, PUMP_TIMED_OUT);
}

bool pump_start(struct pump *p, struct loop *loop, int fd, const struct pump_ops *ops,
                struct buf *out, size_t limit, uint64_t timeout_ms, struct err *err)
{
    *p = (struct pump){.ops = ops, .loop = loop, .out = out, .timeout_ms = timeout_ms};
    p->watch = (struct watch){.fd = fd, .ready = ready};
    p->timer.fire = timed_out;
    p->flush.run = at_turn_end;
    buf_init(&p->kept, limit);
    must(limit >= SCRATCH);
    if (!loop_add(loop, &p->watch, LOOP_READ, err)) {
        os_close(&p->watch.fd);
        return false;
    }
    set_timer(p);
    if (out->len)
        pump_flush(p);
    return true;
}

void pump_pause(struct pump *p)
{
    if (p->paused || p->ended)
        return;
    p->paused = true;
    ask_events(p);
}

void pump_resume(struct pump *p)
{
    if (!p->paused || p->ended)
        return;
    p->paused = false;
    if (!p->inside && !p->finishing) // without bytes too: the engine may have something to say
        give_kept(p);
    if (!p->ended)
        ask_events(p);
}

void pump_set_timeout(struct pump *p, uint64_t timeout_ms)
{
    p->timeout_ms = timeout_ms;
    set_timer(p);
}

void pump_finish_output(struct pump *p)
{
    p->finishing = true;
    buf_release(&p->kept);
    set_timer(p); // a peer that takes nothing must not keep us, also after a time-out
    pump_flush(p);
}

static void detach(struct pump *p)
{
    p->ended = true;
    loop_remove(p->loop, &p->watch);
    loop_cancel_timer(p->loop, &p->timer);
    loop_cancel_hook(&p->flush);
}

void pump_close(struct pump *p)
{
    if (p->watch.fd >= 0) { // else it was handed over
        detach(p);
        os_close(&p->watch.fd);
    }
    buf_finish(&p->kept);
}

int pump_hand_over(struct pump *p, struct str *rest)
{
    int fd = p->watch.fd;
    must(!p->inside); // what `input` was given is not in `rest`
    detach(p);
    p->watch.fd = -1;
    *rest = buf_str(&p->kept);
    return fd;
}
