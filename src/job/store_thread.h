/* The two threads on which the job store is called, and the way there from the event loop.
 *
 * `control` does every write: creations, claims, progress, ends, deletions. A task that is there alone has a
 * transaction to itself (job_store_api.begin_one); what waits together is committed together: one transaction for
 * all tasks that are there, a savepoint each. `api` does reads (get, list),
 * each a statement outside of a transaction, so that no user's query delays a claim. */
#ifndef JOB_STORE_THREAD_H
#define JOB_STORE_THREAD_H

#include "base/mailbox.h"
#include "job/store.h"

/* One call of the store. Embedded in the struct that carries its arguments and results.
 *
 * `done` looks at `ok` alone. A commit that fails comes after `call` was well: then `ok` is false although
 * the results are filled, so `done` releases them in either case. */
struct store_task {
    struct task task; /* of store_thread.c */
    /* On the store thread: a call of the store's api, or several that may each stand without the others. */
    bool (*call)(struct job_store *s, struct store_task *t, struct error *e);
    void (*done)(struct store_task *t); /* on the loop; may free the task */
    bool ok;                            /* for `done` */
    struct error error;                 /* where it is not ok */
    bool outside;                       /* of any transaction; of store_thread.c */
};

struct store_threads;

struct store_threads_options {
    /* Called by store_threads_new(), for `control` and then for `api`. */
    struct job_store *(*open)(void *context, bool for_control, struct error *e);
    void *context;
    struct mailbox *done;
};

/* Blocks until both stores are open. NULL on failure. */
struct store_threads *store_threads_new(const struct store_threads_options *options, struct error *e);

/* What the backend is, and can; constant. */
const struct job_store_api *store_threads_api(const struct store_threads *s);

/* Loop only. `t->call` and `t->done` are set. In the order of submission within one thread. */
void store_threads_write(struct store_threads *s, struct store_task *t);

/* On the control thread, too, where no user's read delays it, but outside of any transaction; before those that
 * wait there. */
void store_threads_look(struct store_threads *s, struct store_task *t);
void store_threads_read(struct store_threads *s, struct store_task *t);

/* Finishes what was submitted, ends the threads, closes the stores. Drain the mailbox afterwards. NULL is
 * fine. */
void store_threads_free(struct store_threads *s);

#endif
