/* What the files of an attempt share: attempt.c (what the worker, the store and the clock tell), attempt_start.c (from the job
 * to a worker). All on the loop. */
#ifndef SERVER_ATTEMPT_INTERNAL_H
#define SERVER_ATTEMPT_INTERNAL_H

#include "base/buf.h"
#include "link/parts.h"
#include "server/attempt.h"
#include "server/supervisor.h"

/* In OPENING the worker opens its source and has no job yet. */
enum phase { OPENING, RUNNING, FINISHING, SUCCEEDED, FAILING };

/* What a thread does for an attempt; one at a time. */
struct chore {
    struct task task;
    uint64_t spill_bytes;
    struct source_look look;
    bool ok;
    struct error error;
};

struct attempt {
    const struct attempt_environment *env;
    const struct attempt_events *events;
    void *context;
    char id[UUID_SIZE];
    char *key, *spill_dir; /* spill_dir: NULL before it is made */
    uint32_t number;
    enum phase phase;
    struct error error; /* in FAILING: the first one */

    struct worker_process *worker; /* NULL: ended, or not started */
    struct object_upload *upload;  /* NULL: not begun, or over */
    struct part_buffers buffers;
    uint32_t part_count; /* that have come */
    uint64_t held;      /* a bit per buffer that is ours */
    bool short_part;    /* the last part has come */
    bool streaming;
    uint64_t bytes;     /* of all parts */
    struct file_form form;
    struct buf columns; /* as the worker tells them, piece by piece */
    struct attempt_result result;

    uint64_t rows_told, bytes_told; /* by PROGRESS; a worker may lie: then job_timeout_ms is what ends it */
    double percent_told;            /* in whole steps */
    int64_t alive_at, look_at;      /* clock_monotonic_ms(): the last sign of life; when a stall is looked for next */

    int spec_fd; /* of the job, until the worker takes it */
    struct event *open_timer, *kill_timer, *timeout_timer, *stall_timer, *spill_timer;
    struct chore chore;
    bool chore_busy, told; /* told: succeeded or failed */
};

/* The first error is kept; all that runs is told to end. */
void attempt_fail(struct attempt *a, const struct error *why);

/* Goes on when nothing of the attempt runs any more: neither process nor upload nor chore. */
void attempt_conclude(struct attempt *a);

/* The worker is ready: it gets its job. */
void attempt_begin_job(struct attempt *a);

/* For a process that works for the attempt; `context` is that. */
extern const struct worker_process_events attempt_worker_events;
void attempt_not_made(void *context); /* its `not_made` */

void attempt_start_chore(struct attempt *a, struct task_queue *where, void (*work)(struct task *, void *),
                         void (*done)(struct task *));

MUST_CHECK bool attempt_make_timers(struct attempt *a); /* not set yet */
static inline uint64_t attempt_open_limit_ms(const struct attempt_environment *env)
{
    bool remote = env->worker.source == SOURCE_MOTHERDUCK;
    return remote ? env->open_timeout_ms : env->worker.source_wait_ms + env->stall_timeout_ms;
}

void attempt_free(struct attempt *a); /* of a half-built one, too */

#endif
