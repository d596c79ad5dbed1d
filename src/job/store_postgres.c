/* The job store in a Postgres database, which other instances (and gopie-server, and the original service)
 * use at the same time.
 *
 * Top to bottom: statements, records, transactions, the calls of the interface.
 *
 * Every transaction that writes begins with one advisory lock: so instances write one after the other, the
 * waiting jobs that a creation counts are all there are, and no two transactions wait for each other
 * (docs/decisions/postgres.md). */
#include "job/store.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mailbox.h" /* CONTAINER_OF */
#include "job/pg_db.h"
#include "job/pg_records.h"
#include "job/pg_schema.h"
#include "job/pg_statements.h"

/* Of every transaction that writes; the number means nothing but that. */
#define WRITE_LOCK INT64_C(7094871302655181)

#define STATEMENT_TEXT(name, sql) static const char name[] = sql;
PG_STATEMENTS(STATEMENT_TEXT)
#undef STATEMENT_TEXT

/* Where lists go by downloads_seen, others' new records are looked for at most so often. */
#define SEE_EVERY_MS 60000

/* An index of the queue keeps the entries of rows that are long gone while anybody's old transaction could
 * still see them: 50,000 claims later each look for the first row would walk over 50,000 of them. So a look
 * begins at the frontier, the first row that there was at the last look behind the lock. No row comes before it:
 * a new job's tag is at least that of the first that is ready, or, where none is, the time (FAIR_NOW), and that of one
 * that was held is above; one that is put back is due now at the earliest; and a lease ends later than now. The clock may be set back: so now and then
 * a look begins at zero. */
struct frontier {
    int64_t tag, seq;       /* ready */
    int64_t due_at;         /* not yet due */
    int64_t lease_until;    /* running */
    int64_t from_zero_at;   /* monotonic: of the last look that began there */
};
#define FROM_ZERO_EVERY_MS 60000

struct postgres_store {
    struct job_store store;
    struct pg_db *db;
    struct frontier frontier, frontier_at_begin; /* back to which an undone transaction takes it */
    uint64_t lease_ms;
    int64_t asked_at; /* monotonic: when may_rescue() was asked last, */
    int64_t back_at;  /* and when for the first time after a long silence */
    bool indexed;    /* lists go by an index of `downloads`, else by downloads_seen */
    int64_t seen_at; /* monotonic */
};

static struct postgres_store *of(struct job_store *s)
{
    return CONTAINER_OF(s, struct postgres_store, store);
}

static struct pg_db *db_of(struct job_store *s)
{
    return of(s)->db;
}

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_INTERNAL, "out of memory");
}

#define INTEGER(v) ((struct pg_value){.type = PG_VALUE_INTEGER, .integer = (int64_t)(v)})
#define TEXT(v) ((struct pg_value){.type = PG_VALUE_TEXT, .text = (v)})
#define BOOL(v) TEXT((v) ? "t" : "f")
#define UNLESS(is_null, value) ((is_null) ? (struct pg_value){.type = PG_VALUE_NULL} : (value))

#define VALUES(...) \
    (const struct pg_value[]){__VA_ARGS__}, ARRAY_SIZE(((const struct pg_value[]){__VA_ARGS__}))
#define QUERY(db, statement, e, ...) pg_db_query(db, statement, VALUES(__VA_ARGS__), e)

/* The number of rows, -1 on failure. */
static int64_t execute(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                       struct error *e)
{
    _cleanup_pg_rows_ struct pg_rows *rows = pg_db_query(db, sql, values, count, e);
    return rows ? (int64_t)pg_rows_count(rows) : -1;
}
#define EXECUTE(db, statement, e, ...) execute(db, statement, VALUES(__VA_ARGS__), e)

/* The clock is the database's, so a time of ours reaches it only as what a caller set: the end of a link. */
#define TIME_SIZE CLOCK_RFC3339_SIZE

static struct pg_value time_value(int64_t wall_us, char text[TIME_SIZE])
{
    clock_format_rfc3339(wall_us, text);
    return TEXT(text);
}

/* One job: what an end of an attempt left. Where it changed nothing, that may be because it was told
 * before (the answer was lost): then the job is as `to` says, and the attempt its latest. */
