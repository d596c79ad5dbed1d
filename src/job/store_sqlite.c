/* The job store in one SQLite file.
 *
 * Top to bottom: statements, records, transactions, the calls of the interface. */
#include "job/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mailbox.h" /* CONTAINER_OF */
#include "job/fair_tag.h"
#include "job/sqlite_db.h"
#include "job/sqlite_records.h"
#include "job/sqlite_schema.h"
#include "job/sqlite_statements.h"

enum statement {
#define STATEMENT_ENUM(name, sql) name,
    SQLITE_STATEMENTS(STATEMENT_ENUM)
#undef STATEMENT_ENUM
        STATEMENT_COUNT
};

static const char *const statement_sql[] = {
#define STATEMENT_ROW(name, sql) [name] = sql,
    SQLITE_STATEMENTS(STATEMENT_ROW)
#undef STATEMENT_ROW
};

struct sqlite_store {
    struct job_store store;
    struct sqlite_db *db;
};

static struct sqlite_db *db_of(struct job_store *s)
{
    return CONTAINER_OF(s, struct sqlite_store, store)->db;
}

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_INTERNAL, "out of memory");
}

#define FOR_EVER INT64_MAX /* what was cleared away for good is due then: it stays as history */

#define INTEGER(v) ((struct sqlite_value){.type = SQLITE_VALUE_INTEGER, .integer = (int64_t)(v)})
#define REAL(v) ((struct sqlite_value){.type = SQLITE_VALUE_REAL, .real = (v)})
#define TEXT(v) ((struct sqlite_value){.type = SQLITE_VALUE_TEXT, .text = (v)})
#define UNLESS(is_null, value) ((is_null) ? (struct sqlite_value){.type = SQLITE_VALUE_NULL} : (value))

#define VALUES(...) \
    (const struct sqlite_value[]){__VA_ARGS__}, ARRAY_SIZE(((const struct sqlite_value[]){__VA_ARGS__}))
#define START(db, statement, e, ...) sqlite_db_start(db, statement, VALUES(__VA_ARGS__), e)
#define EXECUTE(db, statement, e, ...) sqlite_db_execute(db, statement, VALUES(__VA_ARGS__), e)

/* The first text of the first row; NULL where there is none. */
static bool query_text(struct sqlite_db *db, enum statement n, const struct sqlite_value *values, size_t count,
                       char **ret, struct error *e)
{
    bool row = false;
    char *text = NULL;
    _cleanup_statement_ struct sqlite3_stmt *st = sqlite_db_start(db, n, values, count, e);
    if (!st || !sqlite_db_next(db, st, &row, e))
        return false;
    if (row && !sqlite_row_text(st, 0, &text))
        return out_of_memory(e);
    *ret = text;
    return true;
}

/* The id in the first row, "" where there is none. */
static bool query_id(struct sqlite_db *db, enum statement n, const struct sqlite_value *values, size_t count,
                     char ret_id[UUID_SIZE], struct error *e)
{
    _cleanup_free_ char *id = NULL;
    if (!query_text(db, n, values, count, &id, e))
        return false;
    snprintf(ret_id, UUID_SIZE, "%s", id ? id : "");
    return true;
}

static bool load(struct sqlite_db *db, const char *id, struct job *ret, struct error *e)
{
    bool row = false;
    _cleanup_statement_ struct sqlite3_stmt *st = START(db, GET_JOB, e, TEXT(id));
    if (!st || !sqlite_db_next(db, st, &row, e))
        return false;
    return row ? sqlite_read_job(st, ret, e) : error_set(e, ERROR_NOT_FOUND, "download not found");
}

/* The one place where a job's state changes, here and in the database: what was set in `j` beforehand is
 * written with it. Progress ends with the state that it belonged to. */
