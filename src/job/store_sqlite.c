/* The job store in one SQLite file: the only file that sees sqlite3.h.
 *
 * Top to bottom: errors, statements, records, transactions, the calls of the interface, opening. */
#include "job/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mailbox.h" /* CONTAINER_OF */
#include "job/fair_tag.h"
#include "job/sqlite_schema.h"
#include "job/sqlite_statements.h"

/* Only the control thread writes; who else holds the file is a person with a tool. Less than the time after
 * which a client would give up on its answer. */
#define BUSY_TIMEOUT_MS 2000

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
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT]; /* prepared once, for the life of the connection */
};

static struct sqlite_store *of(struct job_store *s)
{
    return CONTAINER_OF(s, struct sqlite_store, store);
}

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_INTERNAL, "out of memory");
}

/* What SQLite says, in words for a client: its own can name the file. */
static bool failed(const struct sqlite_store *s, int rc, struct error *e)
{
    switch (rc & 0xFF) { /* the primary code of an extended one */
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(e, ERROR_UNAVAILABLE, "the job store is locked by another process");
    case SQLITE_FULL:
        return error_set(e, ERROR_UNAVAILABLE, "the job store is full");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(e, ERROR_UNAVAILABLE, "the job store is damaged");
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return error_set(e, ERROR_UNAVAILABLE, "the job store cannot be opened for writing");
    case SQLITE_IOERR:
        return error_set(e, ERROR_UNAVAILABLE, "the job store cannot be read or written (SQLite: %d)", rc);
    case SQLITE_NOMEM:
        return out_of_memory(e);
    default:
        return error_set(e, ERROR_INTERNAL, "job store: %s", sqlite3_errmsg(s->db));
    }
}

/* A parameter of a statement. Texts belong to the caller and live until the statement is reset. */
struct value {
    enum { VALUE_NULL, VALUE_INTEGER, VALUE_REAL, VALUE_TEXT } type;
    int64_t integer;
    double real;
    const char *text;
};
#define INTEGER(v) ((struct value){.type = VALUE_INTEGER, .integer = (int64_t)(v)})
#define INTEGER_OR_NULL(v) ((struct value){.type = (v) ? VALUE_INTEGER : VALUE_NULL, .integer = (int64_t)(v)})
#define REAL_OR_NULL(v) ((struct value){.type = (v) >= 0 ? VALUE_REAL : VALUE_NULL, .real = (v)})
#define TEXT(v) ((struct value){.type = VALUE_TEXT, .text = (v)})
#define TEXT_OR_NULL(v) ((struct value){.type = (v) ? VALUE_TEXT : VALUE_NULL, .text = (v)})

static int bind(sqlite3_stmt *st, int index, const struct value *v)
{
    switch (v->type) {
    case VALUE_INTEGER:
        return sqlite3_bind_int64(st, index, v->integer);
    case VALUE_REAL:
        return sqlite3_bind_double(st, index, v->real);
    case VALUE_TEXT:
        return sqlite3_bind_text(st, index, v->text, -1, SQLITE_STATIC);
    case VALUE_NULL:
        break;
    }
    return sqlite3_bind_null(st, index);
}

/* A statement that is left between rows holds its snapshot: so each is reset where it goes out of scope. */
static void reset(sqlite3_stmt **st)
{
    if (*st)
        sqlite3_reset(*st);
}
#define _cleanup_reset_ _cleanup_(reset)

static sqlite3_stmt *start(struct sqlite_store *s, enum statement n, const struct value *values, int count,
                           struct error *e)
{
    sqlite3_stmt *st = s->statements[n];
    for (int i = 0; i < count; i++) {
        int rc = bind(st, i + 1, &values[i]);
        if (rc != SQLITE_OK) {
            failed(s, rc, e);
            return NULL;
        }
    }
    return st;
}

static bool next_row(struct sqlite_store *s, sqlite3_stmt *st, bool *ret_row, struct error *e)
{
    int rc = sqlite3_step(st);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return failed(s, rc, e);
    *ret_row = rc == SQLITE_ROW;
    return true;
}

static bool execute(struct sqlite_store *s, enum statement n, const struct value *values, int count,
                    struct error *e)
{
    bool row = false;
    _cleanup_reset_ sqlite3_stmt *st = start(s, n, values, count, e);
    return st && next_row(s, st, &row, e);
}