static bool ended(struct pg_db *db, const struct pg_rows *rows, const struct job_attempt *a,
                  enum job_status to, struct job *ret, struct error *e)
{
    if (!rows)
        return false;
    if (pg_rows_count(rows) > 0) {
        struct pg_row r = {.rows = rows};
        return pg_read_job(&r, 0, ret, e);
    }
    _cleanup_(job_release) struct job j = {0};
    _cleanup_pg_rows_ struct pg_rows *now = QUERY(db, CURRENT, e, TEXT(a->id), TEXT(a->owner));
    if (!now)
        return false;
    struct pg_row r = {.rows = now};
    bool found = pg_rows_count(now) > 0;
    if (found && !pg_read_job(&r, 0, &j, e))
        return false;
    bool is_owner = found && pg_row_bool(&r, PG_JOB_COLUMNS);
    if (!found || is_owner || j.status != to || j.attempt != a->attempt || a->attempt == 0)
        return error_set(e, ERROR_STALE, "the attempt is no longer the job's current one");
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool postgres_begin(struct job_store *store, struct error *e)
{
    of(store)->frontier_at_begin = of(store)->frontier;
    return pg_db_begin(db_of(store), WRITE_LOCK, 0, e);
}

static bool postgres_begin_one(struct job_store *store, struct error *e)
{
    (void)e; /* the call connects */
    of(store)->frontier_at_begin = of(store)->frontier;
    pg_db_begin_each(db_of(store), WRITE_LOCK);
    return true;
}

static bool postgres_savepoint(struct job_store *store, struct error *e)
{
    return pg_db_queue(db_of(store), "SAVEPOINT call", e);
}

/* The next one is made inside of it, and hides it: to release it would be a statement for nothing. */
static bool postgres_release(struct job_store *store, struct error *e)
{
    (void)store;
    (void)e;
    return true;
}

static void postgres_rollback(struct job_store *store)
{
    of(store)->frontier = of(store)->frontier_at_begin;
    pg_db_rollback(db_of(store));
}

static void postgres_rollback_to(struct job_store *store)
{
    struct pg_db *db = db_of(store);
    struct error ignored; /* a transaction that is lost fails its commit */
    (void)!(pg_db_queue(db, "ROLLBACK TO SAVEPOINT call", &ignored) &&
            pg_db_queue(db, "RELEASE SAVEPOINT call", &ignored));
}

static bool postgres_commit(struct job_store *store, struct error *e)
{
    return pg_db_commit(db_of(store), e);
}

static bool copy(const char *text, char **ret)
{
    return (*ret = strdup(text));
}

static bool postgres_settle(struct job_store *store, struct error *e)
{
    return EXECUTE(db_of(store), SETTLE, e, INTEGER(store->bounds.org_max_running)) >= 0;
}

static struct pg_value bound(uint64_t n)
{
    return INTEGER(n < INT64_MAX ? n : INT64_MAX);
}

/* What CREATE says: the time, whether all wait that may (else all of the organisation), the place. */
static bool read_created(const struct pg_rows *rows, struct job *j, struct error *e)
{
    struct pg_row r = {.rows = rows};
    j->created_at = j->updated_at = pg_row_time(&r, 0);
    bool full = pg_row_bool(&r, 1);
    j->queue_position = (uint64_t)pg_row_integer(&r, 2);
    if (!pg_row_ok(&r, e))
        return false;
    if (j->created_at)
        return true;
    return full ? error_set(e, ERROR_QUEUE_FULL, "the queue is full")
                : error_set(e, ERROR_ORG_QUEUE_FULL, "the organisation has as many downloads waiting as it may");
}

static bool postgres_create(struct job_store *store, const struct job_request *r, struct job *ret, struct error *e)
{
    _cleanup_(job_release) struct job j = {.status = JOB_PENDING, .version = 1, .percent = -1};
    const struct job_bounds *b = &store->bounds;
    const struct frontier *f = &of(store)->frontier;
    if (!uuid_random(j.id, e))
        return false;
    if (!copy(r->user_id, &j.user_id) || !copy(r->org_id, &j.org_id) || !copy(r->dataset_id, &j.dataset_id) ||
        !copy(r->sql, &j.sql) || !copy(r->format, &j.format) || (r->form && !copy(r->form, &j.form)) ||
        (r->suffix && !copy(r->suffix, &j.suffix)))
        return out_of_memory(e);
    _cleanup_pg_rows_ struct pg_rows *rows =
        QUERY(db_of(store), CREATE, e, TEXT(j.id), TEXT(j.user_id), TEXT(j.org_id), TEXT(j.dataset_id),
              TEXT(j.sql), TEXT(j.format), bound(b->queue_size), BOOL(!of(store)->indexed),
              bound(b->org_max_queued), bound(b->org_max_running), INTEGER(f->tag), INTEGER(f->seq),
              INTEGER(f->due_at), UNLESS(!r->form, TEXT(r->form)), UNLESS(!r->suffix, TEXT(r->suffix)));
    if (!rows || !read_created(rows, &j, e))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

/* Asked by each poll: a longer silence says that this process was stopped. */
#define SILENCE_MS 1000

/* After an outage, and after our own absence (others may have been stopped with us: a machine that stood still),
 * those who run jobs get the time of a lease to say so. */
static bool may_rescue(struct postgres_store *s)
{
    int64_t now = clock_monotonic_ms(), lease = (int64_t)s->lease_ms;
    if (now - s->asked_at > (lease > SILENCE_MS ? lease : SILENCE_MS))
        s->back_at = now;
    s->asked_at = now;
    return pg_db_up_ms(s->db) >= lease && now - s->back_at >= lease;
}

/* The first that was ready when the claim began. */
static bool advance(struct frontier *f, const struct pg_rows *rows, struct error *e)
{
    for (size_t i = 0; i < pg_rows_count(rows); i++) {
        struct pg_row r = {.rows = rows, .row = (int)i};
        bool ready = pg_row_bool(&r, PG_JOB_COLUMNS);
        int64_t tag = pg_row_integer(&r, PG_JOB_COLUMNS + 1), seq = pg_row_integer(&r, PG_JOB_COLUMNS + 2);
        if (!pg_row_ok(&r, e))
            return false;
        if (ready) {
            f->tag = tag;
            f->seq = seq;
            break;
        }
    }
    return true;
}

static bool postgres_claim(struct job_store *store, const char *owner, size_t limit, struct job_list *ret,
                           int64_t *ret_next_ms, struct error *e)
{
    struct postgres_store *s = of(store);
    struct frontier *f = &s->frontier;
    _cleanup_pg_rows_ struct pg_rows *rows =
        QUERY(s->db, CLAIM, e, TEXT(owner), INTEGER(limit), INTEGER(s->lease_ms), BOOL(may_rescue(s)),
              INTEGER(f->tag), INTEGER(f->seq), INTEGER(f->due_at), INTEGER(f->lease_until),
              INTEGER(store->bounds.org_max_running));
    if (!rows || !advance(f, rows, e) || !pg_read_jobs(rows, ret, e))
        return false;
    /* Should the clock have been set back: what is ours is never below the frontier. */
    if (ret->count > 0 && ret->jobs[0].updated_at < f->lease_until)
        f->lease_until = ret->jobs[0].updated_at;
    *ret_next_ms = -1;
    return true;
}

static bool postgres_note_upload(struct job_store *store, const struct job_attempt *a, const char *upload_id,
                                 struct error *e)
{
    int64_t rows = EXECUTE(db_of(store), NOTE_UPLOAD, e, TEXT(a->id), INTEGER(a->attempt), TEXT(a->owner),
                           TEXT(upload_id));
    if (rows == 0)
        error_set(e, ERROR_STALE, "the attempt is no longer the job's current one");
    return rows > 0;
}

/* Arrays as the server reads them: {1,2}. What is in them needs no quotes. */
#define ARRAY_MAX ((size_t)16 << 20)

static void array_init(struct buf *b)
{
    buf_init(b, ARRAY_MAX);
    buf_append_text(b, "{");
}

static void array_separate(struct buf *b)
{
    if (b->len > 1)
        buf_append_text(b, ",");
}

static void array_add_text(struct buf *b, const char *text)
{
    array_separate(b);
    buf_append_text(b, text);
}

static void array_add_integer(struct buf *b, int64_t v)
{
    array_separate(b);
    buf_printf(b, "%" PRId64, v);
}

static struct pg_value array_end(struct buf *b)
{
    buf_append_text(b, "}");
    return TEXT(b->data);
}

static bool postgres_progress(struct job_store *store, const struct job_progress *items, size_t count,
                              struct error *e)
{
    _cleanup_buf_ struct buf ids, attempts, rows, bytes, percents;
    struct buf *const arrays[] = {&ids, &attempts, &rows, &bytes, &percents};
    struct pg_value values[ARRAY_SIZE(arrays)];
    bool ok = true;
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++)
        array_init(arrays[i]);
    for (const struct job_progress *p = items; p < items + count; p++) {
        char percent[32];
        snprintf(percent, sizeof percent, "%.17g", p->percent);
        array_add_text(&ids, p->id);
        array_add_integer(&attempts, p->attempt);
        array_add_integer(&rows, (int64_t)p->rows);
        array_add_integer(&bytes, (int64_t)p->bytes);
        array_add_text(&percents, p->percent < 0 ? "NULL" : percent);
    }
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
        values[i] = array_end(arrays[i]);
        ok = ok && buf_ok(arrays[i]);
    }
    if (!ok)
        return out_of_memory(e);
    return execute(db_of(store), PROGRESS, values, ARRAY_SIZE(values), e) >= 0;
}

