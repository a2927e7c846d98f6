// A .chat script: what a client says and what the server must answer.
//
//     # comment                 why this conversation, with the RFC section
//     @name value               a setting of the engine; such scripts run in memory only
//     @only memory whole        the ways it may be run: memory, socket; whole, bytes, lines
//     C: text                   the client's line, CRLF is added
//     C~ text\r\n               the client's bytes: \r \n \t \\ \xNN; no CRLF is added
//     C* 3000 text              the same, so many times
//     S: 250 text               the next line from the server begins so. A bare code also stands
//                               for all lines of a reply of several
//     S* 3 250 text             the same, so many lines
//     S: ...                    what is left of such a reply, whatever it says
//     S<close>                  the server has closed
//     M: text                   the next line of the letter that was accepted last (in memory)
//     M<end>                    the letter has no more lines
//
// All C lines up to the next S are one group: they are sent in one write.
//
// Where the engine is a client, S and C change places, C lines are expected whole, and there are:
//
//     S<close>                  the server closes
//     S<silence>                the server says nothing for as long as the engine waits
//     R: text                   the next result begins so: a recipient's, or the session's
#ifndef CHAT_SCRIPT_H
#define CHAT_SCRIPT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum chat_kind {
    CHAT_SEND,
    CHAT_HANG_UP,
    CHAT_SILENCE,
    CHAT_EXPECT,
    CHAT_REST,
    CHAT_CLOSE,
    CHAT_LETTER,
    CHAT_LETTER_END,
    CHAT_RESULT,
};

struct chat_step {
    enum chat_kind kind;
    unsigned line;  // in the file, from 1
    uint64_t count; // of CHAT_EXPECT: so many lines
    struct str text;
};

struct chat_setting {
    unsigned line;
    struct str name, value;
};

enum chat_way {
    CHAT_MEMORY = 1,
    CHAT_SOCKET = 2,
    CHAT_WHOLE = 4,  // a group in one write
    CHAT_BYTES = 8,  // byte by byte
    CHAT_LINES = 16, // cut at every CRLF
    CHAT_ANY_WAY = 31,
};

struct chat_script {
    struct chat_step *steps;
    size_t step_count;
    struct chat_setting *settings;
    size_t setting_count;
    unsigned ways;
};

// client: whose side the engine has. On an error err.code is the line.
MUST_USE bool chat_read(struct str text, bool client, struct arena *arena,
                        struct chat_script *script, struct err *err);
// Adds bytes that are written with \r \n \t \\ \xNN. False for any other escape.
MUST_USE bool chat_unescape(struct buf *out, struct str text);

#endif
