// What the .chat runner asks of an engine. To add one: fill in a struct chat_engine in a file of
// your own (engine_NAME.c), declare it below, and add it to the list in runner.c and to
// meson.build. Scripts name their engine by the folder they stand in: tests/chat/NAME/.
#ifndef CHAT_ENGINE_H
#define CHAT_ENGINE_H

#include "base/buf.h"

struct chat_engine {
    const char *name;
    bool client; // ours is the client's side: S lines are fed, C lines expected
    void *(*open)(void);
    // A directive "@name value" of the script, before start. False: unknown, or the value is wrong.
    bool (*set)(void *engine, struct str name, struct str value);
    // The connection is there: a server's greeting goes to the output.
    void (*start)(void *engine);
    // Bytes from the peer, all of them taken; questions of the engine are answered at once, by what
    // stands in the engine's file. Ignored once closed.
    void (*feed)(void *engine, struct str bytes);
    // What the engine said; the runner drops what it has read.
    struct buf *(*output)(void *engine);
    bool (*closed)(void *engine);
    // The last letter that was accepted whole. NULL when the engine takes no letters.
    struct str (*letter)(void *engine);
    // The peer has closed; it has said nothing for as long as the engine waits. What came of the
    // engine's letters: lines with LF, which the runner drops when it has read them. All three are
    // NULL where the engine is no client.
    void (*hang_up)(void *engine);
    void (*fall_silent)(void *engine);
    struct buf *(*results)(void *engine);
    void (*close)(void *engine);
};

extern const struct chat_engine chat_smtp;
extern const struct chat_engine chat_lmtp;
extern const struct chat_engine chat_pop3;
extern const struct chat_engine chat_client;

#endif
