// What went wrong, told by the place that knows. The class is the decision (retry, bounce, reply
// 5yz, die), so it travels with the text and with the enhanced status code of RFC 3463.
//
//     MUST_USE bool f(..., struct err *err);
//
// returns true and leaves *err untouched, or returns false and fills *err.
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#include "base/str.h"

enum err_class {
    ERR_NONE,
    ERR_TRY_LATER,  // local or passing trouble: 4yz, defer. Local trouble is never 5yz.
    ERR_GIVE_UP,    // will not change by itself: 5yz, bounce
    ERR_PEER_WRONG, // the other end broke a rule: answer it, or close
    ERR_OUR_BUG,    // a condition of our own does not hold
};

// RFC 3463: class.subject.detail; 0.0.0 means none given.
struct status {
    uint8_t class;
    uint16_t subject;
    uint16_t detail;
};

#define STATUS(c, s, d) ((struct status){(c), (s), (d)})

enum { ERR_TEXT_MAX = 400 };

struct err {
    enum err_class class;
    struct status status;
    int code;                // errno of a system call, 0 otherwise
    char text[ERR_TEXT_MAX]; // NUL-terminated, one line, safe to log
};

// Fill err; always false, so that a caller can write: return err_set(err, ...);
bool err_set(struct err *err, enum err_class class, struct status status, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
// For a failed os_ call: `code` is its negative errno. Text: what (path): reason. The class is
// ERR_TRY_LATER; the status 4.3.1 when space or inodes ran out, 4.3.0 otherwise.
bool err_system(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

struct str err_text(const struct err *err);

#endif