static struct pg_rows *publish_with(struct job_store *store, const struct job_attempt *a, const struct job_result *r,
                                    const char *columns, struct error *e)
{
    char link_ends[TIME_SIZE];
    return QUERY(db_of(store), PUBLISH, e, TEXT(a->id), INTEGER(a->attempt), TEXT(a->owner),
                 time_value(r->expires_at, link_ends), TEXT(r->link), INTEGER(r->rows), INTEGER(r->bytes),
                 TEXT(r->sha256), TEXT(r->object_key), INTEGER(store->bounds.org_max_running),
                 INTEGER(of(store)->frontier.tag), INTEGER(of(store)->frontier.seq), UNLESS(!columns, TEXT(columns)),
                 UNLESS(!r->details, TEXT(r->details)));
}

/* The same JSON without a character that some encoding lacks. NULL: out of memory. */
static char *ascii_json(const char *json)
{
    json_t *value = json_loads(json, JSON_ALLOW_NUL, NULL);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(value);
    return text;
}

/* Columns are called as the query likes: names that the database cannot hold are stored in escapes, since a job whose
 * end is refused would run for ever. */
static bool postgres_publish(struct job_store *store, const struct job_attempt *a, const struct job_result *r,
                             struct job *ret, struct error *e)
{
    struct error refusal;
    _cleanup_pg_rows_ struct pg_rows *rows = publish_with(store, a, r, r->columns, &refusal);
    if (!rows && r->columns && refusal.code == ERROR_INVALID) {
        _cleanup_free_ char *columns = ascii_json(r->columns);
        if (!columns)
            return out_of_memory(e);
        if (!pg_db_queue(db_of(store), "ROLLBACK TO SAVEPOINT call", e))
            return false;
        rows = publish_with(store, a, r, columns, e);
    } else if (!rows)
        *e = refusal;
    return ended(db_of(store), rows, a, JOB_COMPLETED, ret, e);
}

