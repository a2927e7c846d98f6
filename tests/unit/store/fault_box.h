// A spool whose system calls can be made to fail.
#ifndef TESTS_UNIT_STORE_FAULT_BOX_H
#define TESTS_UNIT_STORE_FAULT_BOX_H

#include "fault_page.h"
#include "spool_box.h"

static inline int make_page(void **state)
{
    (void)state;
    start_page("queue");
    return 0;
}

static inline int clean_up(void **state)
{
    disarm();
    return tear_down(state);
}

#define FAULT_CASE(name) cmocka_unit_test_setup_teardown(name, set_up, clean_up)

#endif