#define VALUES(...)                      \
    (const struct value[]){__VA_ARGS__}, \
        (int)(sizeof((const struct value[]){__VA_ARGS__}) / sizeof(struct value))
#define START(s, n, e, ...) start(s, n, VALUES(__VA_ARGS__), e)
#define EXECUTE(s, n, e, ...) execute(s, n, VALUES(__VA_ARGS__), e)

/* The id in the first row, "" where there is none. */
static bool query_id(struct sqlite_store *s, enum statement n, const struct value *values, int count,
                     char ret_id[UUID_SIZE], struct error *e)
{
    bool row = false;
    _cleanup_reset_ sqlite3_stmt *st = start(s, n, values, count, e);
    if (!st || !next_row(s, st, &row, e))
        return false;
    const char *id = row ? (const char *)sqlite3_column_text(st, 0) : "";
    if (!id)
        return out_of_memory(e);
    snprintf(ret_id, UUID_SIZE, "%s", id);
    return true;
}

/* A copy of the column; NULL where it is NULL. */
static bool read_text(sqlite3_stmt *st, int column, char **ret)
{
    if (sqlite3_column_type(st, column) == SQLITE_NULL) {
        *ret = NULL;
        return true;
    }
    const char *text = (const char *)sqlite3_column_text(st, column);
    return text && (*ret = strdup(text));
}

/* A row of SELECT_JOB. What is NULL reads as 0. */
static bool read_job(sqlite3_stmt *st, struct job *ret, struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    _cleanup_free_ char *id = NULL, *status = NULL, *error_code = NULL, *sha256 = NULL;
    if (!read_text(st, 0, &id) || !read_text(st, 1, &j.user_id) || !read_text(st, 2, &j.org_id) ||
        !read_text(st, 3, &j.dataset_id) || !read_text(st, 4, &j.sql) || !read_text(st, 5, &j.format) ||
        !read_text(st, 6, &status) || !read_text(st, 11, &j.link) || !read_text(st, 12, &j.error_message) ||
        !read_text(st, 13, &error_code) || !read_text(st, 19, &sha256))
        return out_of_memory(e);
    if (!job_status_parse(status, &j.status))
        return error_set(e, ERROR_INTERNAL, "job store: a record of the unknown status %s", status);
    snprintf(j.id, sizeof j.id, "%s", id);
    j.created_at = sqlite3_column_int64(st, 7);
    j.updated_at = sqlite3_column_int64(st, 8);
    j.completed_at = sqlite3_column_int64(st, 9);
    j.expires_at = sqlite3_column_int64(st, 10);
    j.error_code = error_code ? job_error_code_parse(error_code) : ERROR_NONE;
    j.version = sqlite3_column_int64(st, 14);
    j.attempt = (uint32_t)sqlite3_column_int64(st, 15);
    j.rows = (uint64_t)sqlite3_column_int64(st, 16);
    j.bytes = (uint64_t)sqlite3_column_int64(st, 17);
    j.percent = sqlite3_column_type(st, 18) == SQLITE_NULL ? -1 : sqlite3_column_double(st, 18);
    snprintf(j.sha256, sizeof j.sha256, "%s", sha256 ? sha256 : "");
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool load(struct sqlite_store *s, const char *id, struct job *ret, struct error *e)
{
    bool row = false;
    _cleanup_reset_ sqlite3_stmt *st = START(s, GET_JOB, e, TEXT(id));
    if (!st || !next_row(s, st, &row, e))
        return false;
    return row ? read_job(st, ret, e) : error_set(e, ERROR_NOT_FOUND, "download not found");
}

/* The one place where a job's state changes, here and in the database: what was set in `j` beforehand is
 * written with it. Progress ends with the state that it belonged to. */
static bool change(struct sqlite_store *s, struct job *j, enum job_status to, struct error *e)
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
    return EXECUTE(s, UPDATE_RECORD, e, TEXT(j->id), TEXT(job_status_name(to)), INTEGER(j->updated_at),
                   INTEGER_OR_NULL(j->completed_at), INTEGER_OR_NULL(j->expires_at), TEXT_OR_NULL(j->link),
                   TEXT_OR_NULL(j->error_message)) &&
           EXECUTE(s, UPDATE_JOB, e, TEXT(j->id), INTEGER(j->version), INTEGER(j->attempt), INTEGER(j->rows),
                   INTEGER(j->bytes), TEXT_OR_NULL(j->sha256[0] ? j->sha256 : NULL),
                   TEXT_OR_NULL(j->error_code == ERROR_NONE ? NULL : error_code_name(j->error_code)));
}

