/* One result on its way into one file: what the two ways share, rows that an encoder writes (rows_file.h) and
 * Parquet (parquet_file.h). */
#ifndef WORKER_EXPORT_H
#define WORKER_EXPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "format/file_form.h"
#include "worker/engine.h"
#include "worker/output.h"

/* Of the columns as the record shows them; what does not fit is left out, and said so. */
#define EXPORT_COLUMNS_MAX ((size_t)1 << 20)

struct export {
    const char *sql;
    const struct file_form *form;
    uint32_t threads; /* that a stage of the way may have for itself */
    struct engine *engine;
    struct output *output;
    const atomic_bool *cancelled;

    /* On the job thread. `columns`: {"columns":[{"name":"a","type":"INTEGER"},...]} and, where some are left out,
     * "columns_truncated":true. `streaming`: the first rows are there. */
    void (*tell_columns)(void *context, const char *json, size_t length);
    void (*tell_streaming)(void *context);
    void *context;

    /* While it goes on; any thread reads them. */
    atomic_uint_fast64_t rows;      /* encoded */
    atomic_uint_fast64_t bytes;     /* of the file */
    atomic_uint_fast64_t encode_ns; /* of processor time */

    /* Of the file. */
    uint64_t pack_ns, hash_ns; /* processor time: of the packer's threads; of the job's, the copy to the packer included */
    uint64_t altered;   /* cells that were guarded or cut */
    bool truncated;     /* a limit was reached */
};

/* For an engine_sink's `begin`. */
MUST_CHECK bool export_tell_columns(struct export *x, const struct engine_columns *columns, struct error *e);

/* ERROR_CANCELLED. Returns false. */
bool export_fail_cancelled(struct error *e);

#endif
