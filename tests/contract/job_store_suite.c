#include "job_store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define OWNER "boot-1"
#define QUEUE_SIZE 1000
#define FAR_AWAY 4102444800000000 /* 2100-01-01 */
#define SHA256_TEXT "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct job_store_backend *backend;

/* (s->api->fail)(...) below: cmocka has a macro of that name. */

void call_begin(struct job_store *s)
{
    struct error e = {0};
    assert_true(s->api->begin(s, &e));
    assert_true(s->api->savepoint(s, &e));
}

bool call_end(struct job_store *s, bool ok, struct error *e)
{
    struct error end = {0};
    if (ok)
        assert_true(s->api->release(s, &end));
    else
        s->api->rollback_to(s);
    assert_true(s->api->commit(s, &end));
    if (!ok)
        assert_int_not_equal(e->code, ERROR_NONE);
    return ok;
}

static bool try_create(struct job_store *s, const char *org, const char *user, uint64_t queue_size,
                       struct job *ret, struct error *e)
{
    struct job_request r = {
        .user_id = user, .org_id = org, .dataset_id = "set", .sql = "SELECT 'ä'", .format = "csv"};
    return CALL(s, e, s->api->create(s, &r, queue_size, ret, e));
}

void create_job(struct job_store *s, const char *org, const char *user, char ret_id[UUID_SIZE])
{
    struct error e = {0};
    struct job j = {0};
    if (!try_create(s, org, user, QUEUE_SIZE, &j, &e))
        fail_msg("%s", e.message);
    if (ret_id)
        memcpy(ret_id, j.id, UUID_SIZE);
    job_release(&j);
}

/* Claims one job; `ret` is the caller's to release. False: none waits. */
static bool claim_one(struct job_store *s, struct job *ret)
{
    struct error e = {0};
    struct job_list list = {0};
    assert_true(CALL(s, &e, s->api->claim(s, OWNER, 1, &list, &e)));
    bool found = list.count == 1;
    if (found) {
        *ret = list.jobs[0];
        list.count = 0; /* the texts have moved */
    }
    job_list_release(&list);
    return found;
}

static struct job_attempt attempt_of(const struct job *j)
{
    return (struct job_attempt){.id = j->id, .attempt = j->attempt, .owner = OWNER};
}

static struct job_result result_until(int64_t expires_at)
{
    return (struct job_result){.object_key = "org/key.csv",
                               .link = "http://host/files/key?signature=s",
                               .expires_at = expires_at,
                               .rows = 3,
                               .bytes = 42,
                               .sha256 = SHA256_TEXT};
}

static bool publish(struct job_store *s, const struct job *j, int64_t expires_at, struct error *e)
{
    struct job_attempt a = attempt_of(j);
    struct job_result r = result_until(expires_at);
    struct job done = {0};
    bool ok = CALL(s, e, s->api->publish(s, &a, &r, &done, e));
    job_release(&done);
    return ok;
}

static struct job get(struct job_store *s, const char *org, const char *id)
{
    struct error e = {0};
    struct job j = {0};
    if (!s->api->get(s, org, id, &j, &e))
        fail_msg("%s", e.message);
    return j;
}

static enum error_code get_error(struct job_store *s, const char *org, const char *id)
{
    struct error e = {0};
    struct job j = {0};
    assert_false(s->api->get(s, org, id, &j, &e));
    return e.code;
}

static void assert_status(struct job_store *s, const char *id, enum job_status status, int64_t version)
{
    struct job j = get(s, "org", id);
    assert_string_equal(job_status_name(j.status), job_status_name(status));
    assert_int_equal(j.version, version);
    job_release(&j);
}

static size_t leftovers(struct job_store *s, bool published_too, struct job_leftover_list *ret)
{
    struct error e = {0};
    job_leftover_list_release(ret);
    assert_true(CALL(s, &e, s->api->leftovers(s, 100, published_too, ret, &e)));
    return ret->count;
}

static size_t count_leftovers(struct job_store *s, bool published_too)
{
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    return leftovers(s, published_too, &list);
}