/* The fence: the record, if the attempt is its current one and the caller's. */
static bool load_current(struct sqlite_store *s, const struct job_attempt *a, struct job *ret,
                         struct error *e)
{
    bool owner = false;
    _cleanup_reset_ sqlite3_stmt *st = START(s, IS_OWNER, e, TEXT(a->id), TEXT(a->owner));
    if (!st || !next_row(s, st, &owner, e))
        return false;
    _cleanup_(job_release) struct job j = {0};
    if (owner && !load(s, a->id, &j, e))
        return false;
    if (!owner || j.attempt != a->attempt || j.status != JOB_PROCESSING)
        return error_set(e, ERROR_STALE, "the attempt is no longer the job's current one");
    *ret = j;
    j = (struct job){0};
    return true;
}

/* SQLite may undo a whole transaction on its own, on a full disk for one. Then a savepoint would begin a new
 * one, and its release would commit. */
static bool still_open(const struct sqlite_store *s, struct error *e)
{
    if (sqlite3_get_autocommit(s->db))
        return error_set(e, ERROR_UNAVAILABLE, "the job store undid the transaction");
    return true;
}

static bool sqlite_begin(struct job_store *store, struct error *e)
{
    return execute(of(store), BEGIN, NULL, 0, e);
}

static bool sqlite_savepoint(struct job_store *store, struct error *e)
{
    struct sqlite_store *s = of(store);
    return still_open(s, e) && execute(s, SAVEPOINT, NULL, 0, e);
}

static bool sqlite_release(struct job_store *store, struct error *e)
{
    struct sqlite_store *s = of(store);
    return still_open(s, e) && execute(s, RELEASE, NULL, 0, e);
}

static void sqlite_rollback(struct job_store *store)
{
    struct sqlite_store *s = of(store);
    struct error ignored; /* what cannot be undone here is undone by SQLite */
    if (!sqlite3_get_autocommit(s->db))
        (void)!execute(s, ROLLBACK, NULL, 0, &ignored);
}

static void sqlite_rollback_to(struct job_store *store)
{
    struct sqlite_store *s = of(store);
    struct error ignored;
    if (sqlite3_get_autocommit(s->db))
        return;
    /* Half a call must never be committed: rather nothing at all. */
    if (!execute(s, ROLLBACK_TO, NULL, 0, &ignored) || !execute(s, RELEASE, NULL, 0, &ignored))
        sqlite_rollback(store);
}

static bool sqlite_commit(struct job_store *store, struct error *e)
{
    struct sqlite_store *s = of(store);
    return still_open(s, e) && execute(s, COMMIT, NULL, 0, e);
}

static bool choose_tag(struct sqlite_store *s, const char *org_id, uint64_t queue_size, int64_t *ret_tag,
                       struct error *e)
{
    bool row = false;
    _cleanup_reset_ sqlite3_stmt *st = START(s, QUEUE_STATE, e, TEXT(org_id));
    if (!st || !next_row(s, st, &row, e))
        return false;
    if ((uint64_t)sqlite3_column_int64(st, 0) >= queue_size)
        return error_set(e, ERROR_QUEUE_FULL, "the queue is full");
    *ret_tag = fair_tag(sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2));
    return true;
}

static bool sqlite_create(struct job_store *store, const struct job_request *r, uint64_t queue_size,
                          struct job *ret, struct error *e)
{
    struct sqlite_store *s = of(store);
    char id[UUID_SIZE];
    int64_t tag = 0;
    return choose_tag(s, r->org_id, queue_size, &tag, e) && uuid_random(id, e) &&
           EXECUTE(s, INSERT_RECORD, e, TEXT(id), TEXT(r->user_id), TEXT(r->org_id), TEXT(r->dataset_id),
                   TEXT(r->sql), TEXT(r->format), INTEGER(clock_wall_us())) &&
           EXECUTE(s, INSERT_JOB, e, TEXT(id)) &&
           EXECUTE(s, ENQUEUE, e, TEXT(id), TEXT(r->org_id), INTEGER(tag)) && load(s, id, ret, e);
}

