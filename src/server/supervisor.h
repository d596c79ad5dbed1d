/* Worker processes: starting one, its messages, its end. One process serves one job, which it may get some time after its start.
 *
 * A worker is started by exec with an empty environment, a process group of its own and four descriptors: 0 and 1 are /dev/null, 2 is a
 * pipe of which we keep what is worth logging, 3 is the message socket (link/message.h). Or a template (worker/template.h), which was
 * started so, makes it: with the same descriptors, our child as well, in the template's process group. All calls and all events are on the
 * event loop. */
#ifndef SERVER_SUPERVISOR_H
#define SERVER_SUPERVISOR_H

#include <event2/event.h>

#include "base/secret_scan.h"
#include "link/message.h"
#include "link/parts.h"

struct worker_process;

struct worker_process_events {
    /* A message of right shape; whether it makes sense is the receiver's to check. */
    void (*message)(void *context, const struct link_message *m);

    /* Of one that a template was to make: the template cannot, or is gone; there is no process. The last event: what stood for it is
     * freed when it returns. */
    void (*not_made)(void *context);

    /* The process has ended and its messages have all been delivered. `how` is for people: "exit status 1", "signal 11 (Segmentation
     * fault)". The last event: the process is freed when it returns. */
    void (*exited)(void *context, const char *how);
};

struct worker_process_options {
    struct event_base *base;
    const char *program; /* path of downloads-worker */
    const char *job;     /* download id, for the log; "" while there is none; copied */
    int spec_fd;         /* of link/worker_spec.h, goes with OPEN; stays the caller's */
    const struct secret_patterns *secrets; /* neither logged nor told, whatever the worker says; NULL: none */
    bool is_template;                      /* the specification says so too */
    unsigned *crashes;                     /* raised when it dies by a signal that is not ours; outlives it; NULL: not counted */
    const struct worker_process_events *events;
    void *context;
};

/* Starts a process and gives it its source. READY or FAILED follows. NULL: `e` says why, nothing is left. */
struct worker_process *worker_process_start(const struct worker_process_options *options, struct error *e);

/* A process that `template` is to make once it is ready, with that directory as its current one; spec_fd is not used. READY follows, or
 * FAILED where the template fails, or not_made; never before this returns. NULL: `e` says why, nothing is left. */
struct worker_process *worker_process_fork(struct worker_process *template, const struct worker_process_options *options,
                                           const char *directory, struct error *e);

/* A template is wanted no longer: it ends when it has made those that it has been asked for. */
void worker_process_retire(struct worker_process *template);

/* Since when a template owes an answer (clock_monotonic_ms()); 0: it does not. */
int64_t worker_process_owes_since(const struct worker_process *template);

/* From now on the process works for this job, and its events go there. */
void worker_process_hand_over(struct worker_process *w, const char *job, const struct worker_process_events *events, void *context);

/* START, after READY; the descriptors stay the caller's. A worker that does not take it is killed. */
void worker_process_begin(struct worker_process *w, int spec_fd, int parts_fd);

/* FREE or CANCEL. A worker that does not take its messages is killed. */
void worker_process_send(struct worker_process *w, enum link_type type, uint32_t buffer);

/* BUFFERS; the descriptor stays the caller's. A worker that does not take it is killed. */
void worker_process_grow(struct worker_process *w, const struct parts *grown);

/* SIGKILL; `exited` follows. */
void worker_process_kill(struct worker_process *w);

/* Kills it, waits for its end and frees it: no event comes any more. For the end of the server. NULL is fine. */
void worker_process_free(struct worker_process *w);

#endif
