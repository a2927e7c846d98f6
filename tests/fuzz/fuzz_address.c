// What the doors for addresses take comes back the same from its written form, folds to a form
// that folds to itself, and makes a safe file name.
#include "mail/address.h"

#include "base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_file_name(struct str part)
{
    struct buf name;
    buf_init(&name, 255);
    address_put_file_name(&name, part);
    must(buf_ok(&name) && name.len > 0 && name.ptr[0] != '.');
    must(str_is_utf8(buf_str(&name)));
    for (size_t i = 0; i < name.len; i++)
        must(name.ptr[i] != '/' && (unsigned char)name.ptr[i] > ' ' && name.ptr[i] != 0x7f);
    buf_finish(&name);
}

static void check_content(struct str s)
{
    must(str_is_utf8(s));
    for (size_t i = 0; i < s.len; i++)
        must((unsigned char)s.ptr[i] >= ' ' && s.ptr[i] != 0x7f);
}

static void check_address(const struct address *a, enum path_role role, struct arena *arena)
{
    struct buf text, folded;
    struct address again, folded_again;
    struct err err;
    buf_init(&text, LIMIT_path);
    buf_init(&folded, 4096);
    check_content(a->local);
    check_content(a->domain);
    check_content(a->folded_local);
    must(str_is_ascii(a->folded_domain));
    must(a->local.len <= LIMIT_local_part && a->domain.len <= LIMIT_domain);
    must(a->utf8 == (!str_is_ascii(a->local) || !str_is_ascii(a->domain)));
    must(a->kind != ADDRESS_NULL || role == PATH_REVERSE);
    must(a->kind != ADDRESS_POSTMASTER || role == PATH_FORWARD);

    address_put(&text, a);
    must(buf_ok(&text));
    must(address_read_stored(buf_str(&text), role, arena, &again, &err));
    must(address_equal(a, &again) && address_equal(&again, a));
    must(str_eq(a->local, again.local) && str_eq(a->domain, again.domain));

    address_put_folded(&folded, a);
    // Folding may lengthen a local part beyond the limit; otherwise it is an address like others.
    if (address_read_stored(buf_str(&folded), role, arena, &folded_again, &err))
        must(address_equal(a, &folded_again));
    else
        must(folded.len > text.len);
    check_file_name(a->folded_local);
    check_file_name(a->folded_domain);
    buf_finish(&text);
    buf_finish(&folded);
}

static void check_path(struct str input, enum path_role role, bool utf8, struct arena *arena)
{
    struct str rest = input;
    struct address address;
    struct err err = {.class = ERR_NONE};
    if (!address_read_path(&rest, role, utf8, arena, &address, &err)) {
        must(err.class == ERR_PEER_WRONG && err.status.class == 5);
        must(err.code == 501 || err.code == 553);
        must(str_eq(rest, input) && err.text[0] != '\0');
        return;
    }
    size_t used = input.len - rest.len;
    must(str_ends(input, rest) && used <= LIMIT_path);
    must(rest.len == 0 || rest.ptr[0] == ' ');
    must(utf8 || str_is_ascii(str_sub(input, 0, used)));
    check_address(&address, role, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from(data, size);
    struct arena arena;
    struct str folded;
    struct err err;
    arena_init(&arena, 1 << 20);
    check_path(input, PATH_REVERSE, true, &arena);
    check_path(input, PATH_FORWARD, true, &arena);
    check_path(input, PATH_FORWARD, false, &arena);
    if (domain_read_host(input, &arena, &folded, &err)) {
        struct str again;
        must(domain_read_host(folded, &arena, &again, &err));
        must(str_eq(folded, again));
    }
    check_file_name(input);
    arena_finish(&arena);
    return 0;
}
