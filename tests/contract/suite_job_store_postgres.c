/* The Postgres job store at a server that is there (tests/postgres starts it): JOB_STORE_HOST, _PORT, _DB,
 * _USER, _PASSWORD. Takes away all that is in the database's tables. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "job/pg_db.h"
#include "job_store_suite.h"

#define OTHER "boot-2"
#define LONG_LEASE_MS 600000

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    if (!value) {
        fprintf(stderr, "%s is not set\n", name);
        exit(2);
    }
    return value;
}

static struct job_store *open_with_lease(uint64_t lease_ms)
{
    struct error e = {0};
    struct job_store *s = job_store_postgres_open(
        &(struct job_store_postgres_options){.host = variable("JOB_STORE_HOST"),
                                             .port = (uint16_t)strtoul(variable("JOB_STORE_PORT"), NULL, 10),
                                             .database = variable("JOB_STORE_DB"),
                                             .user = variable("JOB_STORE_USER"),
                                             .password = variable("JOB_STORE_PASSWORD"),
                                             .lease_ms = lease_ms,
                                             .statement_timeout_ms = 20000},
        &e);
    if (!s)
        fprintf(stderr, "%s\n", e.message);
    return s;
}

/* As another program does it. */
static void run(const char *sql)
{
    struct error e = {0};
    struct pg_db *db = pg_db_open(
        &(struct pg_db_options){.host = variable("JOB_STORE_HOST"),
                                .port = (uint16_t)strtoul(variable("JOB_STORE_PORT"), NULL, 10),
                                .database = variable("JOB_STORE_DB"),
                                .user = variable("JOB_STORE_USER"),
                                .password = variable("JOB_STORE_PASSWORD"),
                                .timeout_ms = 20000},
        &e);
    if (!db || !pg_db_begin(db, 0, 0, &e))
        fail_msg("%s", e.message);
    struct pg_rows *rows = pg_db_query(db, sql, NULL, 0, &e);
    if (!rows || !pg_db_commit(db, &e))
        fail_msg("%s", e.message);
    pg_rows_free(&rows);
    pg_db_close(db);
}

static struct job_store *open_empty(void)
{
    struct job_store *s = open_with_lease(LONG_LEASE_MS);
    if (s)
        run("TRUNCATE downloads, downloads_jobs, downloads_queue, downloads_attempts");
    return s;
}

static void nothing(void)
{
}

static void make_due(void)
{
    run("UPDATE downloads_attempts SET due_at = '-infinity' WHERE due_at < 'infinity'");
}

static void make_due_in_a_minute(void)
{
    run("UPDATE downloads_attempts SET due_at = due_at - interval '61 seconds' WHERE due_at < 'infinity'");
}

static int open_store(void **state)
{
    *state = open_empty();
    return *state ? 0 : -1;
}

static int close_store(void **state)
{
    struct job_store *s = *state;
    s->api->close(s);
    return 0;
}

static struct job_poll_result ask(struct job_store *s, const char *owner, bool renew,
                                  const struct job_watch *watched, size_t count)
{
    struct error e = {0};
    struct job_poll p = {.owner = owner, .watched = watched, .watched_count = count};
    struct job_poll_result r = {0};
    if ((renew && !CALL(s, &e, s->api->renew(s, owner, &e))) || !s->api->poll(s, &p, &r, &e))
        fail_msg("%s", e.message);
    return r;
}

static bool claimable(struct job_store *s)
{
    struct job_poll_result r = ask(s, OTHER, false, NULL, 0);
    bool yes = r.claimable;
    job_poll_result_release(&r);
    return yes;
}

static size_t owned(struct job_store *s, const char *owner, bool renew)
{
    struct job_poll_result r = ask(s, owner, renew, NULL, 0);
    size_t count = r.owned.count;
    job_poll_result_release(&r);
    return count;
}

