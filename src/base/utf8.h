/* Text from outside: is it UTF-8 (RFC 3629), and making it so. Pure. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* No overlong forms, no surrogates, nothing above U+10FFFF; NUL is a character like any other. */
bool utf8_valid(const char *text, size_t length);

/* Replaces each byte that does not belong to a valid character with '?'. */
void utf8_scrub(char *text, size_t length);

#endif
