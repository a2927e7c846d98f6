// The fault seam in a process that tests a Maildir.
#ifndef TESTS_UNIT_STORE_MAILDIR_FAULTS_H
#define TESTS_UNIT_STORE_MAILDIR_FAULTS_H

#include <fcntl.h>
#include <unistd.h>

#include "maildir_house.h"

#ifdef POSTHOUSE_FAULT_SEAM

#include "fault_page.h"

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