static struct job_watch watch(const struct job *j)
{
    struct job_watch w = {.version = j->version, .rows = j->rows, .bytes = j->bytes};
    memcpy(w.id, j->id, UUID_SIZE);
    return w;
}

static void a_poll_says_what_is_owned_and_what_waits(void **state)
{
    struct job_store *s = *state;
    struct job j = {0};
    assert_false(claimable(s));
    create_job(s, "org", "user", NULL);
    assert_true(claimable(s));
    assert_int_equal(owned(s, OWNER, false), 0);
    assert_true(claim_job(s, &j));
    assert_false(claimable(s));
    assert_int_equal(owned(s, OTHER, true), 0);
    struct job_poll_result r = ask(s, OWNER, true, NULL, 0);
    assert_int_equal(r.owned.count, 1);
    assert_string_equal(r.owned.ids[0], j.id);
    assert_int_equal(r.owned_attempts[0], 1);
    assert_int_equal(r.changed.count, 0);
    assert_int_equal(r.gone.count, 0);
    job_poll_result_release(&r);
    struct error e = {0};
    assert_true(publish_job(s, &j, FAR_AWAY, &e));
    assert_int_equal(owned(s, OWNER, true), 0);
    job_release(&j);
}

static void a_poll_says_what_changed_elsewhere(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j[3] = {0}, now = {0};
    struct job_watch w[3];
    for (size_t i = 0; i < 3; i++) {
        create_job(s, "org", "user", NULL);
        assert_true(claim_job(s, &j[i]));
        w[i] = watch(&j[i]);
    }
    struct job_poll_result r = ask(s, OTHER, false, w, 3);
    assert_int_equal(r.changed.count + r.gone.count + r.owned.count, 0);
    job_poll_result_release(&r);

    struct job_progress p = {.attempt = 1, .rows = 5, .bytes = 50, .percent = 12};
    memcpy(p.id, j[0].id, UUID_SIZE);
    bool found;
    assert_true(CALL(s, &e, s->api->progress(s, &p, 1, &e)));
    assert_true(publish_job(s, &j[1], FAR_AWAY, &e));
    assert_true(CALL(s, &e, s->api->remove(s, "org", j[2].id, &found, &e)));
    r = ask(s, OTHER, false, w, 3);
    assert_int_equal(r.changed.count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct job *c = &r.changed.jobs[i];
        assert_string_equal(c->sql, "");
        assert_true(c->sql_cut);
        if (strcmp(c->id, j[0].id) == 0) {
            assert_int_equal(c->version, 2);
            assert_int_equal(c->rows, 5);
            assert_true(c->percent == 12);
        } else {
            assert_string_equal(c->id, j[1].id);
            assert_int_equal(c->version, 3);
            assert_int_equal(c->status, JOB_COMPLETED);
            assert_non_null(c->link);
        }
    }
    assert_int_equal(r.gone.count, 1);
    assert_string_equal(r.gone.ids[0], j[2].id);
    job_poll_result_release(&r);

    /* Known then, and not told again. */
    now = get_job(s, "org", j[0].id);
    w[0] = watch(&now);
    job_release(&now);
    now = get_job(s, "org", j[1].id);
    w[1] = watch(&now);
    job_release(&now);
    r = ask(s, OTHER, false, w, 2);
    assert_int_equal(r.changed.count + r.gone.count, 0);
    job_poll_result_release(&r);
    for (size_t i = 0; i < 3; i++)
        job_release(&j[i]);
}

#define WATCHED 2000

/* One column whose name makes the list `length` bytes long. */
static char *columns_of(size_t length)
{
    char *text = NULL;
    int rest = asprintf(&text, "[{\"name\":\"\",\"type\":\"T\"}]");
    assert_true(rest > 0);
    free(text);
    assert_true(asprintf(&text, "[{\"name\":\"%0*d\",\"type\":\"T\"}]", (int)length - rest, 0) == (int)length);
    return text;
}

