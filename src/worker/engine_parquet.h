/* A query's result as a Parquet file, written by the engine's own writer into a pipe (docs/decisions/parquet.md).
 *
 * Two ways. Rows are relayed: a connection of its own, for MotherDuck (whose SaaS mode forbids COPY) in a private instance
 * without data, copies what a table function hands on of the query's streaming result; that bounds rows and bytes, and
 * holds one row group, which one thread encodes. Or the engine copies the query itself, on all of its threads: where it
 * does no more than read a table of a DuckDB file, without a limit, and what the threads hold is sure to fit into memory. */
#ifndef WORKER_ENGINE_PARQUET_H
#define WORKER_ENGINE_PARQUET_H

#include <stdatomic.h>

#include "worker/engine.h"

/* Where the write end of the pipe is while the engine opens it: the one path that it may open, /dev/fd/200. It is there
 * only in a job for Parquet, behind the binding of the query, which so finds no file. */
#define ENGINE_PIPE_FD 200

struct engine_parquet {
    const char *codec;       /* "zstd", "snappy", "uncompressed" */
    uint32_t row_group_size; /* rows; 0: 122,880, and fewer where that is too much for memory */
    uint64_t row_limit;      /* 0: none */
    uint64_t byte_limit;     /* of the values: a number, date and the like its size in memory, NULL or not; a text or blob
                                its bytes; others the bytes of their text. 0: none */
    /* With MotherDuck: shown all texts and blobs of the result, as they are and with those in nested values, and the names,
     * in pieces, before they are written. On the writing thread. */
    bool (*scan)(void *context, const void *data, size_t length, struct error *e);
    void *context;
    atomic_uint_fast64_t *rows; /* so many are relayed; of a copied query nothing is known before its end */
};

struct engine_parquet_result {
    uint64_t rows, bytes; /* of the file, as the writer counted them */
    bool truncated;       /* a limit was reached, and there was more */
};

/* Instead of engine_start(): shuts the engine's settings, checks the statement, tells the columns to `sink.begin` and
 * prepares the way. Nothing of the query runs. `sink.encode` is not used. */
MUST_CHECK bool engine_parquet_start(struct engine *g, const struct engine_query *query, const struct engine_sink *sink,
                                     const struct engine_parquet *parquet, struct error *e);

/* Runs the query to its end, and writes into `fd`, the write end of a pipe, which is closed at the end, whatever comes of
 * it: the reader then finds the end. Once; on one thread, which need not be the job's. */
MUST_CHECK bool engine_parquet_write(struct engine *g, int fd, struct engine_parquet_result *ret_result, struct error *e);

#endif
