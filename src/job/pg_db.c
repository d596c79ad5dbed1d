#include "job/pg_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"

#define RETRY_MS 1000
#define QUEUE_MAX 12

struct pg_db {
    struct pg_db_options options; /* its texts are copies */
    char *name;
    const char *encoding;
    PGconn *conn; /* NULL: lost */
    int64_t last_try; /* the end of the last attempt to connect */
    int64_t up_since;
    char *told; /* what was noted last of a connection that is lost; NULL: it is there */

    bool in_transaction;
    bool sent; /* the server knows of the transaction */
    bool lost; /* the connection broke in it */
    bool each; /* every query is a transaction of its own, */
    int64_t each_lock;
    bool other_default; /* and needs a BEGIN: the sessions of this connection are not as ours are to be */
    uint64_t timeout_ms;
    char settings[640];
    const char *queued[QUEUE_MAX];
    size_t queued_count;
};

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_INTERNAL, "out of memory");
}

static void note(struct pg_db *db, const char *line)
{
    if (db->options.note)
        db->options.note(db->options.context, line);
}

/* The connection is of no more use. */
static void drop(struct pg_db *db)
{
    PQfinish(db->conn); /* does not wait: the socket is non-blocking */
    db->conn = NULL;
    db->lost = db->in_transaction;
    db->up_since = clock_monotonic_ms();
}

/* --- connecting --- */

static bool make_connection(struct pg_db *db, struct error *e)
{
    db->conn = pg_connect(&db->options, db->name, &db->encoding, e);
    db->last_try = db->up_since = clock_monotonic_ms();
    db->other_default = false;
    return db->conn;
}

/* A server that ended while nothing was asked of it has said so, or closed. */
static bool still_connected(struct pg_db *db)
{
    if (!db->conn)
        return false;
    struct pollfd p = {.fd = PQsocket(db->conn), .events = POLLIN};
    while (poll(&p, 1, 0) == 1)
        if (!PQconsumeInput(db->conn)) {
            drop(db);
            return false;
        }
    return true;
}

/* Every reason once, not once a second. */
static void note_lost(struct pg_db *db, const char *why)
{
    if (db->told && strcmp(db->told, why) == 0)
        return;
    note(db, why);
    free(db->told);
    db->told = strdup(why); /* without memory it is noted again */
}

static bool ensure_connected(struct pg_db *db, struct error *e)
{
    if (still_connected(db))
        return true;
    struct error why;
    if (!db->told)
        note_lost(db, "the connection to Postgres is lost");
    if (clock_monotonic_ms() - db->last_try < RETRY_MS)
        return error_set(e, ERROR_UNAVAILABLE, "the job store cannot be reached");
    if (!make_connection(db, &why)) {
        note_lost(db, why.message);
        return error_set(e, ERROR_UNAVAILABLE, "the job store cannot be reached");
    }
    note(db, "connected to Postgres again");
    free(db->told);
    db->told = NULL;
    return true;
}

struct pg_db *pg_db_open(const struct pg_db_options *o, struct error *e)
{
    struct pg_db *db = calloc(1, sizeof *db);
    if (!db) {
        out_of_memory(e);
        return NULL;
    }
    db->encoding = "UTF8";
    db->options = *o;
    db->options.host = strdup(o->host);
    db->options.database = strdup(o->database);
    db->options.user = strdup(o->user);
    db->options.password = strdup(o->password);
    db->options.sslmode = o->sslmode ? strdup(o->sslmode) : NULL;
    if (asprintf(&db->name, "%s@%s:%u/%s", o->user, o->host, o->port, o->database) < 0)
        db->name = NULL;
    bool copied = db->options.host && db->options.database && db->options.user && db->options.password &&
                  (db->options.sslmode || !o->sslmode) && db->name;
    if (!copied ? !out_of_memory(e) : !make_connection(db, e)) {
        pg_db_close(db);
        return NULL;
    }
    return db;
}

void pg_db_close(struct pg_db *db)
{
    if (!db)
        return;
    PQfinish(db->conn);
    free((char *)db->options.host);
    free((char *)db->options.database);
    free((char *)db->options.user);
    free((char *)db->options.password);
    free((char *)db->options.sslmode);
    free(db->told);
    free(db->name);
    free(db);
}

int64_t pg_db_up_ms(const struct pg_db *db)
{
    return db->conn ? clock_monotonic_ms() - db->up_since : 0;
}

const char *pg_db_name(const struct pg_db *db)
{
    return db->name;
}

/* --- one trip: statements there, answers back --- */

