#include "base/utf8.h"

#include <stdint.h>

/* Length of the character that `p` begins with; 0: none is there. */
static size_t character(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xF0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xED && p[1] > 0x9F;
    bool too_large = p[0] == 0xF4 && p[1] > 0x8F;
    return overlong || surrogate || too_large ? 0 : length;
}

bool utf8_valid(const char *text, size_t length)
{
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0, n; i < length; i += n) {
        n = character(p + i, length - i);
        if (n == 0)
            return false;
    }
    return true;
}

void utf8_scrub(char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t n = character((uint8_t *)text + i, length - i);
        if (n == 0)
            text[i] = '?';
        i += n ? n : 1;
    }
}
