/* Threads that do what would block the event loop: job store, object store, disk reads.
 *
 * First in, first out; with one thread also one after the other. The queue has no ceiling of its own: each submitter
 * bounds what it has under way (a connection one request, an upload its part buffers, the dispatcher its workers). */
#ifndef BASE_TASK_QUEUE_H
#define BASE_TASK_QUEUE_H

#include "base/mailbox.h"

struct task_queue;

struct task_queue_options {
    const char *name;     /* of its threads, at most 15 bytes */
    unsigned threads;     /* 1 to 64 */
    struct mailbox *done; /* where finished tasks go */
    void *context;        /* second argument of every `work` */
    /* Optional, one thread only: is handed all that waits at once, and calls mailbox_post() for each itself. */
    void (*work_batch)(struct task_list *tasks, void *context);
};

struct task_queue *task_queue_new(const struct task_queue_options *options, struct error *e);

/* Any thread. `t->work` and `t->done` are set. */
void task_queue_submit(struct task_queue *q, struct task *t);

/* Finishes what was submitted, ends the threads, frees. Drain the mailbox afterwards. NULL is fine. */
void task_queue_free(struct task_queue *q);

#endif
