#include "job_store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

const struct job_store_backend *suite_backend;
bool suite_together;

int suite_open(void **state)
{
    *state = suite_backend->open();
    return *state ? 0 : -1;
}

int suite_close(void **state)
{
    struct job_store *s = *state;
    s->api->close(s);
    suite_backend->closed();
    return 0;
}

void call_begin(struct job_store *s)
{
    struct error e = {0};
    if (suite_together)
        assert_true(s->api->begin(s, &e) && s->api->savepoint(s, &e));
    else
        assert_true(s->api->begin_one(s, &e));
}

bool call_end(struct job_store *s, bool ok, struct error *e)
{
    struct error end = {0};
    if (!suite_together && !ok)
        s->api->rollback(s);
    else if (suite_together && !ok)
        s->api->rollback_to(s);
    else if (suite_together)
        assert_true(s->api->release(s, &end));
    if (ok || suite_together)
        assert_true(s->api->commit(s, &end));
    if (!ok)
        assert_int_not_equal(e->code, ERROR_NONE);
    return ok;
}

int64_t next_ms;

struct job_store *bound_queue(struct job_store *s, uint64_t queue_size)
{
    s->bounds.queue_size = s->bounds.org_max_queued = queue_size;
    return s;
}

bool try_create(struct job_store *s, const char *org, const char *user, uint64_t queue_size, struct job *ret,
                struct error *e)
{
    struct job_request r = {
        .user_id = user, .org_id = org, .dataset_id = "set", .sql = "SELECT 'ä'", .format = "csv"};
    bound_queue(s, queue_size);
    return CALL(s, e, s->api->create(s, &r, ret, e));
}

void create_job(struct job_store *s, const char *org, const char *user, char ret_id[UUID_SIZE])
{
    struct error e = {0};
    struct job j = {0};
    if (!try_create(s, org, user, 1000, &j, &e))
        fail_msg("%s", e.message);
    if (ret_id)
        memcpy(ret_id, j.id, UUID_SIZE);
    job_release(&j);
}

bool claim_job(struct job_store *s, struct job *ret)
{
    struct error e = {0};
    struct job_list list = {0};
    assert_true(CALL(s, &e, s->api->claim(s, OWNER, 1, &list, &next_ms, &e)));
    bool found = list.count == 1;
    if (found) {
        *ret = list.jobs[0];
        list.count = 0; /* the texts have moved */
    }
    job_list_release(&list);
    return found;
}

struct job_attempt attempt_of(const struct job *j)
{
    return (struct job_attempt){.id = j->id, .attempt = j->attempt, .owner = OWNER};
}

struct job fail_new_job(struct job_store *s)
{
    struct error e = {0}, why = {.code = ERROR_QUERY};
    struct job j = {0}, failed = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    struct job_attempt a = attempt_of(&j);
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &failed, &e)));
    job_release(&failed);
    return j;
}

struct job_result result_until(int64_t expires_at)
{
    return (struct job_result){.object_key = "org/key.csv",
                               .link = "http://host/files/key?signature=s",
                               .expires_at = expires_at,
                               .rows = 3,
                               .bytes = 42,
                               .sha256 = SHA256_TEXT};
}

bool publish_job(struct job_store *s, const struct job *j, int64_t expires_at, struct error *e)
{
    struct job_attempt a = attempt_of(j);
    struct job_result r = result_until(expires_at);
    struct job done = {0};
    bool ok = CALL(s, e, s->api->publish(s, &a, &r, &done, e));
    job_release(&done);
    return ok;
}

struct job get_job(struct job_store *s, const char *org, const char *id)
{
    struct error e = {0};
    struct job j = {0};
    if (!s->api->get(s, org, id, &j, &e))
        fail_msg("%s", e.message);
    return j;
}

enum error_code get_job_error(struct job_store *s, const char *org, const char *id)
{
    struct error e = {0};
    struct job j = {0};
    assert_false(s->api->get(s, org, id, &j, &e));
    return e.code;
}

void assert_status(struct job_store *s, const char *id, enum job_status status, int64_t version)
{
    struct job j = get_job(s, "org", id);
    assert_string_equal(job_status_name(j.status), job_status_name(status));
    assert_int_equal(j.version, version);
    job_release(&j);
}

size_t leftovers(struct job_store *s, bool published_too, struct job_leftover_list *ret)
{
    struct error e = {0};
    job_leftover_list_release(ret);
    assert_true(CALL(s, &e, s->api->leftovers(s, 100, published_too, ret, &e)));
    return ret->count;
}

size_t count_leftovers(struct job_store *s, bool published_too)
{
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    return leftovers(s, published_too, &list);
}

static struct job_leftover leftover(const char *id, bool again)
{
    struct job_leftover l = {.attempt = 1, .again = again};
    snprintf(l.id, sizeof l.id, "%s", id);
    return l;
}

void report_cleaned(struct job_store *s, const char *id, bool again)
{
    struct error e = {0};
    const struct job_leftover l = leftover(id, again);
    assert_true(CALL(s, &e, s->api->cleaned(s, &l, &e)));
}

void report_not_cleaned(struct job_store *s, const char *id, bool again)
{
    struct error e = {0};
    const struct job_leftover l = leftover(id, again);
    assert_true(CALL(s, &e, s->api->not_cleaned(s, &l, &e)));
}

void assert_over(struct job_store *s, const struct job_attempt *a, enum job_status ended_as)
{
    struct error e = {0}, why = {.code = ERROR_QUERY};
    struct job_result r = result_until(FAR_AWAY);
    struct job j = {0};
    const struct {
        enum job_status as;
        bool ok;
    } calls[] = {
        {JOB_COMPLETED, CALL(s, &e, s->api->publish(s, a, &r, &j, &e))},
        {JOB_FAILED, CALL(s, &e, (s->api->fail)(s, a, &why, &j, &e))},
        {JOB_PENDING, CALL(s, &e, s->api->requeue(s, a, NULL, 0, &j, &e))},
        {JOB_EXPIRED, CALL(s, &e, s->api->note_upload(s, a, "upload", &e))},
    };
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        assert_int_equal(calls[i].ok, calls[i].as == ended_as);
    assert_int_equal(e.code, ERROR_STALE);
    job_release(&j);
}

void assert_stale(struct job_store *s, const struct job_attempt *a)
{
    assert_over(s, a, JOB_PROCESSING);
}