static void a_new_job_is_pending_and_whole(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    assert_true(try_create(s, "org", "user", 1, &j, &e));
    struct job again = get(s, "org", j.id);
    char uuid[UUID_SIZE];
    assert_true(uuid_parse(again.id, uuid));
    assert_string_equal(again.user_id, "user");
    assert_string_equal(again.org_id, "org");
    assert_string_equal(again.dataset_id, "set");
    assert_string_equal(again.sql, "SELECT 'ä'");
    assert_string_equal(again.format, "csv");
    assert_int_equal(again.status, JOB_PENDING);
    assert_int_equal(again.version, 1);
    assert_int_equal(again.attempt, 0);
    assert_true(again.created_at > 0);
    assert_int_equal(again.created_at, j.created_at);
    assert_int_equal(again.updated_at, j.created_at);
    assert_int_equal(again.completed_at, 0);
    assert_int_equal(again.expires_at, 0);
    assert_null(again.link);
    assert_null(again.error_message);
    assert_int_equal(again.error_code, ERROR_NONE);
    assert_true(again.percent < 0);
    assert_string_equal(again.sha256, "");
    job_release(&again);
    job_release(&j);
}

static void what_waits_is_limited(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0}, claimed = {0};
    for (int i = 0; i < 3; i++) {
        assert_true(try_create(s, "org", "user", 3, &j, &e));
        job_release(&j);
    }
    assert_false(try_create(s, "org", "user", 3, &j, &e));
    assert_int_equal(e.code, ERROR_QUEUE_FULL);
    assert_false(try_create(s, "other", "user", 3, &j, &e)); /* for all organisations together */

    /* What runs has left the waiting room; what is put back or removed counts again as it should. */
    assert_true(claim_one(s, &claimed));
    assert_true(try_create(s, "org", "user", 3, &j, &e));
    struct job_attempt a = attempt_of(&claimed);
    struct job back = {0};
    assert_true(CALL(s, &e, s->api->requeue(s, &a, &back, &e)));
    job_release(&back);
    struct job unused = {0};
    assert_false(try_create(s, "org", "user", 4, &unused, &e));
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, "org", j.id, &found, &e)));
    assert_true(found);
    assert_false(try_create(s, "org", "user", 3, &unused, &e));
    job_release(&j);
    assert_true(try_create(s, "org", "user", 4, &j, &e));
    job_release(&j);

    struct job_list list = {0};
    assert_true(CALL(s, &e, s->api->list(s, "org", "user", 100, 0, &list, &e)));
    assert_int_equal(list.count, 4); /* the refused left nothing */
    job_list_release(&list);
    job_release(&claimed);
}

static void organisations_take_turns(void **state)
{
    struct job_store *s = *state;
    char big[100][UUID_SIZE], small[2][UUID_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(big); i++)
        create_job(s, "big", "user", big[i]);
    for (size_t i = 0; i < ARRAY_SIZE(small); i++)
        create_job(s, "small", "user", small[i]);
    const char *expected[] = {big[0], small[0], big[1], small[1], big[2], big[3]};
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        struct job j = {0};
        assert_true(claim_one(s, &j));
        assert_string_equal(j.id, expected[i]);
        job_release(&j);
    }
    /* Four of the big one run and 96 wait: a newcomer is behind at most one of these. */
    char late[UUID_SIZE];
    create_job(s, "late", "user", late);
    struct error e = {0};
    struct job_list list = {0};
    assert_true(CALL(s, &e, s->api->claim(s, OWNER, 2, &list, &e)));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.jobs[0].id, big[4]);
    assert_string_equal(list.jobs[1].id, late);
    job_list_release(&list);
}

static void a_claimed_job_is_processing(void **state)
{
    struct job_store *s = *state;
    struct job j = {0}, none = {0};
    char id[UUID_SIZE];
    assert_false(claim_one(s, &none));
    create_job(s, "org", "user", id);
    assert_true(claim_one(s, &j));
    assert_string_equal(j.id, id);
    assert_int_equal(j.status, JOB_PROCESSING);
    assert_int_equal(j.attempt, 1);
    assert_int_equal(j.version, 2);
    assert_status(s, id, JOB_PROCESSING, 2);
    assert_false(claim_one(s, &none));
    assert_int_equal(count_leftovers(s, true), 0); /* it runs */
    job_release(&j);
}

/* Publish, fail, requeue and a note of `a` are all refused, and leave the job as it is; but for the end that
 * the attempt has had already (JOB_PROCESSING: none), whose answer may have been lost. */