static bool change(struct sqlite_db *db, struct job *j, enum job_status to, struct error *e)
{
    if (!job_may_become(j->status, to))
        return error_set(e, ERROR_STALE, "a job that is %s cannot become %s", job_status_name(j->status),
                         job_status_name(to));
    j->status = to;
    j->version++;
    j->updated_at = clock_wall_us();
    j->percent = -1;
    if (to == JOB_COMPLETED || to == JOB_FAILED)
        j->completed_at = j->updated_at;
    if (to != JOB_COMPLETED && to != JOB_EXPIRED)
        j->rows = j->bytes = 0;
    return EXECUTE(db, UPDATE_RECORD, e, TEXT(j->id), TEXT(job_status_name(to)), INTEGER(j->updated_at),
                   UNLESS(!j->completed_at, INTEGER(j->completed_at)),
                   UNLESS(!j->expires_at, INTEGER(j->expires_at)), UNLESS(!j->link, TEXT(j->link)),
                   UNLESS(!j->error_message, TEXT(j->error_message))) &&
           EXECUTE(db, UPDATE_JOB, e, TEXT(j->id), INTEGER(j->version), INTEGER(j->attempt), INTEGER(j->rows),
                   INTEGER(j->bytes), UNLESS(!j->sha256[0], TEXT(j->sha256)),
                   UNLESS(j->error_code == ERROR_NONE, TEXT(error_code_name(j->error_code))),
                   INTEGER(j->failures), INTEGER(j->rescues), UNLESS(!j->last_error, TEXT(j->last_error)),
                   UNLESS(j->last_error_code == ERROR_NONE, TEXT(error_code_name(j->last_error_code))),
                   UNLESS(!j->columns, TEXT(j->columns)), UNLESS(!j->details, TEXT(j->details)));
}

/* The fence: the record, if the attempt is its current one and the caller's. Where the attempt has ended as
 * `to` already (the answer to that was lost), `*ret_already` is true; JOB_PROCESSING is no end. */
static bool load_current(struct sqlite_db *db, const struct job_attempt *a, enum job_status to, struct job *ret,
                         bool *ret_already, struct error *e)
{
    bool owner = false, row = false;
    _cleanup_statement_ struct sqlite3_stmt *st = START(db, IS_OWNER, e, TEXT(a->id), TEXT(a->owner));
    if (!st || !sqlite_db_next(db, st, &owner, e))
        return false;
    _cleanup_(job_release) struct job j = {0};
    _cleanup_statement_ struct sqlite3_stmt *job = START(db, GET_JOB, e, TEXT(a->id));
    if (!job || !sqlite_db_next(db, job, &row, e) || (row && !sqlite_read_job(job, &j, e)))
        return false;
    bool current = owner && j.status == JOB_PROCESSING;
    bool already = !owner && to != JOB_PROCESSING && j.status == to && a->attempt > 0;
    if (!row || j.attempt != a->attempt || (!current && !already))
        return error_set(e, ERROR_STALE, "the attempt is no longer the job's current one");
    *ret = j;
    *ret_already = already;
    j = (struct job){0};
    return true;
}

/* SQLite may undo a whole transaction on its own, on a full disk for one. Then a savepoint would begin a new
 * one, and its release would commit. */
static bool still_open(const struct sqlite_db *db, struct error *e)
{
    if (!sqlite_db_in_transaction(db))
        return error_set(e, ERROR_UNAVAILABLE, "the job store undid the transaction");
    return true;
}

static bool sqlite_begin(struct job_store *store, struct error *e)
{
    return sqlite_db_execute(db_of(store), BEGIN, NULL, 0, e);
}

static bool sqlite_savepoint(struct job_store *store, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    return still_open(db, e) && sqlite_db_execute(db, SAVEPOINT, NULL, 0, e);
}

static bool sqlite_release(struct job_store *store, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    return still_open(db, e) && sqlite_db_execute(db, RELEASE, NULL, 0, e);
}

static void sqlite_rollback(struct job_store *store)
{
    struct sqlite_db *db = db_of(store);
    struct error ignored; /* what cannot be undone here is undone by SQLite */
    if (sqlite_db_in_transaction(db))
        (void)!sqlite_db_execute(db, ROLLBACK, NULL, 0, &ignored);
}

static void sqlite_rollback_to(struct job_store *store)
{
    struct sqlite_db *db = db_of(store);
    struct error ignored;
    if (!sqlite_db_in_transaction(db))
        return;
    /* Half a call must never be committed: rather nothing at all. */
    if (!sqlite_db_execute(db, ROLLBACK_TO, NULL, 0, &ignored) ||
        !sqlite_db_execute(db, RELEASE, NULL, 0, &ignored))
        sqlite_rollback(store);
}

static bool sqlite_commit(struct job_store *store, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    return still_open(db, e) && sqlite_db_execute(db, COMMIT, NULL, 0, e);
}