/* What goes wrong in a trip: the first error, whether the connection is to be given up, and whether it was
 * SET_READ_WRITE that failed. */
struct trip_error {
    bool failed, broken, other_default;
    struct error error;
};

static bool in_class(const char *sqlstate, const char *class)
{
    return strncmp(sqlstate, class, strlen(class)) == 0;
}

static void classify(const PGresult *r, struct trip_error *t)
{
    const char *sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    _cleanup_free_ char *why = pg_one_line(PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY));
    t->failed = true;
    if (!sqlstate) { /* libpq's own: the connection broke */
        t->broken = true;
        error_set(&t->error, ERROR_UNAVAILABLE, "the connection to the job store is lost");
        return;
    }
    static const struct {
        const char *class;
        enum error_code code;
        bool broken;
        const char *text;
    } classes[] = {
        {"08", ERROR_UNAVAILABLE, true, "the connection to the job store is lost"},
        {"57P", ERROR_UNAVAILABLE, true, "the job store is shutting down or starting"},
        {"57014", ERROR_UNAVAILABLE, false, "the job store took too long"},
        {"55P03", ERROR_UNAVAILABLE, false, "the job store is busy"},
        {"40", ERROR_UNAVAILABLE, false, "the job store is busy"},
        {"53", ERROR_UNAVAILABLE, false, "the job store has no room"},
        {"58", ERROR_UNAVAILABLE, false, "the job store's disk fails"},
        {"XX", ERROR_UNAVAILABLE, false, "the job store is damaged"},
        {"25006", ERROR_UNAVAILABLE, true, "the job store is read-only"},
        {"0A000", ERROR_UNAVAILABLE, true, "the job store is read-only"}, /* BEGIN READ WRITE on a standby */
        {"25P", ERROR_UNAVAILABLE, false, "the job store undid the transaction"},
        {"22021", ERROR_INVALID, false, "a character that the job store's encoding does not have"},
        {"22P05", ERROR_INVALID, false, "a character that the job store's encoding does not have"},
        {"42501", ERROR_CONFIG, false, "the job store refuses permission"},
    };
    const char *text = "job store";
    enum error_code code = ERROR_INTERNAL;
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
        if (in_class(sqlstate, classes[i].class)) {
            code = classes[i].code;
            text = classes[i].text;
            t->broken = classes[i].broken;
            break;
        }
    t->other_default = in_class(sqlstate, "25001");
    if (severity && strcmp(severity, "ERROR") != 0) { /* FATAL: the session is over */
        t->broken = true;
        code = ERROR_UNAVAILABLE;
    }
    error_set(&t->error, code, "%s: %s (%s)", text, why ? why : "", sqlstate);
}

static void broken(struct trip_error *t, const char *text)
{
    t->broken = true;
    if (!t->failed)
        error_set(&t->error, ERROR_UNAVAILABLE, "%s", text);
    t->failed = true;
}

/* Until all is sent and an answer can be taken without a wait. */
static bool await_answer(PGconn *conn, int64_t deadline, struct trip_error *t)
{
    for (;;) {
        int unsent = PQflush(conn);
        if (unsent == 0 && !PQisBusy(conn))
            return true;
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0) {
            broken(t, "the job store does not answer");
            return false;
        }
        struct pollfd p = {.fd = PQsocket(conn), .events = unsent > 0 ? POLLIN | POLLOUT : POLLIN};
        if (unsent < 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR)) {
            broken(t, "the connection to the job store is lost");
            return false;
        }
        if (p.revents & ~POLLOUT && !PQconsumeInput(conn))
            return true; /* what the server said last is still to be taken */
    }
}

static bool send(PGconn *conn, const char *sql, const struct pg_value *values, size_t count)
{
    char numbers[PG_VALUES_MAX][24];
    const char *texts[PG_VALUES_MAX];
    for (size_t i = 0; i < count; i++) {
        if (values[i].type == PG_VALUE_INTEGER)
            snprintf(numbers[i], sizeof numbers[i], "%" PRId64, values[i].integer);
        texts[i] = values[i].type == PG_VALUE_NULL      ? NULL
                   : values[i].type == PG_VALUE_INTEGER ? numbers[i]
                                                        : values[i].text;
    }
    return PQsendQueryParams(conn, sql, (int)count, NULL, texts, NULL, NULL, 1);
}