static void assert_over(struct job_store *s, const struct job_attempt *a, enum job_status ended_as)
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
        {JOB_PENDING, CALL(s, &e, s->api->requeue(s, a, &j, &e))},
        {JOB_EXPIRED, CALL(s, &e, s->api->note_upload(s, a, "upload", &e))},
    };
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        assert_int_equal(calls[i].ok, calls[i].as == ended_as);
    assert_int_equal(e.code, ERROR_STALE);
    job_release(&j);
}

static void assert_stale(struct job_store *s, const struct job_attempt *a)
{
    assert_over(s, a, JOB_PROCESSING);
}

static void a_published_job_has_its_result(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_one(s, &j));
    assert_true(publish(s, &j, FAR_AWAY, &e));
    struct job done = get(s, "org", j.id);
    assert_int_equal(done.status, JOB_COMPLETED);
    assert_int_equal(done.version, 3);
    assert_string_equal(done.link, "http://host/files/key?signature=s");
    assert_int_equal(done.expires_at, FAR_AWAY);
    assert_int_equal(done.rows, 3);
    assert_int_equal(done.bytes, 42);
    assert_string_equal(done.sha256, SHA256_TEXT);
    assert_true(done.completed_at >= done.created_at);
    assert_int_equal(done.completed_at, done.updated_at);
    assert_null(done.error_message);
    assert_int_equal(count_leftovers(s, true), 0);
    job_release(&done);

    /* Once only; told again, it is well, and nothing changes. */
    struct job_attempt a = attempt_of(&j);
    assert_over(s, &a, JOB_COMPLETED);
    assert_status(s, j.id, JOB_COMPLETED, 3);
    job_release(&j);
}

static void a_failed_job_has_its_reason(void **state)
{
    struct job_store *s = *state;
    struct error e = {0}, why = {0};
    struct job j = {0}, failed = {0};
    error_set(&why, ERROR_QUERY, "no such column: \"ü\"");
    create_job(s, "org", "user", NULL);
    assert_true(claim_one(s, &j));
    struct job_attempt a = attempt_of(&j);
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &failed, &e)));
    assert_int_equal(failed.status, JOB_FAILED);
    struct job again = get(s, "org", j.id);
    assert_int_equal(again.status, JOB_FAILED);
    assert_int_equal(again.version, 3);
    assert_string_equal(again.error_message, "no such column: \"ü\"");
    assert_int_equal(again.error_code, ERROR_QUERY);
    assert_true(again.completed_at > 0);
    assert_null(again.link);
    job_release(&again);
    job_release(&failed);

    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    assert_int_equal(leftovers(s, false, &list), 1);
    assert_string_equal(list.items[0].id, j.id);
    struct job none = {0};
    assert_false(claim_one(s, &none));
    assert_over(s, &a, JOB_FAILED);
    assert_status(s, j.id, JOB_FAILED, 3);
    job_release(&j);
}

static void attempts_are_fenced(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job first = {0}, second = {0}, back = {0};
    char id[UUID_SIZE];
    create_job(s, "org", "user", id);
    assert_stale(s, &(struct job_attempt){.id = id, .attempt = 0, .owner = OWNER}); /* it waits */
    assert_true(claim_one(s, &first));
    struct job_attempt a = attempt_of(&first);
    assert_stale(s, &(struct job_attempt){.id = id, .attempt = 1, .owner = "boot-2"});
    assert_stale(s, &(struct job_attempt){.id = id, .attempt = 2, .owner = OWNER});
    assert_stale(
        s, &(struct job_attempt){.id = "00000000-0000-4000-8000-000000000000", .attempt = 1, .owner = OWNER});
    assert_status(s, id, JOB_PROCESSING, 2);

    assert_true(CALL(s, &e, s->api->requeue(s, &a, &back, &e)));
    assert_over(s, &a, JOB_PENDING);
    assert_status(s, id, JOB_PENDING, 3);
    assert_true(claim_one(s, &second));
    assert_int_equal(second.attempt, 2);
    assert_stale(s, &a);
    assert_status(s, id, JOB_PROCESSING, 4);
    assert_true(publish(s, &second, FAR_AWAY, &e));
    struct job_attempt b = attempt_of(&second);
    assert_over(s, &b, JOB_COMPLETED);
    assert_status(s, id, JOB_COMPLETED, 5);
    job_release(&first);
    job_release(&second);
    job_release(&back);
}

