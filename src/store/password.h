// Password hashes by libxcrypt: made with yescrypt, checked whatever method made them. The one
// includer of crypt.h; used by the role login and by the command.
// (docs/decisions/0004-passwords.md)
#ifndef STORE_PASSWORD_H
#define STORE_PASSWORD_H

#include "base/buf.h"
#include "base/err.h"

// A new hash ("$y$..."), with a salt of its own, appended. About 30 ms and 16 MiB. Refused: the
// empty password, one above LIMIT_password, one with a NUL (ERR_GIVE_UP).
MUST_USE bool password_hash(struct str password, struct buf *hash, struct err *err);

// Takes the time of one hashing, also where the password could not be a password. A hash that
// libxcrypt does not know matches nothing.
bool password_matches(struct str password, struct str hash);

// A password for people to type: 80 random bits, "xxxx-xxxx-xxxx-xxxx".
void password_make(struct buf *out);

#endif
