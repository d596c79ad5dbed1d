/* A secret that outlives the process: random bytes as hex in a file that only its owner may read. */
#ifndef OBJECT_SECRET_FILE_H
#define OBJECT_SECRET_FILE_H

#include <stdint.h>

#include "base/error.h"

#define SECRET_FILE_MAX 64 /* bytes of a secret */

/* Reads the secret of `size` bytes (at most SECRET_FILE_MAX) from `path`, and makes the file where it is
 * absent: whole or not at all, on disk when this returns. Blocks; only one process may do so at a time.
 * ERROR_CONFIG for a file that others may read, or with anything else in it: a changed secret would silently
 * end every link given out. */
MUST_CHECK bool secret_file_load(const char *path, uint8_t *ret_secret, size_t size, struct error *e);

#endif
