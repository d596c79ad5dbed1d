/* The worker's box. The process runs other people's SQL in an engine that has no privilege boundary of its
 * own, so the operating system draws it: limits, no capabilities, no_new_privs, an unprivileged user,
 * Landlock, seccomp.
 *
 * These bind the calling thread and the threads that it starts later. sandbox_enter() runs before the engine is
 * opened, while the process has one thread. For a file it keeps the right to open it, the engine opens with one
 * thread, and sandbox_close() takes that right before there are more. MotherDuck's client starts threads when
 * it signs in: so for it sandbox_enter() does all that a thread would not inherit later, the change of user and
 * the whole of Landlock; sandbox_close() then only narrows the system calls, of all threads. */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "link/worker_spec.h"

/* What every worker does first, whatever the mode: dies with its server, goes before it when memory runs out
 * and behind it when processors do, and holds no descriptor but 0 to LINK_WORKER_FD. */
void sandbox_begin(void);

/* The box in which the engine opens its source. The current directory is scratch. A file: `source` and, where
 * it exists, `wal` may be read. MotherDuck: the extension's directory, what names hosts and authorities, and
 * connections to the ports of http, https and DNS; `source` and `wal` are NULL. With SANDBOX_REQUIRED a part that
 * cannot be had is an error that names it. A failure leaves the process half in: it can only end. */
MUST_CHECK bool sandbox_enter(const struct worker_spec *spec, const char *source, const char *wal,
                              struct error *e);

/* A template's source is open: it becomes spec->uid, and opens no more than its jobs' directories. What is left to take
 * away each of its copies does, with sandbox_close(). */
MUST_CHECK bool sandbox_park(const struct worker_spec *spec, struct error *e);

/* The source is open: whoever is still privileged becomes spec->uid and gives that up, and no more is opened
 * than the job needs. */
MUST_CHECK bool sandbox_close(const struct worker_spec *spec, struct error *e);

/* What this kernel and user can have, a line a part; true if SANDBOX_REQUIRED can be had. */
bool sandbox_describe(FILE *out);

#endif
