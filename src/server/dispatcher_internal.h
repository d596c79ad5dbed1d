/* What the files of the dispatcher share: dispatcher.c (claims, progress, the shutdown), dispatcher_job.c (one job
 * from its claim to its end), dispatcher_owned.c (jobs that others deleted or took). */
#ifndef SERVER_DISPATCHER_INTERNAL_H
#define SERVER_DISPATCHER_INTERNAL_H

#include <sys/queue.h>

#include "server/dispatcher.h"
#include "server/timer.h"

#define RETRY_MS 1000 /* after trouble with the store */

/* A job that runs here, from its claim until the store knows its end and its process is gone. */
struct running {
    LIST_ENTRY(running) link;
    struct dispatcher *d;
    struct job job; /* as claimed; after its end as the store has it */
    char *key;
    struct attempt *attempt; /* NULL: ended, or never started */
    bool removed;      /* not ours any more, its record gone or taken: nobody is to be told, nothing to be written */
    bool left_noted;   /* of one that is removed: the store knows that it ended */
    bool handing_over; /* stopped by a shutdown: to be put back */
    bool retrying;     /* failed, and to be tried again after retry_delay_ms */
    uint64_t retry_delay_ms;

    struct job_progress progress;
    bool progress_changed;
    int percent_shown; /* never falls; -1: not known yet */

    /* The end, on its way into the store. */
    bool settling; /* a step is under way or waits for another try */
    bool step_fails; /* said once */
    struct store_task step;
    struct event *retry;
    struct error error;
    int64_t started_at; /* the attempt: clock_monotonic_ms() */
    struct attempt_result result; /* but for its columns */
    char *columns, *details;      /* see struct job */
    char *link_url;
    int64_t link_expires_at;
    struct job ended_job;

    char *upload_id; /* of the attempt's multipart upload, once it has begun */
    struct store_task note;
    struct event *note_retry;
    bool noting;
    bool note_fails; /* said once */
    bool asked; /* the store has been asked whether the job is ours */
};

struct claim {
    struct store_task step;
    size_t limit;
    struct job_list jobs;
    int64_t next_ms; /* until something else may be claimed; -1: not known */
};

struct progress_write {
    struct store_task step;
    struct job_progress *items;
    size_t count;
};

struct dispatcher {
    struct dispatcher_options options;
    char owner[UUID_SIZE];
    LIST_HEAD(, running) running;
    unsigned running_count;
    struct claim claim;
    bool claiming;
    bool more; /* may wait that no claim has looked for: a worker that gets free is worth one */
    struct event *retry; /* looks for work at `look_at` (clock_monotonic_ms(); 0: not set) */
    int64_t look_at;
    struct event *progress_timer;
    struct progress_write progress;
    bool writing_progress;
    bool claims_fail, progress_fails; /* said once, until it is well again */

    bool started, draining;
    struct event *grace_timer, *drained_event;
    void (*drained)(void *context);
    void *drained_context;
};

/* Takes the claimed job over. */
void dispatcher_job_start(struct dispatcher *d, struct job *job);

/* A worker got free: looks for work where there may be some. */
void dispatcher_kick_at_end(struct dispatcher *d);

/* Looks for work then, or earlier. */
void dispatcher_kick_in(struct dispatcher *d, uint64_t ms);

/* Tells whoever waits for the end of a shutdown, if nothing runs any more. */
void dispatcher_drained_if_idle(struct dispatcher *d);

#endif
