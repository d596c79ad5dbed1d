/* A file format: rows in, bytes out. Pure: what an encoder writes depends on its arguments only, so several
 * threads encode at once, each a chunk; the file is the beginning, the chunks in the order of the rows, the end.
 *
 * Each call appends to `w`, and leaves w->at behind its last byte. false: out of memory, the writer is to be
 * discarded. */
#ifndef WORKER_ENCODER_H
#define WORKER_ENCODER_H

#include <stddef.h>

#include "base/error.h"
#include "worker/block.h"
#include "worker/chunk.h"

struct encoder {
    const char *format; /* its name in a job's specification */

    /* `names` are the columns as the file shall name them. */
    MUST_CHECK bool (*begin)(struct block_writer *w, const char *const *names, size_t name_count);
    MUST_CHECK bool (*chunk)(struct block_writer *w, const struct chunk *chunk);
    MUST_CHECK bool (*end)(struct block_writer *w);
};

/* CSV, byte for byte what DuckDB's `COPY (...) TO 'x' (FORMAT csv, HEADER)` writes. */
extern const struct encoder csv_encoder;

#endif