static void a_job_put_back_keeps_its_place(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0}, back = {0}, again = {0};
    char id[UUID_SIZE];
    create_job(s, "org", "user", id);
    create_job(s, "org", "user", NULL);
    create_job(s, "other", "user", NULL);
    assert_true(claim_one(s, &j));
    assert_string_equal(j.id, id);
    struct job_progress p = {.attempt = j.attempt, .rows = 10, .bytes = 100, .percent = 50};
    memcpy(p.id, id, sizeof p.id);
    assert_true(CALL(s, &e, s->api->progress(s, &p, 1, &e)));
    struct job_attempt a = attempt_of(&j);
    assert_true(CALL(s, &e, s->api->requeue(s, &a, &back, &e)));
    assert_int_equal(back.status, JOB_PENDING);
    assert_int_equal(back.version, 3);
    assert_int_equal(back.attempt, 1);
    assert_int_equal(back.rows, 0);
    assert_true(back.percent < 0);
    assert_null(back.error_message); /* not a failure */
    assert_int_equal(back.error_code, ERROR_NONE);
    assert_int_equal(back.completed_at, 0);
    assert_true(CALL(s, &e, s->api->progress(s, &p, 1, &e))); /* late: it waits */
    struct job waiting = get(s, "org", id);
    assert_int_equal(waiting.rows, 0);
    job_release(&waiting);

    assert_true(claim_one(s, &again));
    assert_string_equal(again.id, id);
    assert_int_equal(again.attempt, 2);

    /* The first attempt's object may be cleared away, and is not the second's. */
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    assert_int_equal(leftovers(s, false, &list), 1);
    assert_int_equal(list.items[0].attempt, 1);
    char key[128];
    snprintf(key, sizeof key, "org/%s.csv", id);
    assert_string_equal(list.items[0].object_key, key);
    job_release(&j);
    job_release(&back);
    job_release(&again);
}

static void what_ran_at_a_crash_waits_again(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    char ids[3][UUID_SIZE];
    struct job j = {0};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        create_job(s, "org", "user", ids[i]);
    for (size_t i = 0; i < 2; i++) {
        assert_true(claim_one(s, &j));
        job_release(&j);
    }
    size_t count = 99;
    assert_true(CALL(s, &e, s->api->recover(s, &count, &e)));
    assert_int_equal(count, 2);
    assert_status(s, ids[0], JOB_PENDING, 3);
    assert_status(s, ids[2], JOB_PENDING, 1);
    assert_int_equal(count_leftovers(s, false), 2);
    assert_over(s, &(struct job_attempt){.id = ids[0], .attempt = 1, .owner = OWNER}, JOB_PENDING);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_true(claim_one(s, &j));
        assert_string_equal(j.id, ids[i]);
        assert_int_equal(j.attempt, i < 2 ? 2 : 1);
        job_release(&j);
    }
    assert_true(CALL(s, &e, s->api->recover(s, &count, &e)));
    assert_int_equal(count, 3);
    assert_true(CALL(s, &e, s->api->recover(s, &count, &e)));
    assert_int_equal(count, 0);
}

static void lists_are_newest_first_and_private(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    char ids[5][UUID_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        create_job(s, "org", "user", ids[i]);
        create_job(s, "org", "another", NULL);
        create_job(s, "other", "user", NULL);
    }
    static const struct {
        size_t limit, offset, count;
    } pages[] = {{10, 0, 5}, {2, 0, 2}, {2, 2, 2}, {2, 4, 1}, {2, 5, 0}, {0, 0, 0}, {10, 1000000, 0}};
    for (size_t p = 0; p < ARRAY_SIZE(pages); p++) {
        struct job_list list = {0};
        assert_true(s->api->list(s, "org", "user", pages[p].limit, pages[p].offset, &list, &e));
        assert_int_equal(list.count, pages[p].count);
        for (size_t i = 0; i < list.count; i++)
            assert_string_equal(list.jobs[i].id, ids[ARRAY_SIZE(ids) - 1 - pages[p].offset - i]);
        job_list_release(&list);
    }
    struct job_list list = {0};
    assert_true(s->api->list(s, "nobody", "user", 10, 0, &list, &e));
    assert_int_equal(list.count, 0);
    job_list_release(&list);
}