static bool start_attempt(struct sqlite_store *s, struct job *j, struct error *e)
{
    j->attempt++;
    _cleanup_free_ char *key = job_object_key(j, j->attempt);
    if (!key)
        return out_of_memory(e);
    return change(s, j, JOB_PROCESSING, e) &&
           EXECUTE(s, INSERT_ATTEMPT, e, TEXT(j->id), INTEGER(j->attempt), TEXT(key));
}

/* Room for one more at the end of an array that doubles. */
static void *grow(void *items, size_t count, size_t size)
{
    bool full = count == 0 || (count >= 8 && (count & (count - 1)) == 0);
    return full ? reallocarray(items, count < 8 ? 8 : 2 * count, size) : items;
}

/* An empty record at the end of the list, to be filled; what fills it counts it. NULL: out of memory. */
static struct job *list_place(struct job_list *l, struct error *e)
{
    struct job *jobs = grow(l->jobs, l->count, sizeof *jobs);
    if (!jobs) {
        out_of_memory(e);
        return NULL;
    }
    l->jobs = jobs;
    return &jobs[l->count];
}

static bool sqlite_claim(struct job_store *store, const char *owner, size_t limit, struct job_list *ret,
                         struct error *e)
{
    struct sqlite_store *s = of(store);
    _cleanup_(job_list_release) struct job_list list = {0};
    while (list.count < limit) {
        char id[UUID_SIZE];
        if (!query_id(s, CLAIM_NEXT, VALUES(TEXT(owner)), id, e))
            return false;
        if (!id[0])
            break;
        struct job *j = list_place(&list, e);
        if (!j || !load(s, id, j, e))
            return false;
        list.count++;
        if (!start_attempt(s, j, e))
            return false;
    }
    *ret = list;
    list = (struct job_list){0};
    return true;
}