/* So that `complete` is the same at every instance; what no event has room for stays in the database. */
static void a_poll_tells_the_columns_that_an_event_has_room_for(void **state)
{
    struct job_store *s = *state;
    for (size_t length = 8192; length <= 8193; length++) {
        struct error e = {0};
        struct job j = {0}, done = {0};
        create_job(s, "org", "user", NULL);
        assert_true(claim_job(s, &j));
        struct job_watch w = watch(&j);
        const struct job_attempt a = attempt_of(&j);
        struct job_result result = result_until(FAR_AWAY);
        _cleanup_free_ char *columns = columns_of(length);
        result.columns = columns;
        result.details = "{\"truncated\":false}";
        assert_true(CALL(s, &e, s->api->publish(s, &a, &result, &done, &e)));
        assert_string_equal(done.columns, columns);
        struct job_poll_result r = ask(s, OTHER, false, &w, 1);
        assert_int_equal(r.changed.count, 1);
        assert_string_equal(r.changed.jobs[0].details, result.details);
        if (length > 8192)
            assert_null(r.changed.jobs[0].columns);
        else
            assert_string_equal(r.changed.jobs[0].columns, columns);
        job_poll_result_release(&r);
        job_release(&done);
        job_release(&j);
    }
}

static void many_are_watched_in_one_poll(void **state)
{
    struct job_store *s = *state;
    struct job_watch *w = calloc(WATCHED, sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < WATCHED; i++)
        snprintf(w[i].id, UUID_SIZE, "00000000-0000-4000-8000-%012zu", i);
    struct job_poll_result r = ask(s, OTHER, true, w, WATCHED);
    assert_int_equal(r.gone.count, WATCHED);
    job_poll_result_release(&r);
    free(w);
}

static struct job_list claim_as(struct job_store *s, const char *owner)
{
    struct error e = {0};
    struct job_list list = {0};
    if (!CALL(s, &e, s->api->claim(s, owner, 10, &list, &next_ms, &e)))
        fail_msg("%s", e.message);
    return list;
}

/* Until `s` may take jobs whose lease is over. */
static void wait_for_a_lease(struct job_store *s)
{
    int64_t deadline = clock_monotonic_ms() + 20000;
    while (!claimable(s) && clock_monotonic_ms() < deadline)
        poll(NULL, 0, 5);
    assert_true(claimable(s));
}

static void a_job_whose_lease_is_over_is_taken_by_another(void **state)
{
    struct job_store *s = *state;
    struct job first = {0}, waiting = {0};
    char behind[UUID_SIZE];
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &first));
    create_job(s, "org", "user", behind);
    struct job_store *other = open_with_lease(300);
    assert_non_null(other);

    /* A lease that runs is left alone, and so is one that is over until the rescuer has been there for a
     * lease. */
    run("UPDATE downloads_queue SET lease_until = now() - interval '1 second' WHERE owner IS NOT NULL");
    struct job_store *fresh = open_with_lease(LONG_LEASE_MS);
    assert_non_null(fresh);
    struct job_list list = claim_as(fresh, "boot-3");
    assert_int_equal(list.count, 1);
    assert_string_equal(list.jobs[0].id, behind);
    job_list_release(&list);
    assert_false(claimable(fresh));
    fresh->api->close(fresh);

    wait_for_a_lease(other);
    list = claim_as(other, OTHER);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.jobs[0].id, first.id);
    assert_int_equal(list.jobs[0].attempt, 2);
    assert_int_equal(list.jobs[0].version, first.version + 2);
    assert_int_equal(list.jobs[0].status, JOB_PROCESSING);
    job_list_release(&list);
    assert_int_equal(owned(s, OWNER, true), 0);
    assert_int_equal(owned(other, OTHER, true), 1);
    assert_false(claimable(other));

    /* The late one is refused, and what it left is to be cleared away, under its own key. */
    struct job_attempt late = attempt_of(&first);
    assert_stale(s, &late);
    _cleanup_(job_leftover_list_release) struct job_leftover_list over = {0};
    assert_int_equal(leftovers(s, true, &over), 1);
    assert_int_equal(over.items[0].attempt, 1);
    _cleanup_free_ char *key = job_object_key(&first, 1);
    assert_string_equal(over.items[0].object_key, key);

    struct error e = {0}, why = {.code = ERROR_QUERY};
    struct job_attempt second = {.id = first.id, .attempt = 2, .owner = OTHER};
    assert_true(CALL(other, &e, (other->api->fail)(other, &second, &why, &waiting, &e)));
    assert_int_equal(leftovers(s, true, &over), 2);
    _cleanup_free_ char *second_key = job_object_key(&first, 2);
    assert_true(strcmp(over.items[0].object_key, second_key) == 0 ||
                strcmp(over.items[1].object_key, second_key) == 0);
    other->api->close(other);
    job_release(&first);
    job_release(&waiting);
}

