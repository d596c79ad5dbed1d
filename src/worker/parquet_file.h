/* A Parquet file: the engine's own writer, on a thread of its own -> pipe -> output. */
#ifndef WORKER_PARQUET_FILE_H
#define WORKER_PARQUET_FILE_H

#include "worker/export.h"

/* Writes all of it. The engine runs nothing of the query afterwards, whatever came of it. */
MUST_CHECK bool parquet_file_write(struct export *x, uint8_t ret_digest[SHA256_BYTES], struct error *e);

#endif
