#include "job_store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void a_new_job_is_pending_and_whole(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    assert_true(try_create(s, "org", "user", 1, &j, &e));
    struct job again = get_job(s, "org", j.id);
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

static void a_published_job_has_its_result(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    assert_true(publish_job(s, &j, FAR_AWAY, &e));
    struct job done = get_job(s, "org", j.id);
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
    assert_true(claim_job(s, &j));
    struct job_attempt a = attempt_of(&j);
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &failed, &e)));
    assert_int_equal(failed.status, JOB_FAILED);
    struct job again = get_job(s, "org", j.id);
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
    assert_false(claim_job(s, &none));
    assert_over(s, &a, JOB_FAILED);
    assert_status(s, j.id, JOB_FAILED, 3);
    job_release(&j);
}

#define FORM "{\"format\":\"csv\",\"compression\":\"gzip\",\"options\":{\"null\":\"é\"},\"row_limit\":5}"
#define COLUMNS "[{\"name\":\"ä \\u0000\",\"type\":\"INTEGER\"}]"
#define DETAILS "{\"truncated\":true,\"duration_ms\":12}"

static void assert_form(const struct job *j, const char *columns, const char *details)
{
    assert_string_equal(j->form, FORM);
    assert_string_equal(j->suffix, "csv.gz");
    columns ? assert_string_equal(j->columns, columns) : assert_null(j->columns);
    details ? assert_string_equal(j->details, details) : assert_null(j->details);
}

static void assert_list_form(struct job_store *s, const char *details)
{
    struct error e = {0};
    struct job_list list = {0};
    assert_true(s->api->list(s, "org", "user", 10, 0, &list, &e));
    assert_int_equal(list.count, 1);
    assert_form(&list.jobs[0], NULL, details); /* a hundred wide results would be too much for a page */
    job_list_release(&list);
}

/* The object of each attempt has the suffix in its key: told of the one that is put back. */
static void assert_object_key(struct job_store *s, const struct job *j)
{
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    _cleanup_free_ char *key = job_object_key(j, j->attempt);
    assert_non_null(strstr(key, ".csv.gz"));
    assert_int_equal(leftovers(s, false, &list), j->attempt);
    bool found = false;
    for (size_t i = 0; i < list.count; i++)
        found = found || strcmp(list.items[i].object_key, key) == 0;
    assert_true(found);
}

static void a_form_and_its_result_go_all_the_way(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job made = {0}, j = {0}, back = {0}, done = {0};
    const struct job_request r = {.user_id = "user", .org_id = "org", .dataset_id = "d", .sql = "SELECT 1", .format = "csv",
                                  .form = FORM, .suffix = "csv.gz"};
    assert_true(CALL(s, &e, s->api->create(bound_queue(s, 10), &r, &made, &e)));
    assert_form(&made, NULL, NULL);
    assert_list_form(s, NULL);
    for (int tries = 0; tries < 2; tries++) { /* a first attempt has another key than those behind it */
        assert_true(claim_job(s, &j));
        assert_form(&j, NULL, NULL);
        const struct job_attempt a = attempt_of(&j);
        assert_true(CALL(s, &e, s->api->requeue(s, &a, NULL, 0, &back, &e)));
        assert_form(&back, NULL, NULL);
        assert_object_key(s, &j);
        job_release(&back);
        job_release(&j);
    }
    assert_true(claim_job(s, &j));
    struct job_attempt a = attempt_of(&j);
    struct job_result result = result_until(1);
    result.columns = COLUMNS;
    result.details = DETAILS;
    for (int told = 0; told < 2; told++) { /* the answer may have been lost */
        assert_true(CALL(s, &e, s->api->publish(s, &a, &result, &done, &e)));
        assert_form(&done, COLUMNS, DETAILS);
        job_release(&done);
    }
    assert_list_form(s, DETAILS);
    size_t count = 0;
    assert_true(CALL(s, &e, s->api->expire(s, 10, &count, &e)));
    assert_int_equal(count, 1);
    done = get_job(s, "org", j.id);
    assert_int_equal(done.status, JOB_EXPIRED);
    assert_form(&done, COLUMNS, DETAILS);
    job_release(&done);
    job_release(&j);
    job_release(&made);
}

