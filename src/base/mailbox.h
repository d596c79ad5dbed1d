/* Work for other threads, and its way back to the event loop.
 *
 * The loop owns all state of the server. What may block runs elsewhere as a `struct task`: the loop fills one, submits
 * it to a task queue (task_queue.h), a thread of that queue calls `work`, and the loop calls `done` when it drains the
 * mailbox. Between submit and `done` the task belongs to the queue: the loop must not touch it.
 *
 * A task is embedded in the struct that carries its arguments and results; CONTAINER_OF finds that again. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <stddef.h>

#include "base/error.h"

struct task {
    struct task *next; /* of the queue or the mailbox; nobody else's */
    struct mailbox *reply_to;
    void (*work)(struct task *task, void *context); /* on a thread of the queue */
    void (*done)(struct task *task);                /* on the loop; may free the task */
};

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* A list of tasks, first in, first out. Not thread-safe by itself. */
struct task_list {
    struct task *first, *last;
};
void task_list_append(struct task_list *l, struct task *t);
struct task *task_list_take(struct task_list *l); /* NULL when empty */

struct mailbox; /* finished tasks on their way to the loop. Any thread posts, one thread drains. */

struct mailbox *mailbox_new(struct error *e);
void mailbox_free(struct mailbox *m); /* tasks still inside are not called */

/* Readable (level-triggered) while there is something to drain. Stays the mailbox's. */
int mailbox_fd(const struct mailbox *m);
void mailbox_post(struct mailbox *m, struct task *t);

/* Calls `done` of what is there now, in the order of posting. What these calls post waits for the next drain. */
void mailbox_drain(struct mailbox *m);

/* The same for at most `limit` of them; what is left keeps the descriptor readable. */
void mailbox_drain_some(struct mailbox *m, size_t limit);

#endif
