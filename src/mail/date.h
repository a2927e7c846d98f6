// Dates of RFC 5322 section 3.3: "Sat, 21 Nov 2026 23:06:49 +0000".
#ifndef MAIL_DATE_H
#define MAIL_DATE_H

#include "base/buf.h"

// wall_ms: since 1970 UTC. zone: minutes east of UTC, shown as +hhmm.
void date_put(struct buf *out, uint64_t wall_ms, int zone_minutes);
// "2026-11-21T23:06:49.123Z", for events and tables.
void date_put_iso(struct buf *out, uint64_t wall_ms);

#endif