static void a_job_without_a_form_is_as_it_was(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    assert_null(j.form);
    assert_null(j.suffix);
    assert_true(publish_job(s, &j, FAR_AWAY, &e));
    struct job done = get_job(s, "org", j.id);
    assert_null(done.form);
    assert_null(done.suffix);
    assert_null(done.columns);
    assert_null(done.details);
    job_release(&done);
    job_release(&j);
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
    assert_true(CALL(s, &e, s->api->claim(s, OWNER, 100, &list, &next_ms, &e)));
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
        assert_true(CALL(s, &e, s->api->create(bound_queue(s, 1000), &r, &made, &e)));
        struct job_list list = {0};
        assert_true(s->api->list(s, "org", "user", 1, 0, &list, &e));
        assert_int_equal(strlen(list.jobs[0].sql), 2 * JOB_LIST_SQL_MAX);
        assert_int_equal(list.jobs[0].sql_cut, longer);
        struct job whole = get_job(s, "org", made.id);
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
    struct job j = get_job(s, "org", id);
    job_release(&j);
    assert_int_equal(get_job_error(s, "other", id), ERROR_NOT_FOUND);
    assert_int_equal(get_job_error(s, "org", "00000000-0000-4000-8000-000000000000"), ERROR_NOT_FOUND);
    assert_int_equal(get_job_error(s, "org", "' OR 1=1 --"), ERROR_NOT_FOUND);
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
    assert_true(claim_job(s, &done));
    assert_true(publish_job(s, &done, FAR_AWAY, &e));
    assert_true(claim_job(s, &running));

    const char *ids[] = {waiting, running.id, done.id};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        bool found = false;
        assert_true(CALL(s, &e, s->api->remove(s, "org", ids[i], &found, &e)));
        assert_true(found);
        assert_int_equal(get_job_error(s, "org", ids[i]), ERROR_NOT_FOUND);
        assert_true(CALL(s, &e, s->api->remove(s, "org", ids[i], &found, &e)));
        assert_false(found);
    }
    assert_false(claim_job(s, &none));
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
        assert_true(claim_job(s, &over[i]));
        assert_true(publish_job(s, &over[i], (int64_t)i + 1, &e));
    }
    assert_true(claim_job(s, &fresh));
    assert_true(publish_job(s, &fresh, FAR_AWAY, &e));
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
    struct job j = get_job(s, "org", over[0].id);
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
        report_cleaned(s, over[i].id, false);
        assert_int_equal(count_leftovers(s, true), 2 - i);
        job_release(&over[i]);
    }
    job_release(&fresh);
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
    assert_true(CALL(s, &e, s->api->create(bound_queue(s, 1), &r, &created, &e)));
    assert_true(claim_job(s, &claimed));
    assert_string_equal(claimed.sql, sql);
    job_release(&created);
    job_release(&claimed);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, suite_open, suite_close)

int job_store_records_run(const struct job_store_backend *b)
{
    suite_backend = b;
    const struct CMUnitTest tests[] = {
        TEST(a_new_job_is_pending_and_whole),
        TEST(a_published_job_has_its_result),
        TEST(a_failed_job_has_its_reason),
        TEST(a_form_and_its_result_go_all_the_way),
        TEST(a_job_without_a_form_is_as_it_was),
        TEST(lists_are_newest_first_and_private),
        TEST(long_lists_are_whole),
        TEST(lists_hold_the_beginning_of_long_sql),
        TEST(a_record_is_its_organisations),
        TEST(removed_jobs_are_gone),
        TEST(links_expire),
        TEST(large_texts_come_back),
    };
    return cmocka_run_group_tests_name(b->name, tests, NULL, NULL);
}
