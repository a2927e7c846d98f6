// The fault seam in a process that tests a Maildir.
#ifndef TESTS_UNIT_STORE_MAILDIR_FAULTS_H
#define TESTS_UNIT_STORE_MAILDIR_FAULTS_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "maildir_house.h"
#include "os/fault.h"

#ifdef POSTHOUSE_FAULT_SEAM

static struct fault_page *page;

static inline void start_page(void)
{
    char path[] = "/tmp/posthouse-fault-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && ftruncate(fd, sizeof(*page)) == 0);
    page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(page != MAP_FAILED);
    memcpy(page->magic, "PHFAULT1", 8);
    page->version = FAULT_VERSION;
    page->calls = FAULT_CALLS;
    setenv("POSTHOUSE_FAULT", path, 1);
    fault_start("postman");
    unlink(path);
    close(fd);
}

static inline struct fault_rule *rule(uint32_t call, uint64_t first, uint64_t count, int error)
{
    struct fault_rule *r = &page->rules[0];
    memset(r, 0, sizeof(*r));
    r->call = call;
    r->first = first;
    r->count = count;
    r->error = error;
    r->limit = UINT64_MAX;
    r->armed = 1;
    return r;
}

static inline void disarm(void)
{
    page->rules[0].armed = 0;
}

static inline size_t open_descriptors(void)
{
    size_t n = 0;
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    n = count_files(dir);
    close(dir);
    return n;
}

#endif // POSTHOUSE_FAULT_SEAM

#endif
