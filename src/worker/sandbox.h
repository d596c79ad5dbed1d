/* The worker's box. The process runs other people's SQL in an engine that has no privilege boundary of its
 * own, so the operating system draws it: limits, no capabilities, no_new_privs, an unprivileged user,
 * Landlock, seccomp.
 *
 * These bind the calling thread and the threads that it starts later, so both steps run while the process has
 * one thread: sandbox_enter() before the engine is opened (with one thread), sandbox_close() before it gets
 * more. */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "link/job_spec.h"

/* What every worker does first, whatever the mode: dies with its server, goes before it when memory runs out,
 * and holds no descriptor but 0 to LINK_WORKER_FD. */
void sandbox_begin(void);

/* The box in which the engine opens its source: `source` and, where it exists, `wal` may be read; the current
 * directory is scratch. With SANDBOX_REQUIRED a part that cannot be had is an error that names it. A failure
 * leaves the process half in: it can only end. */
MUST_CHECK bool sandbox_enter(const struct job_spec *spec, const char *source, const char *wal,
                              struct error *e);

/* The source is open: become spec->uid, give up the last capabilities, and open nothing but scratch files. */
MUST_CHECK bool sandbox_close(const struct job_spec *spec, struct error *e);

/* What this kernel and user can have, a line a part; true if SANDBOX_REQUIRED can be had. */
bool sandbox_describe(FILE *out);

#endif