static void long_lists_are_whole(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    for (int i = 0; i < 40; i++)
        create_job(s, "org", "user", NULL);
    struct job_list list = {0};
    assert_true(CALL(s, &e, s->api->claim(s, OWNER, 100, &list, &e)));
    assert_int_equal(list.count, 40);
    for (size_t i = 0; i < list.count; i++)
        assert_string_equal(list.jobs[i].org_id, "org");
    job_list_release(&list);
    assert_true(s->api->list(s, "org", "user", 100, 0, &list, &e));
    assert_int_equal(list.count, 40);
    for (size_t i = 0; i < list.count; i++)
        assert_int_equal(list.jobs[i].status, JOB_PROCESSING);
    job_list_release(&list);
}

static void lists_hold_the_beginning_of_long_sql(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    /* Characters, not bytes: "é" has two. */
    char *sql = malloc(2 * JOB_LIST_SQL_MAX + 2);
    assert_non_null(sql);
    for (size_t i = 0; i < JOB_LIST_SQL_MAX; i++)
        memcpy(sql + 2 * i, "é", 2);
    for (size_t longer = 0; longer < 2; longer++) {
        memcpy(sql + 2 * JOB_LIST_SQL_MAX, longer ? "x" : "", longer ? 2 : 1);
        struct job_request r = {"user", "org", "dataset", sql, "csv"};
        struct job made = {0};
        assert_true(CALL(s, &e, s->api->create(s, &r, 1000, &made, &e)));
        struct job_list list = {0};
        assert_true(s->api->list(s, "org", "user", 1, 0, &list, &e));
        assert_int_equal(strlen(list.jobs[0].sql), 2 * JOB_LIST_SQL_MAX);
        assert_int_equal(list.jobs[0].sql_cut, longer);
        struct job whole = get(s, "org", made.id);
        assert_string_equal(whole.sql, sql);
        assert_false(whole.sql_cut);
        job_release(&whole);
        job_release(&made);
        job_list_release(&list);
    }
    free(sql);
}

static void a_record_is_its_organisations(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    char id[UUID_SIZE];
    create_job(s, "org", "user", id);
    struct job j = get(s, "org", id);
    job_release(&j);
    assert_int_equal(get_error(s, "other", id), ERROR_NOT_FOUND);
    assert_int_equal(get_error(s, "org", "00000000-0000-4000-8000-000000000000"), ERROR_NOT_FOUND);
    assert_int_equal(get_error(s, "org", "' OR 1=1 --"), ERROR_NOT_FOUND);
    bool found = true;
    assert_true(CALL(s, &e, s->api->remove(s, "other", id, &found, &e)));
    assert_false(found);
    assert_status(s, id, JOB_PENDING, 1);
}

static void removed_jobs_are_gone(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job done = {0}, running = {0}, none = {0};
    char waiting[UUID_SIZE];
    create_job(s, "org", "user", NULL);
    create_job(s, "org", "user", NULL);
    create_job(s, "org", "user", waiting);
    assert_true(claim_one(s, &done));
    assert_true(publish(s, &done, FAR_AWAY, &e));
    assert_true(claim_one(s, &running));

    const char *ids[] = {waiting, running.id, done.id};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        bool found = false;
        assert_true(CALL(s, &e, s->api->remove(s, "org", ids[i], &found, &e)));
        assert_true(found);
        assert_int_equal(get_error(s, "org", ids[i]), ERROR_NOT_FOUND);
        assert_true(CALL(s, &e, s->api->remove(s, "org", ids[i], &found, &e)));
        assert_false(found);
    }
    assert_false(claim_one(s, &none));
    struct job_attempt a = attempt_of(&running);
    assert_stale(s, &a);

    /* The running one's object may go; the published one's stays. */
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    assert_int_equal(leftovers(s, true, &list), 1);
    assert_string_equal(list.items[0].id, running.id);
    job_release(&done);
    job_release(&running);
}

