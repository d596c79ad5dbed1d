/* A template: a worker that has opened a DuckDB file and makes a process for each job by copying itself. What a
 * start by exec spends on linking the engine, entering the box and opening the file is spent once.
 *
 * It never runs SQL of others. It has one thread, the job thread, before and after. The processes it makes are the
 * server's own children (CLONE_PARENT): waited for, watched and killed as those that it starts by exec, and killed by
 * the kernel when the server's main thread ends. They share what the template has open: the source's read lock
 * (source.h) holds as long as one of them lives. */
#ifndef WORKER_TEMPLATE_H
#define WORKER_TEMPLATE_H

#include <stdbool.h>

#include "base/error.h"

/* Before the box is entered: looks at what template_serve() needs. False, with ERROR_NOT_IMPLEMENTED: not had here. */
MUST_CHECK bool template_prepare(struct error *e);

/* Says READY and obeys FORK (link/message.h). Returns in every process that it makes, and only there: with the job's
 * socket as LINK_WORKER_FD, the job's log as descriptor 2, its directory as the current one; false: `e` says why not
 * all of that (LINK_WORKER_FD is the first). The template itself ends with its server's socket. */
MUST_CHECK bool template_serve(struct error *e);

#endif