static void an_owner_renews_a_lease_that_nobody_took(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    struct job_store *other = open_with_lease(1);
    run("UPDATE downloads_queue SET lease_until = now() - interval '1 day'");
    wait_for_a_lease(other);
    assert_int_equal(owned(s, OWNER, false), 1);
    assert_true(claimable(other)); /* not renewed by that */
    assert_int_equal(owned(s, OWNER, true), 1);
    assert_false(claimable(other));
    struct job_list list = claim_as(other, OTHER);
    assert_int_equal(list.count, 0);
    assert_true(publish_job(s, &j, FAR_AWAY, &e));

    /* Nor does it take its own from itself. */
    create_job(s, "org", "user", NULL);
    list = claim_as(other, OTHER);
    assert_int_equal(list.count, 1);
    job_list_release(&list);
    run("UPDATE downloads_queue SET lease_until = now() - interval '1 day'");
    list = claim_as(other, OTHER);
    assert_int_equal(list.count, 0);
    assert_false(claimable(other));
    other->api->close(other);
    job_release(&j);
}

/* Rows that the original left, or that somebody made by hand. */
static void what_has_no_place_in_the_queue_is_history(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    run("INSERT INTO downloads (id, sql, dataset_id, status, format, user_id, org_id, created_at, updated_at)"
        " VALUES ('00000000-0000-4000-8000-000000000001', 'old', 'set', 'pending', 'csv', 'user', 'org',"
        "  '2024-02-29 12:34:56.789012+00', '2024-02-29 12:34:56.789012+00'),"
        " ('00000000-0000-4000-8000-000000000002', 'old', 'set', 'processing', 'csv', 'user', 'org',"
        "  '2024-02-28', 'infinity')");
    assert_false(claimable(s));
    struct job_list list = claim_as(s, OWNER);
    assert_int_equal(list.count, 0);
    assert_true(s->api->list(s, "org", "user", 10, 0, &list, &e));
    assert_int_equal(list.count, 2);
    assert_int_equal(list.jobs[0].status, JOB_PENDING);
    assert_int_equal(list.jobs[0].version, 0);
    assert_int_equal(list.jobs[0].created_at, INT64_C(1709210096789012));
    assert_true(list.jobs[0].percent < 0);
    assert_int_equal(list.jobs[1].status, JOB_PROCESSING);
    assert_int_equal(list.jobs[1].updated_at, 0);
    assert_stale(s, &(struct job_attempt){.id = list.jobs[0].id, .attempt = 0, .owner = OWNER});
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, "org", list.jobs[0].id, &found, &e)));
    assert_true(found);
    job_list_release(&list);
}

