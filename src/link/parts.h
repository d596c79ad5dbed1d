/* The part buffers of one job: a memory file that the server makes and both processes map.
 *
 * The file is sealed against shrinking and growing before it is handed over, so that a worker can neither pull a page
 * away under the server's feet nor swell it. A buffer belongs to the worker until PART names it, then to the server
 * until FREE names it (message.h). Its bytes are the worker's own result: the server never interprets them. */
#ifndef LINK_PARTS_H
#define LINK_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define PARTS_MAX_BUFFERS 64

struct parts {
    int fd;         /* the memory file; -1 after parts_close_fd() */
    uint32_t count; /* buffers, 2 to PARTS_MAX_BUFFERS */
    size_t size;    /* bytes of each */
    uint8_t *base;
};

/* Server: a new memory file. Pages cost nothing until they are written. NULL: `e` says why. */
struct parts *parts_new(uint32_t count, size_t size, struct error *e);

/* Worker: maps a received memory file of exactly that shape; takes `fd` over in every case. */
struct parts *parts_map(int fd, uint32_t count, size_t size, struct error *e);

void parts_close_fd(struct parts *p);
void parts_free(struct parts *p);

/* The buffers of a job: the first, and later perhaps larger ones, numbered behind them. */
struct part_buffers {
    struct parts *first, *grown; /* `grown` may be NULL */
};

/* The set in which the buffer of that number lies, and its place there. NULL: there is no such buffer. */
const struct parts *part_buffers_find(const struct part_buffers *b, uint32_t index, uint32_t *ret_place);

static inline uint8_t *parts_buffer(const struct parts *p, uint32_t index)
{
    return p->base + (size_t)index * p->size;
}

#endif
