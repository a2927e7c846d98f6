// All fixed limits, from limits.def: LIMIT_command_line and so on.
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include "base/attr.h"

enum limit {
#define LIMIT(name, value, unit, why) LIMIT_##name = (value),
#include "base/limits.def"
#undef LIMIT
};

#endif
