// In which language somebody is told of a letter of his: in the one that it is written in.
#ifndef MAIL_LANGUAGE_H
#define MAIL_LANGUAGE_H

#include "base/str.h"

// Chinese: the header says so (Content-Language: zh..., a charset of the GB family or Big5), or
// there are Han characters in Subject or From, plain or in encoded words (RFC 2047), and neither
// kana nor hangul. Any bytes may be asked about.
bool language_is_chinese(struct str header);

#endif
