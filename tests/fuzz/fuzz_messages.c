// Whatever is read as a message is written again as the same octets; whatever is cut waits; a
// stream is read in the same messages however it comes.
#include "base/limits.h"
#include "ipc/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size);
    struct msg m;
    int got = 0;
    while (in.len > 0) {
        struct str before = in;
        got = msg_read(&in, &m);
        if (got != 1)
            break;
        size_t len = before.len - in.len;
        must(len > 0 && len <= LIMIT_message && m.type < MSG_COUNT);
        must(ipc_type_name(m.type) != NULL);
        int *fd = msg_fd(&m);
        must(!fd || *fd == -1);
        struct buf out;
        buf_init(&out, LIMIT_message);
        msg_put(&out, &m);
        must(str_eq(buf_str(&out), str_sub(before, 0, len)));
        buf_finish(&out);
        struct str cut = str_sub(before, 0, len - 1);
        must(msg_read(&cut, &m) == 0 && cut.len == len - 1);
    }
    must(got == 1 || in.len > 0 || size == 0);
    return 0;
}
