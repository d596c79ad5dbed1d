/* A file format: rows in, bytes into an output. One instance serves one job, on the job thread.
 *
 * The order of calls is begin, chunk as often as there are rows, end. A call that fails fills `e` and leaves
 * the output unusable for anything but output_free(); the error is the output's (cancelled, server gone) or
 * memory. */
#ifndef WORKER_ENCODER_H
#define WORKER_ENCODER_H

#include <stddef.h>

#include "base/error.h"
#include "worker/output.h"
#include "worker/text_chunk.h"

struct encoder {
    const char *format; /* its name in a job's specification */

    /* Once, before any row. `names` are the columns as the file shall name them. */
    bool (*begin)(struct output *o, const char *const *names, size_t name_count, struct error *e);
    bool (*chunk)(struct output *o, const struct text_chunk *chunk, struct error *e);
    bool (*end)(struct output *o, struct error *e);
};

/* CSV, byte for byte what DuckDB's `COPY (...) TO 'x' (FORMAT csv, HEADER)` writes. */
extern const struct encoder csv_encoder;

#endif
