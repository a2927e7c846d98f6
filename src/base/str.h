// A view of bytes: pointer and length, by value. Never owns memory, may hold NUL, need not end
// with one. All bytes from outside travel as struct str; the C library's str* functions are for
// literals of our own only.
#ifndef BASE_STR_H
#define BASE_STR_H

#include "base/attr.h"

struct str {
    const char *ptr;
    size_t len;
};

// A string literal as a str.
#define STR(literal) ((struct str){("" literal ""), sizeof(literal) - 1})
// For printf-like functions: printf("%.*s", STR_ARG(s)).
#define STR_ARG(s) (int)(s).len, (s).ptr

// A str of a NUL-terminated string of our own; NULL gives the empty str.
struct str str_of(const char *cstring);
struct str str_from(const void *ptr, size_t len);

bool str_eq(struct str a, struct str b);
// ASCII letters compare without case; other bytes as they are.
bool str_eq_nocase(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
// <0, 0, >0 by unsigned bytes, the shorter first.
int str_cmp(struct str a, struct str b);

// Index of the first (last) such byte, or s.len when there is none.
size_t str_index(struct str s, char byte);
size_t str_rindex(struct str s, char byte);
// Index of the first occurrence of needle, or s.len.
size_t str_find(struct str s, struct str needle);

// The part from `from`, at most `len` bytes; both are clamped to s.
struct str str_sub(struct str s, size_t from, size_t len);
struct str str_skip(struct str s, size_t n);
// Without SP and HTAB (str_trim: CR and LF too) at both ends.
struct str str_trim_blanks(struct str s);
struct str str_trim(struct str s);

// Cuts at the first `sep`: *head gets what stands before it, the rest stays in *s without the
// separator. Without a separator *head is all and *s is empty. False when *s was empty already.
bool str_cut(struct str *s, char sep, struct str *head);

// Decimal digits only, whole string, no sign, no overflow.
MUST_USE bool str_to_u64(struct str s, uint64_t *value);

// Takes an integer of n bytes (at most 8), little-endian, off the front. The caller has seen that
// they are there.
uint64_t str_take_le(struct str *s, size_t n);

// True when every byte is below 128.
bool str_is_ascii(struct str s);
// True when s is well-formed UTF-8 (no surrogates, no over-long forms).
bool str_is_utf8(struct str s);

// A keyed 64-bit hash (SipHash-2-4): tables of outside bytes use it with a random key.
uint64_t str_hash(struct str s, const uint64_t key[2]);

static inline char ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c + ('a' - 'A')) : c;
}

#endif
