/* The worker's one job: told over the socket, boxed, run, reported (link/message.h).
 *
 * The main thread is the job thread: it takes OPEN, enters the box, opens the source, shuts the box and says
 * READY; then it waits for START, which may be long in coming, runs the query and encodes. With START it
 * starts the control thread, which reads FREE and CANCEL and sends PROGRESS; it is gone before DONE or FAILED
 * is sent, so nothing follows them. A template (template.h) goes as far as READY, and each copy of it goes on from there
 * with START. While MotherDuck is signed in to nobody reads: a CANCEL waits, and the
 * server ends the process. */
#ifndef WORKER_JOB_H
#define WORKER_JOB_H

#include <stdbool.h>

#include "base/error.h"

/* Serves one job on LINK_WORKER_FD and ends the process: with status 0 when DONE or FAILED was sent, with 1
 * when the server is gone or broke the protocol. */
_Noreturn void job_serve(void);

/* Opens the source of the specification (link/worker_spec.h) that is the descriptor LINK_WORKER_FD, in the box, as
 * a job would. False: `e` says why not. */
MUST_CHECK bool job_check_source(struct error *e);

#endif
