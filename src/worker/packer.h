/* What becomes of encoded bytes on their way into the file: nothing, compression, or the sheets of a workbook.
 *
 * All on the job thread; a packer has threads of its own where it has work for them. The file's bytes go to the output
 * in order. Fails with the output's error, or its own; then only packer_free() is left. One that does not hand on the
 * bytes that it gets shows them to output_scan(). */
#ifndef WORKER_PACKER_H
#define WORKER_PACKER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/file_form.h"
#include "worker/output.h"

struct packer {
    const struct packer_api *api; /* a packer's own struct begins with this one */
};

struct packer_api {
    /* In this order: once, any number of times, once. The bytes are the caller's, and may change after the call. */
    MUST_CHECK bool (*begin)(struct packer *p, const void *data, size_t length, struct error *e);
    MUST_CHECK bool (*rows)(struct packer *p, const void *data, size_t length, struct error *e);
    MUST_CHECK bool (*end)(struct packer *p, const void *data, size_t length, struct error *e);

    /* At any time: its threads end, what they work on is dropped. */
    void (*free)(struct packer *p);

    /* Processor time that its own threads have taken so far, nanoseconds. NULL: it has none, or they cannot be asked
     * (libzstd's: their time is in the query's share). */
    uint64_t (*cpu_ns)(const struct packer *p);
};

/* The one that `form` asks for. `output` outlives it; `threads` is how many of its own it may have, 1 or more. NULL: `e`
 * says why. */
struct packer *packer_new(const struct file_form *form, struct output *output, uint32_t threads, struct error *e);

/* The kinds, for packer_new(). gzip: one member (RFC 1952), without name and time. zstd: one frame (RFC 8878), with the
 * checksum of the content. What comes out depends on the input alone, on one machine: not on threads or the size of writes. */
struct packer *gzip_new(struct output *output, uint32_t threads, struct error *e);
struct packer *zstd_new(struct output *output, uint32_t threads, struct error *e);

static inline uint64_t packer_cpu_ns(const struct packer *p)
{
    return p->api->cpu_ns ? p->api->cpu_ns(p) : 0;
}

static inline void packer_free(struct packer *p)
{
    if (p)
        p->api->free(p);
}

#endif
