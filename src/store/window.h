// A window: the letters of one batch on their way from the queue to the postman, in sealed
// anonymous memory. The postman sees these letters and nothing else of the spool. Layout: the
// bodies, then the manifest, which says for each delivery where its body stands and where it goes.
// Deliveries of one letter share its body.
//
// A large body is not copied: its window is the file that it is (store/large.h), open for reading
// only, and the manifest travels beside it.
#ifndef STORE_WINDOW_H
#define STORE_WINDOW_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "mail/id.h"

struct window_item {
    struct mail_id id;
    uint32_t recipient; // its number in the envelope
    uint32_t scan_flags;
    uint32_t crc; // of the body; of a large one's table
    uint64_t offset, size;
    struct str mailbox; // below mail_dir
    struct str header;  // what final delivery puts on top: Return-Path, Delivered-To
};

// Writing: the caller appends each body to `bodies` (its offset is the length before), then its
// item; at last all is sealed.
struct window {
    int fd;
    uint64_t size;     // of all, once it is sealed
    struct buf bodies; // gathered, and written in one piece
    struct buf manifest;
    uint32_t count;
};
MUST_USE bool window_open(struct window *w, struct err *err);
// Onto the file of a large body of that size: fd is taken over. The caller puts items, and hands on
// w->manifest.
void window_open_file(struct window *w, int fd, uint64_t size);
void window_put_item(struct window *w, const struct window_item *item);
// Appends the manifest and seals. *manifest is its offset.
MUST_USE bool window_seal(struct window *w, uint64_t *manifest, struct err *err);
void window_close(struct window *w);

// Reading: maps the window; the items are views into the mapping, which lives until window_unmap.
// Checks seals, bounds and the CRC of each body (intact[i] is false when body i is damaged).
struct window_view {
    void *memory;
    size_t size;
    struct window_item *items;
    bool *intact;
    size_t count;
};
MUST_USE bool window_map(int fd, uint64_t size, uint64_t manifest, struct arena *arena,
                         struct window_view *view, struct err *err);
// The items of a large body's window; the view maps nothing. All must be of the one body.
MUST_USE bool window_read_items(struct str items, uint64_t size, struct arena *arena,
                                struct window_view *view, struct err *err);
// The parser alone, for tests and the fuzzer.
MUST_USE bool window_parse(struct str bytes, uint64_t manifest, struct arena *arena,
                           struct window_view *view, struct err *err);
void window_unmap(struct window_view *view);
struct str window_body(const struct window_view *view, const struct window_item *item);

#endif
