/* DEFLATE (RFC 1951) on several threads: bytes in, one stream out, in order.
 *
 * The input is cut into pieces of equal size, which threads of the pool compress each by itself; every piece ends at a
 * whole byte, so that the stream is their concatenation. What comes out depends on the input alone, not on threads or on
 * the size of writes. Memory: a few pieces per thread, in and out.
 *
 * The caller's thread takes the results, in order, from within write and finish. After one of them has failed only
 * deflate_pool_free() is left. */
#ifndef WORKER_DEFLATE_POOL_H
#define WORKER_DEFLATE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct deflate_pool;

typedef bool deflate_take_fn(void *context, const void *data, size_t length, struct error *e);

/* `threads`, 1 or more: at most so many, and started only when there is work for them. NULL: out of memory, or no thread
 * can be had. */
struct deflate_pool *deflate_pool_new(uint32_t threads, deflate_take_fn *take, void *context, struct error *e);

/* More of the input. Waits while the threads have enough to do. Fails with the error of `take`. */
MUST_CHECK bool deflate_pool_write(struct deflate_pool *d, const void *data, size_t length, struct error *e);

struct deflate_sums {
    uint64_t in, out; /* bytes */
    uint32_t crc32;   /* of the input: RFC 1952, 8 */
};

/* The stream ends; all of it has been taken. The next write begins another one. */
MUST_CHECK bool deflate_pool_finish(struct deflate_pool *d, struct deflate_sums *ret, struct error *e);

/* At any time; what is under way is dropped. */
void deflate_pool_free(struct deflate_pool *d);

/* Processor time of its threads so far, nanoseconds. */
uint64_t deflate_pool_cpu_ns(const struct deflate_pool *d);

#endif
