// A letter is measured as what its conversion gives, wherever it is cut; a unique-id can always be
// said over POP3. The first octet chooses the cuts, the rest is the letter and the unique part.
#include "store/maildir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PIECES_MAX = 64, UIDL_MAX = 70 };

// The two directions as the standards say them, octet by octet.
static void convert_plainly(struct str wire, struct buf *disk)
{
    for (size_t i = 0; i < wire.len; i++)
        if (wire.ptr[i] != '\r' || i + 1 == wire.len || wire.ptr[i + 1] != '\n')
            buf_put_byte(disk, wire.ptr[i]);
}

static uint64_t count_plainly(struct str disk)
{
    uint64_t wire_size = 0;
    for (size_t i = 0; i < disk.len; i++)
        wire_size += disk.ptr[i] == '\n' && (i == 0 || disk.ptr[i - 1] != '\r') ? 2 : 1;
    return wire_size;
}

static size_t cut(struct str text, size_t step, struct str pieces[PIECES_MAX])
{
    size_t count = 0;
    while (text.len && count < PIECES_MAX - 1) {
        pieces[count++] = str_sub(text, 0, step);
        text = str_skip(text, step);
    }
    pieces[count++] = text;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str text = str_from(data + 1, size - 1), pieces[PIECES_MAX];
    struct maildir_name name = {.size = 0};
    struct maildir_pieces letter_text;
    struct arena session;
    struct buf disk;
    struct str uidl;
    struct err err;
    buf_init(&disk, size);
    arena_init(&session, 4096);

    size_t count = cut(text, (size_t)data[0] % 31 + 1, pieces);
    maildir_pieces_init(&letter_text, pieces, count);
    must(maildir_measure(&name, &letter_text.source, &err));
    convert_plainly(text, &disk);
    must(buf_ok(&disk) && name.size == disk.len);
    must(name.wire_size == count_plainly(buf_str(&disk)));
    must(name.no_final_newline == (disk.len && !str_ends(buf_str(&disk), STR("\n"))));

    uint16_t length = (uint16_t)(text.len < 255 ? text.len : 255);
    const struct maildir_letter found = {.file = text.ptr, .length = length, .unique = length};
    must(maildir_uidl(&found, &session, &uidl));
    must(uidl.len >= 1 && uidl.len <= UIDL_MAX);
    for (size_t i = 0; i < uidl.len; i++)
        must(uidl.ptr[i] >= 0x21 && uidl.ptr[i] <= 0x7e);

    buf_finish(&disk);
    arena_finish(&session);
    return 0;
}