/* ASCII is in every encoding: any other character becomes a '?'. */
static void to_ascii(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++)
        if (((unsigned char)*p & 0xC0) != 0x80)
            *to++ = (unsigned char)*p < 0x80 ? *p : '?';
    *to = '\0';
}

/* Ends of an attempt that carry a message; `delay_ms` is requeue's alone. */
typedef struct pg_rows *end_with(struct job_store *store, const struct job_attempt *a, const struct error *why,
                                 uint64_t delay_ms, struct error *e);

static struct pg_rows *fail_with(struct job_store *store, const struct job_attempt *a, const struct error *why,
                                 uint64_t delay_ms, struct error *e)
{
    char text[JOB_ATTEMPT_ERROR_MAX + 1];
    (void)delay_ms;
    return QUERY(db_of(store), FAIL, e, TEXT(a->id), INTEGER(a->attempt), TEXT(a->owner), TEXT(why->message),
                 TEXT(error_code_name(why->code)), TEXT(job_attempt_error(why, text)),
                 INTEGER(store->bounds.org_max_running), INTEGER(of(store)->frontier.tag),
                 INTEGER(of(store)->frontier.seq));
}

static struct pg_rows *requeue_with(struct job_store *store, const struct job_attempt *a, const struct error *why,
                                    uint64_t delay_ms, struct error *e)
{
    char text[JOB_ATTEMPT_ERROR_MAX + 1];
    return QUERY(db_of(store), REQUEUE, e, TEXT(a->id), INTEGER(a->attempt), TEXT(a->owner),
                 UNLESS(!why, TEXT(job_attempt_error(why, text))), UNLESS(!why, TEXT(error_code_name(why->code))),
                 INTEGER(delay_ms));
}

