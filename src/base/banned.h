// Functions that this project does not use. Each use is a compile error that names the
// replacement. Included by base/attr.h, after the system headers that declare them.
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define strcpy BANNED_strcpy_use_buf_put
#define strcat BANNED_strcat_use_buf_put
#define strncpy BANNED_strncpy_use_buf_put
#define strncat BANNED_strncat_use_buf_put
#undef sprintf // a macro under clang's _FORTIFY_SOURCE
#define sprintf BANNED_sprintf_use_buf_putf
#define vsprintf BANNED_vsprintf_use_buf_putf
#define gets BANNED_gets_use_os_read
#define strtok BANNED_strtok_use_str_cut
#define strtok_r BANNED_strtok_r_use_str_cut
#define atoi BANNED_atoi_use_str_to_u64
#define atol BANNED_atol_use_str_to_u64
#define atoll BANNED_atoll_use_str_to_u64
#define strtol BANNED_strtol_use_str_to_u64
#define strtoul BANNED_strtoul_use_str_to_u64
#define sscanf BANNED_sscanf_use_str_cut
#define system BANNED_system_no_shell_is_run
#define popen BANNED_popen_no_shell_is_run
#undef alloca // a macro under _GNU_SOURCE
#define alloca BANNED_alloca_use_arena_alloc
#define asctime BANNED_asctime_use_mail_date
#define ctime BANNED_ctime_use_mail_date
#define gmtime BANNED_gmtime_use_mail_date
#define localtime BANNED_localtime_use_mail_date
#define mktemp BANNED_mktemp_use_os_open_at
#define tmpnam BANNED_tmpnam_use_os_open_at
#define rand BANNED_rand_use_os_random
#define random BANNED_random_use_os_random
#define srand BANNED_srand_use_os_random

#endif