static bool sqlite_progress(struct job_store *store, const struct job_progress *items, size_t count,
                            struct error *e)
{
    for (const struct job_progress *p = items; p < items + count; p++)
        if (!EXECUTE(of(store), PROGRESS, e, TEXT(p->id), INTEGER(p->attempt), INTEGER(p->rows),
                     INTEGER(p->bytes), REAL_OR_NULL(p->percent)))
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

static bool sqlite_publish(struct job_store *store, const struct job_attempt *a, const struct job_result *r,
                           struct job *ret, struct error *e)
{
    struct sqlite_store *s = of(store);
    _cleanup_(job_release) struct job j = {0};
    if (!load_current(s, a, &j, e) || !set_text(&j.link, r->link, e))
        return false;
    j.expires_at = r->expires_at;
    j.rows = r->rows;
    j.bytes = r->bytes;
    snprintf(j.sha256, sizeof j.sha256, "%s", r->sha256);
    if (!change(s, &j, JOB_COMPLETED, e) || !EXECUTE(s, DEQUEUE, e, TEXT(j.id)) ||
        !EXECUTE(s, PUBLISH_ATTEMPT, e, TEXT(j.id), INTEGER(j.attempt), TEXT(r->object_key),
                 INTEGER(r->expires_at)))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool sqlite_fail(struct job_store *store, const struct job_attempt *a, const struct error *why,
                        struct job *ret, struct error *e)
{
    struct sqlite_store *s = of(store);
    _cleanup_(job_release) struct job j = {0};
    if (!load_current(s, a, &j, e) || !set_text(&j.error_message, why->message, e))
        return false;
    j.error_code = why->code;
    if (!change(s, &j, JOB_FAILED, e) || !EXECUTE(s, DEQUEUE, e, TEXT(j.id)) ||
        !EXECUTE(s, END_ATTEMPT, e, TEXT(j.id)))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool put_back(struct sqlite_store *s, struct job *j, struct error *e)
{
    return change(s, j, JOB_PENDING, e) && EXECUTE(s, PUT_BACK, e, TEXT(j->id)) &&
           EXECUTE(s, END_ATTEMPT, e, TEXT(j->id));
}

static bool sqlite_requeue(struct job_store *store, const struct job_attempt *a, struct job *ret,
                           struct error *e)
{
    struct sqlite_store *s = of(store);
    _cleanup_(job_release) struct job j = {0};
    if (!load_current(s, a, &j, e) || !put_back(s, &j, e))
        return false;
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool sqlite_get(struct job_store *store, const char *org_id, const char *id, struct job *ret,
                       struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    if (!load(of(store), id, &j, e))
        return false;
    if (strcmp(j.org_id, org_id) != 0) /* says the same as of an unknown one */
        return error_set(e, ERROR_NOT_FOUND, "download not found");
    *ret = j;
    j = (struct job){0};
    return true;
}

static bool sqlite_list(struct job_store *store, const char *org_id, const char *user_id, size_t limit,
                        size_t offset, struct job_list *ret, struct error *e)
{
    struct sqlite_store *s = of(store);
    _cleanup_(job_list_release) struct job_list list = {0};
    _cleanup_reset_ sqlite3_stmt *st =
        START(s, LIST_JOBS, e, TEXT(org_id), TEXT(user_id), INTEGER(limit), INTEGER(offset));
    if (!st)
        return false;
    for (;;) {
        bool row = false;
        if (!next_row(s, st, &row, e))
            return false;
        if (!row)
            break;
        struct job *j = list_place(&list, e);
        if (!j || !read_job(st, j, e))
            return false;
        list.count++;
    }
    *ret = list;
    list = (struct job_list){0};
    return true;
}

static bool sqlite_remove(struct job_store *store, const char *org_id, const char *id, bool *ret_found,
                          struct error *e)
{
    struct sqlite_store *s = of(store);
    if (!EXECUTE(s, DELETE_RECORD, e, TEXT(id), TEXT(org_id)))
        return false;
    bool found = sqlite3_changes(s->db) > 0;
    if (found && (!EXECUTE(s, DELETE_JOB, e, TEXT(id)) || !EXECUTE(s, DEQUEUE, e, TEXT(id)) ||
                  !EXECUTE(s, END_ATTEMPT, e, TEXT(id))))
        return false;
    *ret_found = found;
    return true;
}

static bool sqlite_recover(struct job_store *store, size_t *ret_count, struct error *e)
{
    struct sqlite_store *s = of(store);
    for (size_t count = 0;; count++) {
        char id[UUID_SIZE];
        _cleanup_(job_release) struct job j = {0};
        if (!query_id(s, NEXT_RUNNING, NULL, 0, id, e))
            return false;
        if (!id[0]) {
            *ret_count = count;
            return true;
        }
        if (!load(s, id, &j, e) || !put_back(s, &j, e))
            return false;
    }
}

static bool sqlite_expire(struct job_store *store, size_t limit, size_t *ret_count, struct error *e)
{
    struct sqlite_store *s = of(store);
    int64_t now = clock_wall_us();
    size_t count = 0;
    for (; count < limit; count++) {
        char id[UUID_SIZE];
        _cleanup_(job_release) struct job j = {0};
        if (!query_id(s, NEXT_EXPIRED, VALUES(INTEGER(now)), id, e))
            return false;
        if (!id[0])
            break;
        if (!load(s, id, &j, e) || !change(s, &j, JOB_EXPIRED, e))
            return false;
    }
    *ret_count = count;
    return true;
}

static bool sqlite_leftovers(struct job_store *store, size_t limit, bool published_too,
                             struct job_leftover_list *ret, struct error *e)
{
    struct sqlite_store *s = of(store);
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    _cleanup_reset_ sqlite3_stmt *st =
        START(s, LEFTOVERS, e, INTEGER(published_too), INTEGER(clock_wall_us()), INTEGER(limit));
    if (!st)
        return false;
    for (;;) {
        bool row = false;
        if (!next_row(s, st, &row, e))
            return false;
        if (!row)
            break;
        struct job_leftover *items = grow(list.items, list.count, sizeof *items), item = {0};
        if (!items)
            return out_of_memory(e);
        list.items = items;
        if (!read_text(st, 2, &item.object_key))
            return out_of_memory(e);
        snprintf(item.id, sizeof item.id, "%s", (const char *)sqlite3_column_text(st, 0));
        item.attempt = (uint32_t)sqlite3_column_int64(st, 1);
        items[list.count++] = item;
    }
    *ret = list;
    list = (struct job_leftover_list){0};
    return true;
}

static bool sqlite_cleaned(struct job_store *store, const char *id, uint32_t attempt, struct error *e)
{
    return EXECUTE(of(store), FORGET_ATTEMPT, e, TEXT(id), INTEGER(attempt));
}

static void sqlite_close(struct job_store *store)
{
    struct sqlite_store *s = of(store);
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    free(s);
}

static const struct job_store_api sqlite_api = {
    .name = "sqlite",
    .close = sqlite_close,
    .begin = sqlite_begin,
    .savepoint = sqlite_savepoint,
    .release = sqlite_release,
    .rollback_to = sqlite_rollback_to,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .create = sqlite_create,
    .claim = sqlite_claim,
    .progress = sqlite_progress,
    .publish = sqlite_publish,
    .fail = sqlite_fail,
    .requeue = sqlite_requeue,
    .get = sqlite_get,
    .list = sqlite_list,
    .remove = sqlite_remove,
    .recover = sqlite_recover,
    .expire = sqlite_expire,
    .leftovers = sqlite_leftovers,
    .cleaned = sqlite_cleaned,
};

/* First column of the first row of a statement that is run once. */
static bool query_once(struct sqlite_store *s, const char *sql, char **ret, struct error *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    bool row = false, ok = rc == SQLITE_OK ? next_row(s, st, &row, e) : failed(s, rc, e);
    if (ok && !(row && read_text(st, 0, ret) && *ret))
        ok = out_of_memory(e);
    sqlite3_finalize(st);
    return ok;
}

static bool execute_once(struct sqlite_store *s, const char *sql, struct error *e)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || failed(s, rc, e);
}

/* Inside a transaction. */
static bool migrate(struct sqlite_store *s, struct error *e)
{
    _cleanup_free_ char *version = NULL;
    if (!query_once(s, "PRAGMA user_version", &version, e))
        return false;
    size_t done = strtoul(version, NULL, 10);
    if (done > ARRAY_SIZE(sqlite_schema))
        return error_set(e, ERROR_CONFIG, "the job store was written by a newer version of this program");
    for (; done < ARRAY_SIZE(sqlite_schema); done++)
        if (!execute_once(s, sqlite_schema[done], e))
            return false;
    char set_version[64];
    snprintf(set_version, sizeof set_version, "PRAGMA user_version = %zu", done);
    return execute_once(s, set_version, e);
}

static bool open_database(struct sqlite_store *s, const char *path, struct error *e)
{
    /* SQLite would make it readable for all. Only where it is new: to close a file that is open elsewhere in
     * this process would drop SQLite's locks on it (POSIX, fcntl). */
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno != EEXIST)
        return error_set_errno(e, ERROR_UNAVAILABLE, errno, "the job store cannot be made");

    int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return failed(s, rc, e);
    sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);

    _cleanup_free_ char *mode = NULL;
    if (!query_once(s, "PRAGMA journal_mode = WAL", &mode, e))
        return false;
    if (strcmp(mode, "wal") != 0)
        return error_set(e, ERROR_UNAVAILABLE, "the job store's file system allows no write-ahead log");
    if (!execute_once(s, "PRAGMA synchronous = FULL", e) || !execute_once(s, "BEGIN IMMEDIATE", e))
        return false;
    return migrate(s, e) && execute_once(s, "COMMIT", e);
}

static bool prepare_statements(struct sqlite_store *s, struct error *e)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        int rc = sqlite3_prepare_v3(s->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i],
                                    NULL);
        if (rc != SQLITE_OK)
            return failed(s, rc, e);
    }
    return true;
}

struct job_store *job_store_sqlite_open(const char *path, struct error *e)
{
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (!s) {
        out_of_memory(e);
        return NULL;
    }
    s->store.api = &sqlite_api;
    if (!open_database(s, path, e) || !prepare_statements(s, e)) {
        sqlite_close(&s->store);
        return NULL;
    }
    return &s->store;
}