/* An error may repeat what the query read: a message that the database cannot hold is stored as far as it can,
 * since a job whose end is refused would run for ever. */
static bool end_attempt(struct job_store *store, end_with *query, const struct job_attempt *a,
                        const struct error *why, uint64_t delay_ms, enum job_status to, struct job *ret,
                        struct error *e)
{
    struct pg_db *db = db_of(store);
    struct error plain, refusal;
    _cleanup_pg_rows_ struct pg_rows *rows = query(store, a, why, delay_ms, &refusal);
    if (!rows && why && refusal.code == ERROR_INVALID) {
        plain = *why;
        to_ascii(plain.message);
        if (!pg_db_queue(db, "ROLLBACK TO SAVEPOINT call", e))
            return false;
        rows = query(store, a, &plain, delay_ms, e);
    } else if (!rows)
        *e = refusal;
    return ended(db, rows, a, to, ret, e);
}

static bool postgres_fail(struct job_store *store, const struct job_attempt *a, const struct error *why,
                          struct job *ret, struct error *e)
{
    return end_attempt(store, fail_with, a, why, 0, JOB_FAILED, ret, e);
}

static bool postgres_requeue(struct job_store *store, const struct job_attempt *a, const struct error *why,
                             uint64_t delay_ms, struct job *ret, struct error *e)
{
    return end_attempt(store, requeue_with, a, why, delay_ms, JOB_PENDING, ret, e);
}

