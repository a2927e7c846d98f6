// Writes JSON into a buf: the events of the log, one object a line, on the way of every letter.
// (Reading JSON and large documents is jansson's, in ctl.) Bytes that are not UTF-8 become U+FFFD.
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

struct json {
    struct buf *out;
    bool comma; // the next item wants a comma before it
};

void json_begin(struct json *j, struct buf *out);
void json_open_object(struct json *j);
void json_close_object(struct json *j);
void json_open_array(struct json *j);
void json_close_array(struct json *j);
// The name of the next value inside an object.
void json_name(struct json *j, const char *name);
void json_put_string(struct json *j, struct str s);
void json_put_int(struct json *j, int64_t v);
void json_put_bool(struct json *j, bool v);
void json_put_null(struct json *j);

#endif
