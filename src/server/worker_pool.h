/* Spares: idle workers that have opened their source and wait for a job, since signing in to MotherDuck takes long.
 *
 * The next attempt takes one, and another is started in its place. None is kept when no attempt has come for a while, nor
 * after the shutdown began. Where signing in fails the pool waits ever longer before it tries again; an attempt without a
 * spare starts a worker of its own. All on the event loop. */
#ifndef SERVER_WORKER_POOL_H
#define SERVER_WORKER_POOL_H

#include <event2/event.h>

#include "base/secret_scan.h"
#include "base/task_queue.h"
#include "link/worker_spec.h"
#include "server/supervisor.h"

struct worker_pool;

struct worker_pool_options {
    struct event_base *base;
    struct task_queue *housekeeping; /* removes spill directories */
    const char *program, *spill_root;
    const struct worker_spec *spec;        /* a template: all but spill_dir */
    const struct secret_patterns *secrets; /* of spec->token */
    unsigned spares;
    uint64_t open_timeout_ms; /* a worker that has not opened its source by then is killed */
    uint64_t idle_ms;         /* so long after the last attempt all are ended */
};

/* The texts are needed as long as the pool. Nothing is started yet. */
struct worker_pool *worker_pool_new(const struct worker_pool_options *options, struct error *e);

/* Ends what is left and waits for that; no event comes any more. To be called when housekeeping is over. NULL is fine. */
void worker_pool_free(struct worker_pool *p);

/* Starts the spares. */
void worker_pool_start(struct worker_pool *p);

struct pooled_worker {
    struct worker_process *process; /* to be taken over by worker_process_hand_over() */
    char *spill_dir;                /* the caller's from now on: to free, and to remove when the process has ended */
    bool ready;                     /* READY has come; else it will, or FAILED */
};

/* An attempt begins. False: there is no spare. */
MUST_CHECK bool worker_pool_take(struct worker_pool *p, struct pooled_worker *ret);

/* The shutdown: ends all, starts none. */
void worker_pool_stop(struct worker_pool *p);

#endif