static void links_expire(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job over[3] = {0}, fresh = {0};
    for (size_t i = 0; i < 4; i++)
        create_job(s, "org", "user", NULL);
    for (size_t i = 0; i < ARRAY_SIZE(over); i++) {
        assert_true(claim_one(s, &over[i]));
        assert_true(publish(s, &over[i], (int64_t)i + 1, &e));
    }
    assert_true(claim_one(s, &fresh));
    assert_true(publish(s, &fresh, FAR_AWAY, &e));
    size_t count = 0;
    assert_true(CALL(s, &e, s->api->expire(s, 2, &count, &e)));
    assert_int_equal(count, 2);
    assert_status(s, over[0].id, JOB_EXPIRED, 4);
    assert_status(s, over[1].id, JOB_EXPIRED, 4);
    assert_status(s, over[2].id, JOB_COMPLETED, 3);
    assert_true(CALL(s, &e, s->api->expire(s, 10, &count, &e)));
    assert_int_equal(count, 1);
    assert_true(CALL(s, &e, s->api->expire(s, 10, &count, &e)));
    assert_int_equal(count, 0);
    assert_status(s, fresh.id, JOB_COMPLETED, 3);
    struct job j = get(s, "org", over[0].id);
    assert_non_null(j.link); /* the record as it was */
    assert_int_equal(j.rows, 3);
    job_release(&j);

    /* Their objects are for the local store to clear away, the record deleted or not. */
    assert_int_equal(count_leftovers(s, false), 0);
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, "org", over[1].id, &found, &e)));
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    assert_int_equal(leftovers(s, true, &list), 3);
    assert_string_equal(list.items[0].object_key, "org/key.csv");
    for (size_t i = 0; i < ARRAY_SIZE(over); i++) {
        assert_true(CALL(s, &e, s->api->cleaned(s, over[i].id, 1, &e)));
        assert_int_equal(count_leftovers(s, true), 2 - i);
        job_release(&over[i]);
    }
    job_release(&fresh);
}

static void what_runs_is_never_cleaned(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_one(s, &j));
    assert_true(CALL(s, &e, s->api->cleaned(s, j.id, 1, &e)));
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, "org", j.id, &found, &e)));
    assert_int_equal(count_leftovers(s, false), 1); /* so it was kept */
    assert_true(CALL(s, &e, s->api->cleaned(s, j.id, 1, &e)));
    assert_int_equal(count_leftovers(s, false), 0);
    job_release(&j);
}

static void what_an_attempt_left_is_cleared_twice(void **state)
{
    struct job_store *s = *state;
    struct error e = {0}, why = {.code = ERROR_QUERY};
    struct job j = {0}, failed = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_one(s, &j));
    struct job_attempt a = attempt_of(&j);
    assert_true(CALL(s, &e, s->api->note_upload(s, &a, "an upload/id+", &e)));
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &failed, &e)));
    for (int round = 0; round < 2; round++) {
        _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
        assert_int_equal(leftovers(s, false, &list), 1);
        assert_int_equal(list.items[0].attempt, 1);
        assert_string_equal(list.items[0].upload_id, "an upload/id+");
        assert_true(CALL(s, &e, s->api->cleaned(s, j.id, 1, &e)));
        assert_int_equal(count_leftovers(s, true), 0);
        backend->make_due();
    }
    assert_int_equal(count_leftovers(s, true), 0);
    job_release(&failed);
    job_release(&j);
}

static void progress_is_of_running_attempts(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job a = {0}, b = {0};
    create_job(s, "org", "user", NULL);
    create_job(s, "org", "user", NULL);
    assert_true(claim_one(s, &a));
    assert_true(claim_one(s, &b));
    struct job_progress p[3] = {{.attempt = 1, .rows = 10, .bytes = 100, .percent = 12.5},
                                {.attempt = 1, .rows = 20, .bytes = 200, .percent = -1},
                                {.attempt = 1, .rows = 30, .bytes = 300, .percent = 30}};
    memcpy(p[0].id, a.id, UUID_SIZE);
    memcpy(p[1].id, b.id, UUID_SIZE);
    memcpy(p[2].id, "00000000-0000-4000-8000-000000000000", UUID_SIZE);
    assert_true(CALL(s, &e, s->api->progress(s, p, 3, &e)));
    struct job j = get(s, "org", a.id);
    assert_int_equal(j.rows, 10);
    assert_int_equal(j.bytes, 100);
    assert_true(j.percent == 12.5);
    assert_int_equal(j.version, 2); /* not a change of state */
    job_release(&j);
    j = get(s, "org", b.id);
    assert_int_equal(j.rows, 20);
    assert_true(j.percent < 0);
    job_release(&j);

    /* Late for one that is done, and of an attempt that is not the current one. */
    assert_true(publish(s, &a, FAR_AWAY, &e));
    p[0].rows = 9;
    p[1].rows = 9;
    p[1].attempt = 2;
    assert_true(CALL(s, &e, s->api->progress(s, p, 2, &e)));
    j = get(s, "org", a.id);
    assert_int_equal(j.rows, 3);
    assert_true(j.percent < 0);
    job_release(&j);
    j = get(s, "org", b.id);
    assert_int_equal(j.rows, 20);
    job_release(&j);
    job_release(&a);
    job_release(&b);
}

