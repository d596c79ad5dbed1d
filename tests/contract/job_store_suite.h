/* What every job store must do, told through its interface alone; each backend runs it. In three parts: the
 * queue (job_store_queue.c), its bounds and what is tried again (job_store_retries.c), and the records
 * (job_store_records.c). */
#ifndef TESTS_JOB_STORE_SUITE_H
#define TESTS_JOB_STORE_SUITE_H

#include "job/store.h"

/* What the suite cannot know: how to start from nothing. */
struct job_store_backend {
    const char *name;
    struct job_store *(*open)(void); /* an empty store */
    void (*closed)(void);            /* after each close: takes everything away */
    void (*make_due)(void);          /* as if JOB_CLEAR_AGAIN_US had passed for every attempt */
    void (*make_due_in_a_minute)(void); /* as if JOB_CLEAR_RETRY_US had passed */
    bool many_sweep;                 /* several sweepers may be at work on it */
};

/* The number of failed tests. */
int job_store_queue_run(const struct job_store_backend *backend);
int job_store_retries_run(const struct job_store_backend *backend);
int job_store_records_run(const struct job_store_backend *backend);

/* Whether calls are made as those of a batch are, else as one that is alone. */
extern bool suite_together;

/* All of it, with calls of both kinds. */
static inline int job_store_suite_run(const struct job_store_backend *backend)
{
    int failed = 0;
    for (int together = 0; together < 2; together++) {
        suite_together = together;
        failed += job_store_queue_run(backend) + job_store_retries_run(backend) + job_store_records_run(backend);
    }
    return failed;
}

/* A test's empty store of the backend whose suite runs, and its end. */
extern const struct job_store_backend *suite_backend;
int suite_open(void **state);
int suite_close(void **state);

/* For a backend's own tests too (job_store_calls.c). One call as the control thread makes it: a
 * transaction (and, together, a savepoint) around it, undone where it fails. `call` is an expression of the store's
 * api; its value is whether all was well. (s->api->fail)(...): cmocka has a macro of that name. */
void call_begin(struct job_store *s);
bool call_end(struct job_store *s, bool ok, struct error *e);
#define CALL(s, e, call) (call_begin(s), call_end(s, (call), e))

#define OWNER "boot-1"
#define FAR_AWAY 4102444800000000 /* 2100-01-01 */
#define SHA256_TEXT "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The store, with so much room for all organisations and for each; of requeue(), claim() where nobody looks. */
struct job_store *bound_queue(struct job_store *s, uint64_t queue_size);
extern int64_t next_ms;

/* The tests below fail where the store does not do what it is asked. Records are the caller's to release. */
bool try_create(struct job_store *s, const char *org, const char *user, uint64_t queue_size, struct job *ret,
                struct error *e);
void create_job(struct job_store *s, const char *org, const char *user,
                char ret_id[UUID_SIZE]); /* NULL is fine */
bool claim_job(struct job_store *s, struct job *ret); /* for OWNER; false: none waits */
struct job fail_new_job(struct job_store *s);         /* of "org", as it was claimed */
struct job_attempt attempt_of(const struct job *j);
struct job_result result_until(int64_t expires_at);
bool publish_job(struct job_store *s, const struct job *j, int64_t expires_at, struct error *e);
struct job get_job(struct job_store *s, const char *org, const char *id);
enum error_code get_job_error(struct job_store *s, const char *org, const char *id);
void assert_status(struct job_store *s, const char *id, enum job_status status, int64_t version);
size_t leftovers(struct job_store *s, bool published_too, struct job_leftover_list *ret);
size_t count_leftovers(struct job_store *s, bool published_too);

/* Attempt 1 was cleared away, for the first time or `again`; or could not be. */
void report_cleaned(struct job_store *s, const char *id, bool again);
void report_not_cleaned(struct job_store *s, const char *id, bool again);

/* Publish, fail, requeue and a note of `a` are all refused, and leave the job as it is; but for the end that
 * the attempt has had already (JOB_PROCESSING: none), whose answer may have been lost. */
void assert_over(struct job_store *s, const struct job_attempt *a, enum job_status ended_as);
void assert_stale(struct job_store *s, const struct job_attempt *a);

#endif
