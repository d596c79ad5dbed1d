/* A growable run of bytes with a ceiling. Not thread-safe; owned by whoever initialised it.
 *
 * A failed append (no memory, or past the ceiling) is remembered: later appends do nothing and buf_ok() is false, so a
 * writer may append many times and look once. The bytes are always followed by a NUL that `len` does not count. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct buf {
    char *data; /* NULL until the first append */
    size_t len;
    size_t capacity;
    size_t max; /* ceiling of `len` in bytes */
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);
void buf_clear(struct buf *b); /* keeps the memory */

void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);

static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

/* Hands the bytes over as a NUL-terminated heap string (free() it); NULL if the buffer failed or memory is out. */
char *buf_take(struct buf *b);

#define _cleanup_buf_ _cleanup_(buf_release)

#endif
