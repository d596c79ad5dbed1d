/* One attempt at one job: a worker process, its part buffers, the upload of what it fills.
 *
 *   opening    the job's directory is made, the worker started; it opens its source, and has its job when it is ready
 *   running    parts come and are stored
 *   finishing  the worker is done, the object is being completed and looked at
 *   succeeded  the object stands under its key; the process is on its way out
 *   failing    the first error is kept; the engine is stopped, the upload taken back
 *
 * The worker runs other people's SQL, so what it says is checked here: it may announce only buffers that it owns, only the last part may be
 * short, the bytes it claims at the end are those that came, its columns are a list of names and types (column_list.h), and a limit was
 * reached, or cells altered, only where the form of the file has it so.
 *
 * An attempt stalls when neither a row nor a byte comes for stall_timeout_ms while it runs. Signs of life are the first rows, a PROGRESS
 * with more rows or bytes, a part, and a part that has been stored; and, since rows wait in the engine until its buffer is full,
 * the engine's own percentage, where it has grown by a whole point. While the store has all buffers the worker can do nothing:
 * that time is the store's, whose own limits hold (GOPIE_DS_S3_TIMEOUT for each part), and so is the time behind the last byte. An
 * engine that ends when it is interrupted was computing, and would do so again: ERROR_STALLED. A worker that has to be killed
 * was lost: ERROR_WORKER. A source that does not open in its time is ERROR_SOURCE.
 *
 * All calls and events are on the event loop. */
#ifndef SERVER_ATTEMPT_H
#define SERVER_ATTEMPT_H

#include <event2/event.h>

#include "base/task_queue.h"
#include "job/job.h"
#include "link/job_spec.h"
#include "link/worker_spec.h"
#include "object/store.h"
#include "server/worker_pool.h"
#include "server/worker_template.h"

struct attempt;

/* What all attempts share. Outlives them. */
struct attempt_environment {
    struct event_base *base;
    struct object_store *objects;
    struct task_queue *housekeeping; /* for what blocks: looking at and removing spill directories */
    const char *worker_program;
    const char *spill_root;
    struct worker_spec worker; /* a template: all but spill_dir */
    struct job_spec spec;      /* a template: all but sql, format and what the parts are like */
    struct worker_pool *spares; /* NULL: none are kept */
    struct worker_template *template; /* NULL: workers are started by exec */
    struct task_queue *starts;  /* with a template: for what blocks at the start of an attempt */
    const struct secret_patterns *secrets; /* of worker.token; NULL: there is none */
    uint64_t open_timeout_ms; /* for signing in to MotherDuck; a file has source_wait_ms and stall_timeout_ms */
    uint64_t job_timeout_ms;
    uint64_t stall_timeout_ms;
};

struct attempt_result {
    uint64_t rows, bytes;
    char sha256[SHA256_HEX_SIZE];
    uint64_t cpu_us[LINK_STAGES]; /* the worker's, as it says */
    char *columns;                /* see struct job. The attempt's, until `succeeded` returns */
    bool columns_truncated;       /* some are left out */
    bool truncated;               /* a limit was reached, and there was more */
    uint64_t altered;             /* cells; 0 where there is no name for them */
    const char *altered_name;     /* file_form_altered_name() */
};

struct attempt_events {
    void (*streaming)(void *context); /* the first rows are there */
    void (*progress)(void *context, uint64_t rows, uint64_t bytes, double percent); /* percent: negative where not known */
    /* A multipart upload exists in the store, under that id: to be written down, then answered by attempt_noted()
     * or attempt_stop(). No byte is sent before. */
    void (*begun)(void *context, const char *upload_id);
    void (*finishing)(void *context); /* all bytes are there; the object is being completed */

    /* Exactly one of the two. After `failed` nothing stands under the key and the engine has stopped. */
    void (*succeeded)(void *context, const struct attempt_result *r);
    void (*failed)(void *context, const struct error *why);

    /* Last: the process is gone, its spill directory removed. The attempt is freed when it returns. */
    void (*ended)(void *context);
};

/* NULL: `e` says why, nothing is left and no event comes. `job` and `key` are needed during the call only. */
struct attempt *attempt_start(const struct attempt_environment *env, const struct job *job, const char *key,
                              const struct attempt_events *events, void *context, struct error *e);

/* Stops it with that error: the engine is interrupted, and killed where it does not end in time. Too late after `succeeded`. */
void attempt_stop(struct attempt *a, enum error_code code, const char *message);

/* The answer to `begun`. Does nothing where the attempt has failed meanwhile. */
void attempt_noted(struct attempt *a);

#endif