/* Lets so many of the organisation's held jobs go as there is room for; with no bound, all. */
static bool let_go(struct job_store *store, const char *org_id, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    do {
        if (!EXECUTE(db, LET_GO, e, TEXT(org_id), INTEGER(store->bounds.org_max_running)))
            return false;
    } while (sqlite_db_changes(db) > 0);
    return true;
}

static bool leave_queue(struct job_store *store, const char *id, struct error *e)
{
    _cleanup_free_ char *org_id = NULL;
    return query_text(db_of(store), DEQUEUE, VALUES(TEXT(id)), &org_id, e) && (!org_id || let_go(store, org_id, e));
}

static bool sqlite_settle(struct job_store *store, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    const struct sqlite_value bound = INTEGER(store->bounds.org_max_running);
    if (!sqlite_db_execute(db, HOLD, &bound, 1, e))
        return false;
    for (;;) {
        _cleanup_free_ char *org_id = NULL;
        if (!query_text(db, NEXT_HELD_ORG, &bound, 1, &org_id, e))
            return false;
        if (!org_id)
            return true;
        if (!let_go(store, org_id, e))
            return false;
    }
}

/* Is there room for a job of the organisation, and where? */
static bool choose_place(struct job_store *store, const char *org_id, int64_t *ret_tag, bool *ret_held,
                         struct error *e)
{
    struct sqlite_db *db = db_of(store);
    const struct job_bounds *b = &store->bounds;
    bool row = false;
    _cleanup_statement_ struct sqlite3_stmt *st = START(db, QUEUE_STATE, e, TEXT(org_id));
    if (!st || !sqlite_db_next(db, st, &row, e))
        return false;
    if ((uint64_t)sqlite_row_integer(st, 0) >= b->queue_size)
        return error_set(e, ERROR_QUEUE_FULL, "the queue is full");
    if ((uint64_t)sqlite_row_integer(st, 1) >= b->org_max_queued)
        return error_set(e, ERROR_ORG_QUEUE_FULL, "the organisation has as many downloads waiting as it may");
    *ret_held = b->org_max_running > 0 && (uint64_t)sqlite_row_integer(st, 2) >= b->org_max_running;
    *ret_tag = fair_tag(sqlite_row_integer(st, 3), sqlite_row_integer(st, 4));
    return true;
}

/* Where it waits; what runs or is over has no place. */
static bool load_place(struct sqlite_db *db, struct job *j, struct error *e)
{
    bool row = false;
    _cleanup_statement_ struct sqlite3_stmt *st =
        START(db, WAITS, e, TEXT(j->id), INTEGER(clock_wall_us()), INTEGER(JOB_POSITION_MAX));
    if (!st || !sqlite_db_next(db, st, &row, e))
        return false;
    if (row) {
        uint64_t position = (uint64_t)sqlite_row_integer(st, 1) + 1;
        j->retry_at = sqlite_row_integer(st, 0);
        j->queue_position = position < JOB_POSITION_MAX ? position : JOB_POSITION_MAX;
    }
    return true;
}

