// A spool whose system calls can be made to fail.
#ifndef TESTS_UNIT_STORE_FAULT_BOX_H
#define TESTS_UNIT_STORE_FAULT_BOX_H

#include "spool_box.h"

static struct fault_page *page;

static inline int make_page(void **state)
{
    char path[] = "/tmp/posthouse-fault-XXXXXX";
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0 || ftruncate(fd, sizeof(*page)) < 0)
        return -1;
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return -1;
    memcpy(page->magic, "PHFAULT1", 8);
    page->version = FAULT_VERSION;
    page->calls = FAULT_CALLS;
    setenv("POSTHOUSE_FAULT", path, 1);
    fault_start("queue");
    close(fd);
    return unlink(path);
}

// From the first-th such call on, `count` of them fail.
static inline void arm(size_t row, uint32_t call, uint64_t first, uint64_t count, int error)
{
    struct fault_rule *r = &page->rules[row];
    *r = (struct fault_rule){
        .call = call, .first = first, .count = count, .limit = UINT64_MAX, .error = error};
    r->armed = 1;
}

static inline void disarm(void)
{
    for (size_t i = 0; i < FAULT_RULES; i++)
        page->rules[i].armed = 0;
}

static inline int clean_up(void **state)
{
    disarm();
    return tear_down(state);
}

#define FAULT_CASE(name) cmocka_unit_test_setup_teardown(name, set_up, clean_up)

#endif
