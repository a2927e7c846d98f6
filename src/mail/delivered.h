// The tokens of Delivered-To fields (mail/received.h) in the header of a letter that comes in: when
// one of ours is among them, the letter was delivered here before.
#ifndef MAIL_DELIVERED_H
#define MAIL_DELIVERED_H

#include "base/buf.h"

struct delivered {
    struct buf tokens; // DELIVERED_TOKEN octets each, at most LIMIT_delivered_fields of them
    // private: state between pieces
    size_t at;     // octets of the line so far
    bool matching; // it is a Delivered-To so far
    bool over;     // the header is
    char tail[19]; // the last octets of the line
};

void delivered_begin(struct delivered *d);
// Pieces of the message in order, any cut; what comes behind the header is not looked at.
void delivered_feed(struct delivered *d, struct str piece);
void delivered_finish(struct delivered *d);

#endif
