/* A file whose rows an encoder writes: query -> encoder (on the engine's threads) -> limits -> packer -> output. */
#ifndef WORKER_ROWS_FILE_H
#define WORKER_ROWS_FILE_H

#include "worker/encoder.h"
#include "worker/export.h"

struct rows_file;

/* NULL: `e` says why. */
struct rows_file *rows_file_new(struct export *x, const struct encoder *encoder, struct error *e);

/* Writes all of it. */
MUST_CHECK bool rows_file_write(struct rows_file *f, uint8_t ret_digest[SHA256_BYTES], struct error *e);

/* When none of the engine's threads encodes any more: after engine_free(), or engine_rehearsal_end(). */
void rows_file_free(struct rows_file *f);

#endif