static bool postgres_get(struct job_store *store, const char *org_id, const char *id, struct job *ret,
                         struct error *e)
{
    char uuid[UUID_SIZE];
    if (!uuid_parse(id, uuid)) /* the server would call it a wrong statement */
        return error_set(e, ERROR_NOT_FOUND, "download not found");
    _cleanup_pg_rows_ struct pg_rows *rows = QUERY(db_of(store), GET, e, TEXT(uuid), TEXT(org_id));
    if (!rows)
        return false;
    if (pg_rows_count(rows) == 0)
        return error_set(e, ERROR_NOT_FOUND, "download not found");
    _cleanup_(job_release) struct job j = {0};
    struct pg_row r = {.rows = rows};
    if (!pg_read_job(&r, 0, &j, e))
        return false;
    j.retry_at = pg_row_time(&r, PG_JOB_COLUMNS);
    j.queue_position = (uint64_t)pg_row_integer(&r, PG_JOB_COLUMNS + 1);
    if (!pg_row_ok(&r, e))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool postgres_attempts(struct job_store *store, const char *id, struct job_attempt_list *ret, struct error *e)
{
    _cleanup_pg_rows_ struct pg_rows *rows = QUERY(db_of(store), ATTEMPTS, e, TEXT(id));
    return rows && pg_read_attempts(rows, ret, e);
}

/* Read-only is no place for it: a transaction that writes, of its own where none is open. */
static bool see_records(struct postgres_store *s, struct error *e)
{
    bool alone = !pg_db_in_transaction(s->db);
    if (alone)
        pg_db_begin_each(s->db, 0);
    bool ok = execute(s->db, SEE_RECORDS, NULL, 0, e) >= 0 && (!alone || pg_db_commit(s->db, e));
    if (ok)
        s->seen_at = clock_monotonic_ms();
    else if (alone)
        pg_db_rollback(s->db);
    return ok;
}

static bool postgres_list(struct job_store *store, const char *org_id, const char *user_id, size_t limit,
                          size_t offset, struct job_list *ret, struct error *e)
{
    struct postgres_store *s = of(store);
    if (!s->indexed && clock_monotonic_ms() - s->seen_at >= SEE_EVERY_MS && !see_records(s, e))
        return false;
    _cleanup_pg_rows_ struct pg_rows *rows =
        QUERY(s->db, s->indexed ? LIST : LIST_SEEN, e, TEXT(org_id), TEXT(user_id), INTEGER(limit),
              INTEGER(offset), INTEGER(JOB_LIST_SQL_MAX));
    return rows && pg_read_jobs(rows, ret, e);
}

static bool postgres_remove(struct job_store *store, const char *org_id, const char *id, bool *ret_found,
                            struct error *e)
{
    char uuid[UUID_SIZE];
    int64_t rows = !uuid_parse(id, uuid)
                       ? 0
                       : EXECUTE(db_of(store), REMOVE, e, TEXT(uuid), TEXT(org_id),
                                 INTEGER(store->bounds.org_max_running), INTEGER(of(store)->frontier.tag),
                                 INTEGER(of(store)->frontier.seq));
    if (rows < 0)
        return false;
    *ret_found = rows > 0;
    return true;
}

static bool postgres_expire(struct job_store *store, size_t limit, size_t *ret_count, struct error *e)
{
    _cleanup_pg_rows_ struct pg_rows *rows = QUERY(db_of(store), EXPIRE, e, INTEGER(limit));
    if (!rows)
        return false;
    struct pg_row r = {.rows = rows};
    int64_t count = pg_row_integer(&r, 0);
    if (!pg_row_ok(&r, e))
        return false;
    *ret_count = (size_t)count;
    return true;
}

static bool postgres_leftovers(struct job_store *store, size_t limit, bool published_too,
                               struct job_leftover_list *ret, struct error *e)
{
    _cleanup_pg_rows_ struct pg_rows *rows =
        QUERY(db_of(store), LEFTOVERS, e, INTEGER(limit), BOOL(published_too));
    return rows && pg_read_leftovers(rows, ret, e);
}

static bool postgres_cleaned(struct job_store *store, const struct job_leftover *l, struct error *e)
{
    return EXECUTE(db_of(store), CLEANED, e, TEXT(l->id), INTEGER(l->attempt), INTEGER(JOB_CLEAR_AGAIN_US),
                   BOOL(l->again)) >= 0;
}

static bool postgres_not_cleaned(struct job_store *store, const struct job_leftover *l, struct error *e)
{
    return EXECUTE(db_of(store), NOT_CLEANED, e, TEXT(l->id), INTEGER(l->attempt), INTEGER(JOB_CLEAR_RETRY_US)) >= 0;
}

static bool postgres_left(struct job_store *store, const struct job_leftover *l, struct error *e)
{
    return EXECUTE(db_of(store), LEFT_BEHIND, e, TEXT(l->id), INTEGER(l->attempt), TEXT(l->object_key),
                   UNLESS(!l->upload_id, TEXT(l->upload_id))) >= 0;
}

static bool postgres_poll(struct job_store *store, const struct job_poll *p, struct job_poll_result *ret,
                          struct error *e)
{
    struct postgres_store *s = of(store);
    _cleanup_buf_ struct buf ids, versions, row_counts, bytes;
    array_init(&ids);
    array_init(&versions);
    array_init(&row_counts);
    array_init(&bytes);
    for (const struct job_watch *w = p->watched; w < p->watched + p->watched_count; w++) {
        array_add_text(&ids, w->id);
        array_add_integer(&versions, w->version);
        array_add_integer(&row_counts, (int64_t)w->rows);
        array_add_integer(&bytes, (int64_t)w->bytes);
    }
    const struct frontier *f = &s->frontier;
    const struct pg_value values[] = {TEXT(p->owner),        array_end(&ids),       array_end(&versions),
                                      array_end(&row_counts), array_end(&bytes),     BOOL(may_rescue(s)),
                                      INTEGER(f->tag),        INTEGER(f->seq),       INTEGER(f->due_at),
                                      INTEGER(f->lease_until)};
    if (!buf_ok(&ids) || !buf_ok(&versions) || !buf_ok(&row_counts) || !buf_ok(&bytes))
        return out_of_memory(e);
    _cleanup_pg_rows_ struct pg_rows *rows = pg_db_query_plain(s->db, POLL, values, ARRAY_SIZE(values), e);
    return rows && pg_read_poll(rows, ret, e);
}

static bool postgres_renew(struct job_store *store, const char *owner, struct error *e)
{
    struct postgres_store *s = of(store);
    struct frontier f = s->frontier;
    int64_t now = clock_monotonic_ms();
    if (now - f.from_zero_at >= FROM_ZERO_EVERY_MS)
        f = (struct frontier){.from_zero_at = now};
    _cleanup_pg_rows_ struct pg_rows *rows =
        QUERY(s->db, RENEW, e, TEXT(owner), INTEGER(s->lease_ms), INTEGER(f.tag), INTEGER(f.seq),
              INTEGER(f.due_at), INTEGER(f.lease_until));
    if (!rows)
        return false;
    struct pg_row r = {.rows = rows};
    f.tag = pg_row_integer(&r, 0);
    f.seq = pg_row_integer(&r, 1);
    f.due_at = pg_row_time(&r, 2);
    f.lease_until = pg_row_time(&r, 3);
    if (!pg_row_ok(&r, e))
        return false;
    s->frontier = f;
    return true;
}

static void postgres_close(struct job_store *store)
{
    struct postgres_store *s = of(store);
    pg_db_close(s->db);
    free(s);
}

static const struct job_store_api postgres_api = {
    .name = "postgres",
    .close = postgres_close,
    .begin = postgres_begin,
    .begin_one = postgres_begin_one,
    .savepoint = postgres_savepoint,
    .release = postgres_release,
    .rollback_to = postgres_rollback_to,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .settle = postgres_settle,
    .create = postgres_create,
    .claim = postgres_claim,
    .note_upload = postgres_note_upload,
    .progress = postgres_progress,
    .publish = postgres_publish,
    .fail = postgres_fail,
    .requeue = postgres_requeue,
    .get = postgres_get,
    .attempts = postgres_attempts,
    .list = postgres_list,
    .remove = postgres_remove,
    .expire = postgres_expire,
    .leftovers = postgres_leftovers,
    .cleaned = postgres_cleaned,
    .not_cleaned = postgres_not_cleaned,
    .left = postgres_left,
    .renew = postgres_renew,
    .poll = postgres_poll,
};

static struct pg_db *open_db(const struct job_store_postgres_options *o, struct error *e)
{
    return pg_db_open(&(struct pg_db_options){.host = o->host,
                                              .port = o->port,
                                              .database = o->database,
                                              .user = o->user,
                                              .password = o->password,
                                              .sslmode = o->sslmode,
                                              .timeout_ms = o->statement_timeout_ms,
                                              .note = o->note,
                                              .context = o->context},
                      e);
}

struct job_store *job_store_postgres_open(const struct job_store_postgres_options *o, struct error *e)
{
    struct postgres_store *s = calloc(1, sizeof *s);
    if (!s) {
        out_of_memory(e);
        return NULL;
    }
    s->store.api = &postgres_api;
    s->lease_ms = o->lease_ms;
    s->db = open_db(o, e);
    if (!s->db || !pg_schema_bring_up(s->db, o->note, o->context, &s->indexed, e)) {
        postgres_close(&s->store);
        return NULL;
    }
    s->seen_at = s->asked_at = s->back_at = clock_monotonic_ms();
    return &s->store;
}

bool job_store_postgres_check(const struct job_store_postgres_options *o, struct error *e)
{
    struct pg_db *db = open_db(o, e);
    bool ok = db && pg_schema_check(db, o->note, o->context, e);
    pg_db_close(db);
    return ok;
}
