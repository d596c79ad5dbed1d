/* The dispatcher: claims waiting jobs while a worker is free, and takes each through its attempt to its end in the store.
 *
 * The job store is the truth about what waits; the dispatcher knows only what runs here. It publishes what happens on the hub, after the store has it.
 * All on the event loop. */
#ifndef SERVER_DISPATCHER_H
#define SERVER_DISPATCHER_H

#include "job/store_thread.h"
#include "server/attempt.h"
#include "server/drain_rate.h"
#include "server/hub.h"

struct dispatcher;

struct dispatcher_options {
    struct event_base *base;
    struct store_threads *store;
    struct object_store *objects;
    struct hub *hub;
    const struct attempt_environment *attempts;
    struct drain_rate *drain_rate; /* hears of each end */
    unsigned workers;          /* jobs that run at once */
    /* Claims whenever a worker gets free. Not needed where somebody calls dispatcher_kick() for all that comes to wait
     * (the poller does, soon), but for what an end of a job itself lets go (org_max_running). */
    bool claims_at_each_end;
    uint32_t max_attempts;     /* failures that end a job */
    uint32_t max_rescues;      /* instances that may be lost with it */
    uint64_t retry_delay_ms;   /* retry.h */
    uint64_t link_lifetime_ms; /* of a finished file's link */
};

struct dispatcher *dispatcher_new(const struct dispatcher_options *options, struct error *e);
void dispatcher_free(struct dispatcher *d); /* nothing may run; NULL is fine */

/* From now on jobs are claimed. Not before those of the last run wait again: until then all that run are taken
 * for theirs. */
void dispatcher_start(struct dispatcher *d);

/* Something may wait: looks. To be called after every creation. */
void dispatcher_kick(struct dispatcher *d);

/* The record of a job has been removed: if it runs here, it is stopped. */
void dispatcher_cancel(struct dispatcher *d, const char *id);

/* This instance's name in the store: random, for the life of the process. */
const char *dispatcher_owner(const struct dispatcher *d);

/* The ids of the jobs that run here, but for those that were taken from us, in an array with room for the
 * workers; returns how many. */
size_t dispatcher_running_ids(struct dispatcher *d, char (*ids)[UUID_SIZE]);

/* What the store says of the jobs that are ours (asked for after dispatcher_running_ids()): what runs here and is
 * not among them has been deleted or taken up by another instance, and is stopped; what is among them and does
 * not run here was claimed while the answer was lost, and is put back. */
void dispatcher_keep(struct dispatcher *d, const struct job_id_list *owned, const uint32_t *owned_attempts);

unsigned dispatcher_running(const struct dispatcher *d);

/* The shutdown: claims nothing more; jobs that run may finish for `grace_ms`, what is left then is stopped and put back, not failed.
 * `drained` is called once, on a later turn of the loop, when nothing runs any more. */
void dispatcher_drain(struct dispatcher *d, uint64_t grace_ms, void (*drained)(void *context), void *context);

#endif