/* Takes the answers up to the end of the trip. `ret` is that of the statement at place `wanted`. */
static void take_answers(PGconn *conn, size_t wanted, int64_t deadline, PGresult **ret, struct trip_error *t)
{
    for (size_t place = 0, nothing = 0; nothing < 2;) {
        if (!await_answer(conn, deadline, t))
            return;
        PGresult *r = PQgetResult(conn);
        if (!r) { /* one ends each statement's answer; more mean that there is no more */
            nothing++;
            continue;
        }
        nothing = 0;
        switch (PQresultStatus(r)) {
        case PGRES_PIPELINE_SYNC:
            PQclear(r);
            return;
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
            if (place++ == wanted && !*ret) {
                *ret = r;
                continue;
            }
            break;
        case PGRES_PIPELINE_ABORTED:
            break; /* behind the one that failed */
        default:
            if (!t->failed)
                classify(r, t);
            break;
        }
        PQclear(r);
    }
    broken(t, "the connection to the job store is lost");
}

/* Sends what is queued, then `sql` (optional), then `last` (optional), and takes all answers. `*ret` is
 * that of `sql`, or of the last one where there is none. */
static bool trip(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                 const char *last, PGresult **ret, struct error *e)
{
    struct trip_error t = {0};
    PGresult *result = NULL;
    bool sent = true;
    for (size_t i = 0; sent && i < db->queued_count; i++)
        sent = send(db->conn, db->queued[i], NULL, 0);
    size_t wanted = sql ? db->queued_count : db->queued_count + (last ? 1 : 0) - 1;
    db->queued_count = 0;
    db->sent = true;
    if (sent && sql)
        sent = send(db->conn, sql, values, count);
    if (sent && last)
        sent = send(db->conn, last, NULL, 0);
    int64_t deadline = clock_monotonic_ms() + (int64_t)db->timeout_ms + PG_MARGIN_MS;
    if (sent && PQpipelineSync(db->conn))
        take_answers(db->conn, wanted, deadline, &result, &t);
    else
        broken(&t, "the connection to the job store is lost");
    if (t.broken || PQstatus(db->conn) != CONNECTION_OK)
        drop(db);
    if (t.failed || !result) {
        PQclear(result);
        if (!t.failed)
            error_set(&t.error, ERROR_UNAVAILABLE, "the connection to the job store is lost");
        if (t.error.code == ERROR_UNAVAILABLE)
            db->up_since = clock_monotonic_ms();
        db->other_default = db->other_default || t.other_default;
        *e = t.error;
        return false;
    }
    *ret = result;
    return true;
}

/* --- transactions --- */

bool pg_db_queue(struct pg_db *db, const char *sql, struct error *e)
{
    if (db->each)
        return true;
    if (db->lost)
        return error_set(e, ERROR_UNAVAILABLE, "the connection to the job store is lost");
    if (db->queued_count == QUEUE_MAX) { /* a batch of calls that sent nothing */
        PGresult *r = NULL;
        if (!trip(db, NULL, NULL, 0, NULL, &r, e))
            return false;
        PQclear(r);
    }
    db->queued[db->queued_count++] = sql;
    return true;
}

/* A lock is not waited for as long as a statement may take: the one is told from the other, and whoever
 * waits for a lock on a table keeps others from it. Whoever stops in the middle of a transaction, or does
 * not take what the server sends, holds its locks for no longer than a statement may take. */
#define LOCK_TIMEOUT_MAX_MS 5000

/* Alone in a transaction without a BEGIN. A session's defaults are the role's, the database's, or what
 * another left behind a pooler: the server refuses to change them by now (25001), and this is how we learn. */
#define SET_READ_WRITE                                              \
    ", set_config('transaction_isolation', 'read committed', true)" \
    ", set_config('transaction_read_only', 'off', true)"
#define SET_READ_ONLY ", set_config('transaction_read_only', 'on', true)"

/* One statement, in the order in which it is written: so the lock is waited for within its timeout. The next
 * statement's snapshot is taken behind it. What is looked up by a key is never worth compiling, whatever it is
 * thought to cost. */
static void queue_settings(struct pg_db *db, uint64_t timeout_ms, const char *more, int64_t lock)
{
    char take_lock[64] = "";
    db->timeout_ms = timeout_ms ? timeout_ms : db->options.timeout_ms;
    uint64_t lock_timeout = db->timeout_ms * 3 / 4;
    if (lock_timeout > LOCK_TIMEOUT_MAX_MS)
        lock_timeout = LOCK_TIMEOUT_MAX_MS;
    if (lock)
        snprintf(take_lock, sizeof take_lock, ", pg_advisory_xact_lock(%" PRId64 ")", lock);
    snprintf(db->settings, sizeof db->settings,
             "SELECT set_config('statement_timeout', '%" PRIu64 "', true),"
             " set_config('lock_timeout', '%" PRIu64 "', true),"
             " set_config('idle_in_transaction_session_timeout', '%" PRIu64 "', true),"
             " set_config('tcp_user_timeout', '%" PRIu64 "', true),"
             " set_config('jit', 'off', true)%s%s",
             db->timeout_ms, lock_timeout, db->timeout_ms, db->timeout_ms, more, take_lock);
    db->queued[db->queued_count++] = db->settings;
}