static void large_texts_come_back(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    const size_t length = 4 << 20;
    _cleanup_free_ char *sql = malloc(length + 1);
    assert_non_null(sql);
    for (size_t i = 0; i < length; i++)
        sql[i] = (char)('a' + i % 26);
    sql[length] = '\0';
    struct job_request r = {.user_id = "u", .org_id = "o", .dataset_id = "d", .sql = sql, .format = "csv"};
    struct job created = {0}, claimed = {0};
    assert_true(CALL(s, &e, s->api->create(s, &r, 1, &created, &e)));
    assert_true(claim_one(s, &claimed));
    assert_string_equal(claimed.sql, sql);
    job_release(&created);
    job_release(&claimed);
}

static void calls_of_one_transaction_are_apart(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job_request r = {
        .user_id = "user", .org_id = "org", .dataset_id = "d", .sql = "s", .format = "csv"};
    struct job a = {0}, b = {0}, c = {0};
    assert_true(s->api->begin(s, &e));
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(s, &r, 10, &a, &e));
    assert_true(s->api->release(s, &e));
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(s, &r, 10, &b, &e));
    s->api->rollback_to(s); /* as after a failure behind the insert */
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(s, &r, 2, &c, &e)); /* the undone one does not count */
    assert_true(s->api->release(s, &e));
    assert_true(s->api->commit(s, &e));
    assert_status(s, a.id, JOB_PENDING, 1);
    assert_status(s, c.id, JOB_PENDING, 1);
    assert_int_equal(get_error(s, "org", b.id), ERROR_NOT_FOUND);
    job_release(&b);

    /* And all of it may be undone. */
    assert_true(s->api->begin(s, &e));
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(s, &r, 10, &b, &e));
    assert_true(s->api->release(s, &e));
    s->api->rollback(s);
    s->api->rollback(s); /* does nothing */
    assert_int_equal(get_error(s, "org", b.id), ERROR_NOT_FOUND);
    create_job(s, "org", "user", NULL);
    job_release(&a);
    job_release(&b);
    job_release(&c);
}

static int open_store(void **state)
{
    *state = backend->open();
    return *state ? 0 : -1;
}

static int close_store(void **state)
{
    struct job_store *s = *state;
    s->api->close(s);
    backend->closed();
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_store, close_store)

int job_store_suite_run(const struct job_store_backend *b)
{
    backend = b;
    const struct CMUnitTest tests[] = {
        TEST(a_new_job_is_pending_and_whole),
        TEST(what_waits_is_limited),
        TEST(organisations_take_turns),
        TEST(a_claimed_job_is_processing),
        TEST(a_published_job_has_its_result),
        TEST(a_failed_job_has_its_reason),
        TEST(attempts_are_fenced),
        TEST(a_job_put_back_keeps_its_place),
        TEST(what_ran_at_a_crash_waits_again),
        TEST(lists_are_newest_first_and_private),
        TEST(long_lists_are_whole),
        TEST(lists_hold_the_beginning_of_long_sql),
        TEST(a_record_is_its_organisations),
        TEST(removed_jobs_are_gone),
        TEST(links_expire),
        TEST(what_runs_is_never_cleaned),
        TEST(what_an_attempt_left_is_cleared_twice),
        TEST(progress_is_of_running_attempts),
        TEST(large_texts_come_back),
        TEST(calls_of_one_transaction_are_apart),
    };
    return cmocka_run_group_tests_name(b->name, tests, NULL, NULL);
}
