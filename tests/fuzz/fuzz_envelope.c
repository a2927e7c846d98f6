// An envelope that is read can be written, and reads again as the same octets or fewer (the
// writer drops quotes that nobody needs), but for the length of a text that version 1 did not have;
// once written by us it never changes any more.
#include "mail/envelope.h"

#include "base/limits.h"

enum { VERSION_2_MORE = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct envelope e, again;
    struct err err = {.class = ERR_NONE};
    struct buf first, second;
    arena_init(&arena, 4 << 20);
    buf_init(&first, LIMIT_envelope);
    buf_init(&second, LIMIT_envelope);
    if (envelope_read(str_from(data, size), &arena, &e, &err)) {
        must(e.recipient_count > 0);
        envelope_put(&first, &e);
        must(buf_ok(&first) && first.len <= size + VERSION_2_MORE);
        must(envelope_read(buf_str(&first), &arena, &again, &err));
        must(mail_id_equal(&e.id, &again.id) && e.recipient_count == again.recipient_count);
        must(address_equal(&e.reverse_path, &again.reverse_path));
        for (uint32_t i = 0; i < e.recipient_count; i++)
            must(address_equal(&e.recipients[i], &again.recipients[i]));
        envelope_put(&second, &again);
        must(str_eq(buf_str(&first), buf_str(&second)));
    } else {
        must(err.class == ERR_PEER_WRONG || err.class == ERR_TRY_LATER);
    }
    buf_finish(&first);
    buf_finish(&second);
    arena_finish(&arena);
    return 0;
}