bool pg_db_begin(struct pg_db *db, int64_t lock, uint64_t timeout_ms, struct error *e)
{
    pg_db_rollback(db);
    if (!ensure_connected(db, e))
        return false;
    db->in_transaction = true;
    db->sent = false;
    db->queued[db->queued_count++] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    queue_settings(db, timeout_ms, "", lock);
    return true;
}

void pg_db_begin_each(struct pg_db *db, int64_t lock)
{
    pg_db_rollback(db);
    db->each = true;
    db->each_lock = lock;
}

bool pg_db_commit(struct pg_db *db, struct error *e)
{
    PGresult *r = NULL;
    bool nothing = db->each || !db->sent;
    db->in_transaction = db->each = false;
    if (db->lost)
        return error_set(e, ERROR_UNAVAILABLE, "the connection to the job store is lost");
    if (nothing) {
        db->queued_count = 0;
        return true;
    }
    if (!trip(db, NULL, NULL, 0, "COMMIT", &r, e)) {
        db->in_transaction = db->conn;
        return false;
    }
    bool committed = strcmp(PQcmdStatus(r), "COMMIT") == 0;
    PQclear(r);
    return committed || error_set(e, ERROR_UNAVAILABLE, "the job store undid the transaction");
}

void pg_db_rollback(struct pg_db *db)
{
    struct error ignored; /* a connection that is lost has undone it */
    PGresult *r = NULL;
    bool known = db->in_transaction && db->sent && db->conn;
    db->in_transaction = db->lost = db->each = false;
    db->queued_count = 0;
    if (known && trip(db, NULL, NULL, 0, "ROLLBACK", &r, &ignored))
        PQclear(r);
    else if (known && db->conn)
        drop(db);
}

bool pg_db_in_transaction(const struct pg_db *db)
{
    return db->in_transaction || db->each;
}

/* A transaction of its own, with a BEGIN. */
static bool query_between_begin_and_commit(struct pg_db *db, const char *sql, const struct pg_value *values,
                                           size_t count, PGresult **ret, struct error *e)
{
    int64_t lock = db->each_lock;
    bool ok = pg_db_begin(db, lock, 0, e) && trip(db, sql, values, count, "COMMIT", ret, e);
    if (ok)
        db->in_transaction = false;
    pg_db_begin_each(db, lock);
    return ok;
}

/* The server begins a transaction with the first statement of a trip, and commits at its end. */
static bool query_in_one_trip(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                              const char *more, PGresult **ret, struct error *e)
{
    if (!ensure_connected(db, e))
        return false;
    db->timeout_ms = db->options.timeout_ms;
    if (more)
        queue_settings(db, 0, more, db->each ? db->each_lock : 0);
    return trip(db, sql, values, count, NULL, ret, e);
}

static bool query(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count, bool plain,
                  PGresult **ret, struct error *e)
{
    if (db->lost)
        return error_set(e, ERROR_UNAVAILABLE, "the connection to the job store is lost");
    if (db->in_transaction)
        return trip(db, sql, values, count, NULL, ret, e);
    if (!db->each)
        return query_in_one_trip(db, sql, values, count, plain ? NULL : SET_READ_ONLY, ret, e);
    if (!db->other_default) {
        if (query_in_one_trip(db, sql, values, count, SET_READ_WRITE, ret, e))
            return true;
        if (!db->other_default)
            return false;
    }
    return query_between_begin_and_commit(db, sql, values, count, ret, e);
}

static struct pg_rows *query_rows(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                                  bool plain, struct error *e)
{
    struct pg_rows *rows = calloc(1, sizeof *rows);
    if (!rows) {
        out_of_memory(e);
        return NULL;
    }
    if (!query(db, sql, values, count, plain, &rows->result, e)) {
        free(rows);
        return NULL;
    }
    return rows;
}

struct pg_rows *pg_db_query(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                            struct error *e)
{
    return query_rows(db, sql, values, count, false, e);
}

struct pg_rows *pg_db_query_plain(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                                  struct error *e)
{
    return query_rows(db, sql, values, count, true, e);
}
