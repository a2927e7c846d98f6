// CRC-32C (Castagnoli), as in RFC 3720 appendix B.4. Uses the processor's instruction where there
// is one. crc32c(crc32c(0, a), b) == crc32c(0, ab).
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/str.h"

uint32_t crc32c(uint32_t crc, struct str bytes);

#endif
