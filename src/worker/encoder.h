/* A file format: rows in, bytes out. Pure: what an encoder writes depends on its arguments only, so several
 * threads encode at once, each a chunk; the file is the beginning, the chunks in the order of the rows, the end
 * (and what a packer makes of that: packer.h).
 *
 * begin, chunk and end append to `w`, and leave w->at behind their last byte. false: out of memory, or w->refused says
 * what is wrong with a value; the writer is to be discarded. Each row is followed by block_writer_end_row(). */
#ifndef WORKER_ENCODER_H
#define WORKER_ENCODER_H

#include <stddef.h>

#include "base/error.h"
#include "format/file_form.h"
#include "worker/block.h"
#include "worker/chunk.h"

/* What is known before the first row. */
struct encoder_columns {
    const char *const *names; /* as the file shall name them */
    const bool *free_text;    /* of each: what comes is text that may say anything; see engine.h. NULL: all are */
    size_t count;
    const char *const *types; /* as SQL writes them: engine.h */
};

struct encoder {
    bool nested;     /* lists, structs and their like come as such, not as their text */
    bool local_time; /* TIMESTAMPTZ comes as the TIMESTAMP that a clock in the form's time zone shows */

    /* Every row begins with so many bytes that the file's first row does not have: what parts it from the one before. */
    size_t separator;

    /* What all calls share, and none changes; it may point to the arguments, which outlive it. NULL: `e` says why. */
    void *(*prepare)(const struct file_form *form, const struct encoder_columns *columns, struct error *e);
    void (*release)(void *plan); /* may be NULL: free() */

    MUST_CHECK bool (*begin)(const void *plan, struct block_writer *w);
    MUST_CHECK bool (*chunk)(const void *plan, struct block_writer *w, const struct chunk *chunk);
    MUST_CHECK bool (*end)(const void *plan, struct block_writer *w);
};

/* CSV and TSV: byte for byte what DuckDB's `COPY (...) TO 'x' (FORMAT csv, ...)` writes, where it has the options (csv.h). */
extern const struct encoder csv_encoder;

/* The XML of a sheet, for the packer of XLSX: xlsx.h. */
extern const struct encoder xlsx_encoder;

/* What DuckDB's `COPY (...) TO 'x' (FORMAT json, ARRAY true)` and `(FORMAT json)` write (json.c says what differs). */
extern const struct encoder json_encoder, ndjson_encoder;

/* NULL: the format is not made of rows (Parquet). */
const struct encoder *encoder_of(enum file_format format);

#endif
