// The fault seam in a process that tests the store: its system calls can be made to fail.
#ifndef TESTS_UNIT_STORE_FAULT_PAGE_H
#define TESTS_UNIT_STORE_FAULT_PAGE_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/fault.h"

static struct fault_page *page;

// As this role. Once in a process.
static inline void start_page(const char *role)
{
    char path[] = "/tmp/posthouse-fault-XXXXXX";
    int fd = mkstemp(path);
    must(fd >= 0 && ftruncate(fd, sizeof(*page)) == 0);
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(page != MAP_FAILED);
    memcpy(page->magic, "PHFAULT1", 8);
    page->version = FAULT_VERSION;
    page->calls = FAULT_CALLS;
    setenv("POSTHOUSE_FAULT", path, 1);
    fault_start(role);
    unlink(path);
    close(fd);
}

// From the first-th such call on, `count` of them fail.
static inline struct fault_rule *arm(size_t row, uint32_t call, uint64_t first, uint64_t count,
                                     int error)
{
    struct fault_rule *r = &page->rules[row];
    *r = (struct fault_rule){
        .call = call, .first = first, .count = count, .limit = UINT64_MAX, .error = error};
    r->armed = 1;
    return r;
}

static inline void disarm(void)
{
    for (size_t i = 0; i < FAULT_RULES; i++)
        page->rules[i].armed = 0;
}

#endif
