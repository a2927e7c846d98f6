// A connection on its way through a role: socket, output, timeout. One engine sits behind it. The
// pump knows no protocol: bytes in by a callback, bytes out from a buf. (TLS will stand between
// socket and callback.) An idle pump holds no buffers: input is read into one scratch area of the
// loop's turn, and only what the engine did not take is kept.
#ifndef SESSION_PUMP_H
#define SESSION_PUMP_H

#include "os/loop.h"
#include "os/net.h"

enum pump_end {
    PUMP_PEER_CLOSED, // the peer ended its side
    PUMP_TIMED_OUT,   // nothing came or went for the time allowed; last words may still be written:
                      // pump_finish_output, and `ended` comes again
    PUMP_FAILED,      // the connection broke
    PUMP_DONE,        // everything was written after pump_finish_output
};

struct pump;

struct pump_ops {
    // Bytes came: how many were taken. What was not taken is kept and given again, with what came
    // since, after pump_resume; meanwhile nothing more is read. Must not call pump_close.
    size_t (*input)(struct pump *pump, struct str bytes);
    // All output has been taken by the system: room for more (streams). May be NULL.
    void (*drained)(struct pump *pump);
    // The connection is over: the owner calls pump_close and may free what the pump stands in. The
    // pump does not touch itself after this call.
    void (*ended)(struct pump *pump, enum pump_end end);
};

struct pump {
    const struct pump_ops *ops;
    struct loop *loop;
    struct watch watch;
    struct timer timer;
    struct turn_hook flush;
    struct buf *out; // the engine's output; the pump drops what it sent
    struct buf kept; // input not taken yet
    uint64_t timeout_ms;
    bool paused, finishing, ended, inside;
    bool stuck; // the peer takes no more output now
};

// Takes over fd, also when it fails. `out` belongs to the engine. limit: of kept input, 64 KiB and
// more.
MUST_USE bool pump_start(struct pump *pump, struct loop *loop, int fd, const struct pump_ops *ops,
                         struct buf *out, size_t limit, uint64_t timeout_ms, struct err *err);
// Bytes that came before the pump did (handed over by another role): as if they had just been read.
void pump_give(struct pump *pump, struct str bytes);
// Output was written to *out: it leaves at the end of the turn, in one piece.
void pump_flush(struct pump *pump);
// Stops reading and calling `input` (the engine waits for an answer); resume goes on.
void pump_pause(struct pump *pump);
void pump_resume(struct pump *pump);
void pump_set_timeout(struct pump *pump, uint64_t timeout_ms);
// No more input; closes (PUMP_DONE) when all output is written.
void pump_finish_output(struct pump *pump);
// Closes at once, without a call of `ended`.
void pump_close(struct pump *pump);
// Gives the socket away (it is not closed) with the input that was not taken: the caller owns the
// descriptor; *rest is valid until pump_close. Not from `input`.
int pump_hand_over(struct pump *pump, struct str *rest);

#endif