static bool sqlite_create(struct job_store *store, const struct job_request *r, struct job *ret, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_(job_release) struct job j = {0};
    char id[UUID_SIZE];
    int64_t tag = 0;
    bool held = false;
    bool ok = choose_place(store, r->org_id, &tag, &held, e) && uuid_random(id, e) &&
              EXECUTE(db, INSERT_RECORD, e, TEXT(id), TEXT(r->user_id), TEXT(r->org_id), TEXT(r->dataset_id),
                      TEXT(r->sql), TEXT(r->format), INTEGER(clock_wall_us())) &&
              EXECUTE(db, INSERT_JOB, e, TEXT(id), UNLESS(!r->form, TEXT(r->form)),
                      UNLESS(!r->suffix, TEXT(r->suffix))) &&
              EXECUTE(db, ENQUEUE, e, TEXT(id), TEXT(r->org_id), INTEGER(tag), INTEGER(held)) &&
              load(db, id, &j, e) && load_place(db, &j, e);
    if (!ok)
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool start_attempt(struct sqlite_db *db, const char *owner, struct job *j, struct error *e)
{
    j->attempt++;
    _cleanup_free_ char *key = job_object_key(j, j->attempt);
    if (!key)
        return out_of_memory(e);
    return change(db, j, JOB_PROCESSING, e) &&
           EXECUTE(db, INSERT_ATTEMPT, e, TEXT(j->id), INTEGER(j->attempt), TEXT(key), TEXT(owner),
                   INTEGER(clock_wall_us()));
}

static bool end_running_attempt(struct sqlite_db *db, const char *id, const char *outcome, const struct error *why,
                                struct error *e)
{
    char text[JOB_ATTEMPT_ERROR_MAX + 1];
    return EXECUTE(db, END_ATTEMPT, e, TEXT(id), UNLESS(!outcome, TEXT(outcome)), INTEGER(clock_wall_us()),
                   UNLESS(!why, TEXT(job_attempt_error(why, text))),
                   UNLESS(!why, TEXT(error_code_name(why->code))));
}

static bool next_due_ms(struct sqlite_db *db, int64_t now, int64_t *ret, struct error *e)
{
    bool row = false;
    _cleanup_statement_ struct sqlite3_stmt *st = START(db, NEXT_DUE, e, INTEGER(now));
    if (!st || !sqlite_db_next(db, st, &row, e))
        return false;
    *ret = !row || sqlite_row_is_null(st, 0) ? -1 : (sqlite_row_integer(st, 0) - now) / 1000 + 1;
    return true;
}

static bool sqlite_claim(struct job_store *store, const char *owner, size_t limit, struct job_list *ret,
                         int64_t *ret_next_ms, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    int64_t now = clock_wall_us();
    _cleanup_(job_list_release) struct job_list list = {0};
    while (list.count < limit) {
        char id[UUID_SIZE];
        if (!query_id(db, CLAIM_NEXT, VALUES(TEXT(owner), INTEGER(now)), id, e))
            return false;
        if (!id[0])
            break;
        struct job *j = sqlite_list_place(&list, e);
        if (!j || !load(db, id, j, e))
            return false;
        list.count++;
        if (!start_attempt(db, owner, j, e))
            return false;
    }
    if (!next_due_ms(db, now, ret_next_ms, e))
        return false;
    *ret = list;
    list = (struct job_list){0};
    return true;
}

static bool sqlite_note_upload(struct job_store *store, const struct job_attempt *a, const char *upload_id,
                               struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_(job_release) struct job j = {0};
    bool already;
    return load_current(db, a, JOB_PROCESSING, &j, &already, e) &&
           EXECUTE(db, NOTE_UPLOAD, e, TEXT(a->id), INTEGER(a->attempt), TEXT(upload_id));
}

static bool sqlite_progress(struct job_store *store, const struct job_progress *items, size_t count,
                            struct error *e)
{
    for (const struct job_progress *p = items; p < items + count; p++)
        if (!EXECUTE(db_of(store), PROGRESS, e, TEXT(p->id), INTEGER(p->attempt), INTEGER(p->rows),
                     INTEGER(p->bytes), UNLESS(p->percent < 0, REAL(p->percent))))
            return false;
    return true;
}

static bool set_text(char **field, const char *text, struct error *e)
{
    char *copy = strdup(text);
    if (!copy)
        return out_of_memory(e);
    free(*field);
    *field = copy;
    return true;
}

static bool end_as_published(struct job_store *store, const struct job_result *r, struct job *j, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    j->expires_at = r->expires_at;
    j->rows = r->rows;
    j->bytes = r->bytes;
    snprintf(j->sha256, sizeof j->sha256, "%s", r->sha256);
    return set_text(&j->link, r->link, e) && (!r->columns || set_text(&j->columns, r->columns, e)) &&
           (!r->details || set_text(&j->details, r->details, e)) && change(db, j, JOB_COMPLETED, e) &&
           leave_queue(store, j->id, e) &&
           EXECUTE(db, PUBLISH_ATTEMPT, e, TEXT(j->id), INTEGER(j->attempt), TEXT(r->object_key),
                   INTEGER(r->expires_at), INTEGER(clock_wall_us()));
}

static bool sqlite_publish(struct job_store *store, const struct job_attempt *a, const struct job_result *r,
                           struct job *ret, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_(job_release) struct job j = {0};
    bool already;
    if (!load_current(db, a, JOB_COMPLETED, &j, &already, e) ||
        (!already && !end_as_published(store, r, &j, e)))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool end_as_failed(struct job_store *store, const struct error *why, struct job *j, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    j->error_code = why->code;
    j->failures++;
    return set_text(&j->error_message, why->message, e) && change(db, j, JOB_FAILED, e) &&
           leave_queue(store, j->id, e) && end_running_attempt(db, j->id, "failed", why, e);
}

static bool sqlite_fail(struct job_store *store, const struct job_attempt *a, const struct error *why,
                        struct job *ret, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_(job_release) struct job j = {0};
    bool already;
    if (!load_current(db, a, JOB_FAILED, &j, &already, e) || (!already && !end_as_failed(store, why, &j, e)))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool put_back(struct sqlite_db *db, struct job *j, const char *outcome, const struct error *why,
                     uint64_t delay_ms, struct error *e)
{
    int64_t retry_at = clock_wall_us() + (int64_t)delay_ms * 1000;
    return change(db, j, JOB_PENDING, e) &&
           EXECUTE(db, PUT_BACK, e, TEXT(j->id), UNLESS(delay_ms == 0, INTEGER(retry_at))) &&
           end_running_attempt(db, j->id, outcome, why, e);
}

static bool note_failure(struct job *j, const struct error *why, struct error *e)
{
    char text[JOB_ATTEMPT_ERROR_MAX + 1];
    j->failures++;
    j->last_error_code = why->code;
    return set_text(&j->last_error, job_attempt_error(why, text), e);
}

static bool sqlite_requeue(struct job_store *store, const struct job_attempt *a, const struct error *why,
                           uint64_t delay_ms, struct job *ret, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_(job_release) struct job j = {0};
    bool already;
    if (!load_current(db, a, JOB_PENDING, &j, &already, e))
        return false;
    if (!already && ((why && !note_failure(&j, why, e)) ||
                     !put_back(db, &j, why ? "failed" : "handed_over", why, delay_ms, e)))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool sqlite_get(struct job_store *store, const char *org_id, const char *id, struct job *ret,
                       struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    if (!load(db_of(store), id, &j, e))
        return false;
    if (strcmp(j.org_id, org_id) != 0) /* says the same as of an unknown one */
        return error_set(e, ERROR_NOT_FOUND, "download not found");
    if (j.status == JOB_PENDING && !load_place(db_of(store), &j, e))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool sqlite_attempts(struct job_store *store, const char *id, struct job_attempt_list *ret, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_statement_ struct sqlite3_stmt *st = START(db, ATTEMPTS, e, TEXT(id));
    return st && sqlite_read_attempts(db, st, ret, e);
}

static bool sqlite_list(struct job_store *store, const char *org_id, const char *user_id, size_t limit,
                        size_t offset, struct job_list *ret, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_statement_ struct sqlite3_stmt *st =
        START(db, LIST_JOBS, e, TEXT(org_id), TEXT(user_id), INTEGER(limit), INTEGER(offset),
              INTEGER(JOB_LIST_SQL_MAX));
    return st && sqlite_read_jobs(db, st, ret, e);
}

static bool sqlite_remove(struct job_store *store, const char *org_id, const char *id, bool *ret_found,
                          struct error *e)
{
    struct sqlite_db *db = db_of(store);
    if (!EXECUTE(db, DELETE_RECORD, e, TEXT(id), TEXT(org_id)))
        return false;
    bool found = sqlite_db_changes(db) > 0;
    if (found && (!EXECUTE(db, DELETE_JOB, e, TEXT(id)) || !leave_queue(store, id, e) ||
                  !end_running_attempt(db, id, NULL, NULL, e) ||
                  !EXECUTE(db, FORGET_HISTORY, e, TEXT(id), INTEGER(FOR_EVER))))
        return false;
    *ret_found = found;
    return true;
}

static bool sqlite_recover(struct job_store *store, size_t *ret_count, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    for (size_t count = 0;; count++) {
        char id[UUID_SIZE];
        _cleanup_(job_release) struct job j = {0};
        if (!query_id(db, NEXT_RUNNING, NULL, 0, id, e))
            return false;
        if (!id[0]) {
            *ret_count = count;
            return true;
        }
        if (!load(db, id, &j, e))
            return false;
        j.rescues++;
        if (!put_back(db, &j, "lost", NULL, 0, e))
            return false;
    }
}

static bool sqlite_expire(struct job_store *store, size_t limit, size_t *ret_count, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    int64_t now = clock_wall_us();
    size_t count = 0;
    for (; count < limit; count++) {
        char id[UUID_SIZE];
        _cleanup_(job_release) struct job j = {0};
        if (!query_id(db, NEXT_EXPIRED, VALUES(INTEGER(now)), id, e))
            return false;
        if (!id[0])
            break;
        if (!load(db, id, &j, e) || !change(db, &j, JOB_EXPIRED, e))
            return false;
    }
    *ret_count = count;
    return true;
}

static bool sqlite_leftovers(struct job_store *store, size_t limit, bool published_too,
                             struct job_leftover_list *ret, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    _cleanup_statement_ struct sqlite3_stmt *st =
        START(db, LEFTOVERS, e, INTEGER(published_too), INTEGER(clock_wall_us()), INTEGER(limit));
    return st && sqlite_read_leftovers(db, st, ret, e);
}

static bool sqlite_cleaned(struct job_store *store, const struct job_leftover *l, struct error *e)
{
    struct sqlite_db *db = db_of(store);
    if (!EXECUTE(db, CLEARED_ONCE, e, TEXT(l->id), INTEGER(l->attempt),
                 INTEGER(clock_wall_us() + JOB_CLEAR_AGAIN_US)))
        return false;
    if (sqlite_db_changes(db) > 0)
        return true;
    if (!EXECUTE(db, KEEP_ATTEMPT, e, TEXT(l->id), INTEGER(l->attempt), INTEGER(FOR_EVER)))
        return false;
    return sqlite_db_changes(db) > 0 || EXECUTE(db, FORGET_ATTEMPT, e, TEXT(l->id), INTEGER(l->attempt));
}

static bool sqlite_not_cleaned(struct job_store *store, const struct job_leftover *l, struct error *e)
{
    return EXECUTE(db_of(store), NOT_CLEARED, e, TEXT(l->id), INTEGER(l->attempt),
                   INTEGER(clock_wall_us() + JOB_CLEAR_RETRY_US));
}

static bool sqlite_left(struct job_store *store, const struct job_leftover *l, struct error *e)
{
    return EXECUTE(db_of(store), LEFT_BEHIND, e, TEXT(l->id), INTEGER(l->attempt), TEXT(l->object_key),
                   UNLESS(!l->upload_id, TEXT(l->upload_id)));
}

static void sqlite_close(struct job_store *store)
{
    struct sqlite_store *s = CONTAINER_OF(store, struct sqlite_store, store);
    sqlite_db_close(s->db);
    free(s);
}

static const struct job_store_api sqlite_api = {
    .name = "sqlite",
    .close = sqlite_close,
    .begin = sqlite_begin,
    .begin_one = sqlite_begin, /* a call that fails is undone by its rollback() */
    .savepoint = sqlite_savepoint,
    .release = sqlite_release,
    .rollback_to = sqlite_rollback_to,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .settle = sqlite_settle,
    .create = sqlite_create,
    .claim = sqlite_claim,
    .note_upload = sqlite_note_upload,
    .progress = sqlite_progress,
    .publish = sqlite_publish,
    .fail = sqlite_fail,
    .requeue = sqlite_requeue,
    .get = sqlite_get,
    .attempts = sqlite_attempts,
    .list = sqlite_list,
    .remove = sqlite_remove,
    .recover = sqlite_recover,
    .expire = sqlite_expire,
    .leftovers = sqlite_leftovers,
    .cleaned = sqlite_cleaned,
    .not_cleaned = sqlite_not_cleaned,
    .left = sqlite_left,
};

struct job_store *job_store_sqlite_open(const char *path, struct error *e)
{
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (!s) {
        out_of_memory(e);
        return NULL;
    }
    s->store.api = &sqlite_api;
    s->db = sqlite_db_open(&(struct sqlite_db_options){.path = path,
                                                       .schema = sqlite_schema,
                                                       .schema_count = ARRAY_SIZE(sqlite_schema),
                                                       .statements = statement_sql,
                                                       .statement_count = STATEMENT_COUNT},
                           e);
    if (!s->db) {
        free(s);
        return NULL;
    }
    return &s->store;
}