/* The original deletes records, and knows no queue. */
static void a_record_that_another_program_deleted_leaves_the_queue(void **state)
{
    struct job_store *s = *state;
    struct job running = {0};
    char kept[UUID_SIZE];
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &running));
    create_job(s, "org", "user", NULL);
    run("DELETE FROM downloads");
    create_job(s, "other", "user", kept);
    assert_int_equal(owned(s, OWNER, true), 0); /* so its worker is stopped */
    struct job_attempt a = attempt_of(&running);
    assert_stale(s, &a);
    struct job_list list = claim_as(s, OWNER);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.jobs[0].id, kept);
    job_list_release(&list);
    assert_false(claimable(s));

    /* And what its attempt left is found when its lease, which nobody renews, is over; also by the owner. */
    struct job_store *other = open_with_lease(1);
    run("UPDATE downloads_queue SET lease_until = now() - interval '1 second' WHERE org_id = 'org'");
    wait_for_a_lease(other);
    list = claim_as(other, OWNER);
    assert_int_equal(list.count, 0);
    assert_false(claimable(other));
    assert_int_equal(count_leftovers(s, false), 1);
    other->api->close(other);
    job_release(&running);
}

/* Every instance sweeps: the same leftover is cleared by several at once, and that is its first time for all of them. */
static void what_two_instances_clear_at_once_is_cleared_again(void **state)
{
    struct job_store *s = *state, *other = open_with_lease(LONG_LEASE_MS);
    struct job j = fail_new_job(s);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(count_leftovers(s, false), 1);
        assert_int_equal(count_leftovers(other, false), 1);
        report_cleaned(s, j.id, round > 0);
        report_cleaned(other, j.id, round > 0);
        assert_int_equal(count_leftovers(s, false), 0);
        make_due();
    }
    assert_int_equal(count_leftovers(s, false), 0);
    other->api->close(other);
    job_release(&j);
}

static void odd_texts_come_back(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    const char *const odd = "'; DROP TABLE downloads; -- \\ \" $1 %s {a,b} \t\n\r \xF0\x9F\xA6\x86 NULL";
    struct job_request r = {
        .user_id = odd, .org_id = odd, .dataset_id = odd, .sql = odd, .format = "csv"};
    struct job j = {0}, claimed = {0}, failed = {0};
    assert_true(CALL(s, &e, s->api->create(bound_queue(s, 10), &r, &j, &e)));
    assert_true(claim_job(s, &claimed));
    assert_string_equal(claimed.org_id, odd);
    struct job_attempt a = attempt_of(&claimed);
    struct error why = {.code = ERROR_QUERY};
    snprintf(why.message, sizeof why.message, "%s", odd);
    assert_true(CALL(s, &e, s->api->note_upload(s, &a, odd, &e)));
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &failed, &e)));
    assert_string_equal(failed.error_message, odd);
    _cleanup_(job_leftover_list_release) struct job_leftover_list over = {0};
    assert_int_equal(leftovers(s, false, &over), 1);
    _cleanup_free_ char *key = job_object_key(&j, 1);
    assert_string_equal(over.items[0].object_key, key);
    assert_string_equal(over.items[0].upload_id, odd);
    job_release(&j);
    job_release(&claimed);
    job_release(&failed);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_poll_says_what_is_owned_and_what_waits),
        TEST(a_poll_says_what_changed_elsewhere),
        TEST(a_poll_tells_the_columns_that_an_event_has_room_for),
        TEST(many_are_watched_in_one_poll),
        TEST(a_job_whose_lease_is_over_is_taken_by_another),
        TEST(an_owner_renews_a_lease_that_nobody_took),
        TEST(what_has_no_place_in_the_queue_is_history),
        TEST(a_record_that_another_program_deleted_leaves_the_queue),
        TEST(what_two_instances_clear_at_once_is_cleared_again),
        TEST(odd_texts_come_back),
    };
    int failed = job_store_suite_run(&(struct job_store_backend){
        .name = "job store: postgres", .open = open_empty, .closed = nothing, .make_due = make_due,
        .make_due_in_a_minute = make_due_in_a_minute, .many_sweep = true});
    return failed + cmocka_run_group_tests_name("postgres", tests, NULL, NULL);
}
