/* The directories that workers spill to: one an attempt, "<root>/<id>-<attempt>", made before it starts and removed after it has ended.
 * The server removes them, since a worker that is killed cannot. Its files belong to the worker's user and are never opened. */
#ifndef SERVER_SPILL_H
#define SERVER_SPILL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Makes the root and clears it of what an earlier server left. Blocks. */
MUST_CHECK bool spill_open(const char *root, struct error *e);

/* Makes a directory (0700) that belongs to uid and gid, where they are not 0. The path is the caller's to free. NULL: `e` says why. */
char *spill_make(const char *root, const char *id, uint32_t attempt, uid_t uid, gid_t gid, struct error *e);

/* Bytes on disk below the directory. Blocks: for a thread of a pool. */
uint64_t spill_usage(const char *directory);

/* Removes the directory with all below; what is not there is fine. Blocks: for a thread of a pool. */
MUST_CHECK bool spill_remove(const char *directory, struct error *e);

#endif
