// Password hashes, and the secrets of APOP where that is switched on, apart from the directory so
// that only the role login reads them. (state/login.db, mode 0600.) Keyed by the folded address
// (address_put_folded). Who is a user is the directory's to say: a hash left here without a user
// there opens nothing.
#ifndef STORE_LOGIN_DB_H
#define STORE_LOGIN_DB_H

#include "base/buf.h"
#include "mail/address.h"
#include "store/database.h"

struct login_db;

MUST_USE bool login_db_open(struct login_db **db, struct str state_dir, enum database_use use,
                            struct err *err);
void login_db_close(struct login_db **db);

// Durable when it returns; replaces the hash that was there.
MUST_USE bool login_db_set(struct login_db *db, const struct address *address, struct str hash,
                           struct err *err);
// The hash and the secret of APOP, both or neither. None there is no error.
MUST_USE bool login_db_remove(struct login_db *db, const struct address *address, struct err *err);
// Appends the hash, if there is one; *found says so.
MUST_USE bool login_db_find(struct login_db *db, const struct address *address, bool *found,
                            struct buf *hash, struct err *err);
// The secret of APOP, which is kept readable: likewise.
MUST_USE bool login_db_set_apop(struct login_db *db, const struct address *address,
                                struct str secret, struct err *err);
MUST_USE bool login_db_find_apop(struct login_db *db, const struct address *address, bool *found,
                                 struct buf *secret, struct err *err);

#endif
