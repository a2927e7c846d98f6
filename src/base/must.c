#include "base/attr.h"

void must_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "posthouse: %s:%d: this must hold and does not: %s\n", file, line, cond);
    abort();
}
