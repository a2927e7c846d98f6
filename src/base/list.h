// A doubly linked list whose links live inside the items. A list is a struct link that points to
// itself while empty. An item's link is in one list at a time.
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/attr.h"

struct link {
    struct link *prev;
    struct link *next;
};

static inline void list_init(struct link *list)
{
    list->prev = list->next = list;
}

static inline bool list_empty(const struct link *list)
{
    return list->next == list;
}

// True when the link is in a list. A zeroed link is in none.
static inline bool link_used(const struct link *l)
{
    return l->next != NULL && l->next != l;
}

static inline void list_append(struct link *list, struct link *l)
{
    l->prev = list->prev;
    l->next = list;
    list->prev->next = l;
    list->prev = l;
}

static inline void list_prepend(struct link *list, struct link *l)
{
    list_append(list->next, l);
}

// Safe on a link that is in no list.
static inline void list_remove(struct link *l)
{
    if (l->next) {
        l->prev->next = l->next;
        l->next->prev = l->prev;
    }
    l->prev = l->next = NULL;
}

// The first item's link, removed, or NULL.
static inline struct link *list_pop(struct link *list)
{
    struct link *l = list->next;
    if (l == list)
        return NULL;
    list_remove(l);
    return l;
}

// `next` is read before the body runs, so the body may remove `at`.
#define LIST_EACH(list, at, after)                                                                 \
    for (struct link *at = (list)->next, *after = at->next; at != (list);                          \
         at = after, after = at->next)

#endif
