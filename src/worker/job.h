/* The worker's one job: told over the socket, boxed, run, reported (link/message.h).
 *
 * The main thread is the job thread: it takes START, enters the box, opens the source, runs the query and
 * encodes. Once the box is shut it starts the control thread, which reads FREE and CANCEL and sends PROGRESS;
 * it is gone before DONE or FAILED is sent, so nothing follows them. */
#ifndef WORKER_JOB_H
#define WORKER_JOB_H

/* Serves one job on LINK_WORKER_FD and ends the process: with status 0 when DONE or FAILED was sent, with 1
 * when the server is gone or broke the protocol. */
_Noreturn void job_serve(void);

#endif
