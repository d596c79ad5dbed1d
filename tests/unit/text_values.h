/* Texts as the engine's vectors have them. */
#ifndef TESTS_TEXT_VALUES_H
#define TESTS_TEXT_VALUES_H

#include <string.h>

#include "worker/chunk.h"

/* Longer ones point to `text`. */
static inline struct text_value value(const char *text, size_t length)
{
    struct text_value v = {.length = (uint32_t)length};
    if (v.length <= TEXT_INLINE_MAX)
        memcpy(v.inlined, text, v.length);
    else
        v.outside.pointer = text;
    return v;
}

static inline struct text_value text(const char *text)
{
    return value(text, strlen(text));
}

#endif
