/* What every job store must do, told through its interface alone; each backend runs it. */
#ifndef TESTS_JOB_STORE_SUITE_H
#define TESTS_JOB_STORE_SUITE_H

#include "job/store.h"

/* What the suite cannot know: how to start from nothing. */
struct job_store_backend {
    const char *name;
    struct job_store *(*open)(void); /* an empty store */
    void (*closed)(void);            /* after each close: takes everything away */
    void (*make_due)(void);          /* as if JOB_CLEAR_AGAIN_US had passed for every attempt */
};

/* The number of failed tests. */
int job_store_suite_run(const struct job_store_backend *backend);

/* For a backend's own tests too. One call as the control thread makes it: a transaction and a savepoint
 * around it, undone where it fails. `call` is an expression of the store's api; its value is whether all was
 * well. */
void call_begin(struct job_store *s);
bool call_end(struct job_store *s, bool ok, struct error *e);
#define CALL(s, e, call) (call_begin(s), call_end(s, (call), e))

/* Creates a job of that organisation and user; the test fails if the store does not. `ret_id` may be NULL. */
void create_job(struct job_store *s, const char *org, const char *user, char ret_id[UUID_SIZE]);

#endif
