#include "job/pg_db.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

/* Behind a statement's own timeout the server's answer is waited for so much longer. */
#define MARGIN_MS 1000
#define RETRY_MS 1000
#define QUEUE_MAX 12

/* pg_type.dat of the server: types never change their number. */
enum { BOOL_OID = 16, INT8_OID = 20, INT4_OID = 23, FLOAT8_OID = 701, TIMESTAMPTZ_OID = 1184, UUID_OID = 2950 };
#define POSTGRES_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */

struct pg_db {
    struct pg_db_options options; /* its texts are copies */
    char *name;
    const char *encoding;
    PGconn *conn; /* NULL: lost */
    int64_t last_try; /* the end of the last attempt to connect */
    int64_t up_since;
    char *told; /* what was noted last of a connection that is lost; NULL: it is there */

    bool in_transaction;
    bool sent;       /* the server knows of the transaction */
    bool lost;       /* the connection broke in it */
    uint64_t timeout_ms;
    char settings[320], lock[64];
    const char *queued[QUEUE_MAX];
    size_t queued_count;
};

struct pg_rows {
    PGresult *result;
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

static void ignore_notice(void *context, const PGresult *r)
{
    (void)context;
    (void)r;
}

/* The connection is of no more use. */
static void drop(struct pg_db *db)
{
    PQfinish(db->conn); /* does not wait: the socket is non-blocking */
    db->conn = NULL;
    db->lost = db->in_transaction;
    db->up_since = clock_monotonic_ms();
}

/* A server's message in one line, without what surrounds it. */
static char *one_line(const char *message)
{
    char *line = strdup(message ? message : "");
    if (!line)
        return NULL;
    utf8_scrub(line, strlen(line));
    size_t length = strlen(line);
    while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == ' '))
        line[--length] = '\0';
    for (char *p = line; *p; p++)
        if (*p == '\n' || *p == '\r' || *p == '\t')
            *p = ' ';
    return line;
}

/* --- connecting --- */

/* libpq gives the code of a refused connection only inside of its (verbose) text: "FATAL:  28P01: ...". */
static bool find_sqlstate(const char *message, char ret[6])
{
    for (const char *p = message; (p = strchr(p, ':')); p++) {
        const char *code = p + 1;
        while (*code == ' ')
            code++;
        size_t n = strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (n == 5 && code[5] == ':' && strcspn(code, "0123456789") < 5) { /* not "FATAL:" */
            memcpy(ret, code, 5);
            ret[5] = '\0';
            return true;
        }
    }
    return false;
}

static bool connect_error(struct pg_db *db, PGconn *conn, bool bad_options, struct error *e)
{
    char sqlstate[6] = "";
    _cleanup_free_ char *all = strdup(PQerrorMessage(conn));
    if (!all)
        return out_of_memory(e);
    bool from_server = find_sqlstate(all, sqlstate);
    /* Behind the server's text come where in its source it arose, and what a second address said. */
    char *end = from_server ? strstr(all, "\nLOCATION:") : NULL;
    if (end)
        *end = '\0';
    _cleanup_free_ char *why = one_line(all);
    if (!why)
        return out_of_memory(e);
    const char *advice = NULL;
    if (strncmp(sqlstate, "28", 2) == 0 || PQconnectionNeedsPassword(conn))
        advice = "check GOPIE_DS_POSTGRES_USER, GOPIE_DS_POSTGRES_PASSWORD and the server's pg_hba.conf";
    else if (strcmp(sqlstate, "3D000") == 0)
        advice = "check GOPIE_DS_POSTGRES_DB, or create the database";
    else if (strcmp(sqlstate, "42501") == 0)
        advice = "the role needs GRANT CONNECT ON DATABASE";
    else if (!from_server && (strstr(why, "certificate") || strstr(why, "SSL")))
        advice = "check GOPIE_DS_POSTGRES_SSLMODE, PGSSLROOTCERT, PGSSLCERT and PGSSLKEY";
    else if (bad_options)
        advice = "check the GOPIE_DS_POSTGRES_ and PG variables";
    if (advice)
        return error_set(e, ERROR_CONFIG, "Postgres (%s): %s; %s", db->name, why, advice);
    return error_set(e, ERROR_UNAVAILABLE, "Postgres (%s): %s", db->name, why);
}

static bool finish_connecting(struct pg_db *db, PGconn *conn, struct error *e)
{
    int64_t deadline = clock_monotonic_ms() + (int64_t)db->options.timeout_ms + MARGIN_MS;
    for (PostgresPollingStatusType state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK;) {
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0)
            return error_set(e, ERROR_UNAVAILABLE, "Postgres (%s): no answer", db->name);
        struct pollfd p = {.fd = PQsocket(conn), .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int ready = poll(&p, 1, (int)left);
        if (ready < 0 && errno != EINTR)
            return error_set_errno(e, ERROR_UNAVAILABLE, errno, "Postgres (%s)", db->name);
        if (ready > 0)
            state = PQconnectPoll(conn);
        if (state == PGRES_POLLING_FAILED)
            return connect_error(db, conn, false, e);
    }
    return true;
}

static bool make_connection(struct pg_db *db, struct error *e)
{
    const struct pg_db_options *o = &db->options;
    char port[8], user_timeout[24];
    snprintf(port, sizeof port, "%u", o->port);
    snprintf(user_timeout, sizeof user_timeout, "%" PRIu64, o->timeout_ms + MARGIN_MS);
    const struct {
        const char *key, *value;
    } parameters[] = {
        {"host", o->host},
        {"port", port},
        {"dbname", o->database},
        {"user", o->user},
        {"password", o->password},
        {"sslmode", o->sslmode},
        {"application_name", "downloads-server"},
        {"client_encoding", db->encoding},
        {"keepalives_idle", "30"},
        {"keepalives_interval", "5"},
        {"keepalives_count", "3"},
        {"tcp_user_timeout", user_timeout},
    };
    const char *keys[ARRAY_SIZE(parameters) + 1], *values[ARRAY_SIZE(parameters) + 1];
    for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
        keys[i] = parameters[i].key;
        values[i] = parameters[i].value;
    }
    keys[ARRAY_SIZE(parameters)] = values[ARRAY_SIZE(parameters)] = NULL;
    /* Names that are not addresses are looked up in here, which the resolver's own limits bound. */
    PGconn *conn = PQconnectStartParams(keys, values, 0);
    if (!conn)
        return out_of_memory(e);
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    bool ok = PQstatus(conn) != CONNECTION_BAD ? finish_connecting(db, conn, e)
                                               : connect_error(db, conn, PQsocket(conn) < 0, e);
    db->last_try = clock_monotonic_ms();
    if (ok && (PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn)))
        ok = error_set(e, ERROR_UNAVAILABLE, "Postgres (%s): %s", db->name, PQerrorMessage(conn));
    if (ok && PQserverVersion(conn) < 130000)
        ok = error_set(e, ERROR_CONFIG, "Postgres (%s): version 13 is needed at least", db->name);
    /* A database without an encoding holds whatever bytes it was given, and would refuse to show those that are no
     * UTF-8: it is to pass on all of them (pg_row_text() sees to the rest). */
    const char *encoding = ok ? PQparameterStatus(conn, "server_encoding") : NULL;
    bool again = encoding && strcmp(encoding, "SQL_ASCII") == 0 && strcmp(db->encoding, "UTF8") == 0;
    if (!ok || again) {
        PQfinish(conn);
        db->encoding = again ? "SQL_ASCII" : db->encoding;
        return again && make_connection(db, e);
    }
    db->conn = conn;
    db->up_since = clock_monotonic_ms();
    return true;
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

/* What goes wrong in a trip: the first error, and whether the connection is to be given up. */
struct trip_error {
    bool failed, broken;
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
    _cleanup_free_ char *why = one_line(PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY));
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
        bool failed = unsent < 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR);
        if (failed || (p.revents & ~POLLOUT && !PQconsumeInput(conn) && !PQisBusy(conn))) {
            if (!failed)
                return true; /* what the server said last is still to be taken */
            broken(t, "the connection to the job store is lost");
            return false;
        }
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

/* Sends what is queued, then `sql` (optional), then `last` (optional), and takes all answers. `*ret` is that of
 * `sql`, or of the last one where there is none. */
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
    int64_t deadline = clock_monotonic_ms() + (int64_t)db->timeout_ms + MARGIN_MS;
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
        *e = t.error;
        return false;
    }
    *ret = result;
    return true;
}

/* --- transactions --- */

bool pg_db_queue(struct pg_db *db, const char *sql, struct error *e)
{
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

/* A lock is not waited for as long as a statement may take: the one is told from the other, and whoever waits for a
 * lock on a table keeps others from it. Whoever stops in the middle of a transaction, or does not take what the
 * server sends, holds its locks for no longer than a statement may take. */
#define LOCK_TIMEOUT_MAX_MS 5000

static void queue_settings(struct pg_db *db, uint64_t timeout_ms)
{
    db->timeout_ms = timeout_ms ? timeout_ms : db->options.timeout_ms;
    uint64_t lock_timeout = db->timeout_ms * 3 / 4;
    snprintf(db->settings, sizeof db->settings,
             "SELECT set_config('statement_timeout', '%" PRIu64 "', true), set_config('lock_timeout', '%" PRIu64
             "', true), set_config('idle_in_transaction_session_timeout', '%" PRIu64
             "', true), set_config('tcp_user_timeout', '%" PRIu64 "', true)",
             db->timeout_ms, lock_timeout < LOCK_TIMEOUT_MAX_MS ? lock_timeout : LOCK_TIMEOUT_MAX_MS, db->timeout_ms,
             db->timeout_ms);
    db->queued[db->queued_count++] = db->settings;
}

bool pg_db_begin(struct pg_db *db, int64_t lock, uint64_t timeout_ms, struct error *e)
{
    pg_db_rollback(db);
    db->sent = db->lost = false;
    if (!ensure_connected(db, e))
        return false;
    db->in_transaction = true;
    db->queued[db->queued_count++] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    queue_settings(db, timeout_ms);
    if (lock) {
        snprintf(db->lock, sizeof db->lock, "SELECT pg_advisory_xact_lock(%" PRId64 ")", lock);
        db->queued[db->queued_count++] = db->lock;
    }
    return true;
}

bool pg_db_commit(struct pg_db *db, struct error *e)
{
    PGresult *r = NULL;
    bool nothing = !db->sent;
    db->in_transaction = false;
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
    db->in_transaction = db->lost = false;
    db->queued_count = 0;
    if (known && trip(db, NULL, NULL, 0, "ROLLBACK", &r, &ignored))
        PQclear(r);
    else if (known && db->conn)
        drop(db);
}

bool pg_db_in_transaction(const struct pg_db *db)
{
    return db->in_transaction;
}

struct pg_rows *pg_db_query(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                            struct error *e)
{
    const char *last = NULL;
    PGresult *result = NULL;
    struct pg_rows *rows = calloc(1, sizeof *rows);
    if (!rows) {
        out_of_memory(e);
        return NULL;
    }
    if (db->lost) {
        error_set(e, ERROR_UNAVAILABLE, "the connection to the job store is lost");
        goto failed;
    }
    bool alone = !db->in_transaction;
    if (alone) {
        if (!pg_db_begin(db, 0, 0, e))
            goto failed;
        db->queued[0] = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
        last = "COMMIT";
    }
    bool ok = trip(db, sql, values, count, last, &result, e);
    if (alone && ok)
        db->in_transaction = false;
    else if (alone)
        pg_db_rollback(db);
    if (!ok)
        goto failed;
    rows->result = result;
    return rows;
failed:
    free(rows);
    return NULL;
}

/* --- rows --- */

void pg_rows_free(struct pg_rows **rows)
{
    if (!*rows)
        return;
    PQclear((*rows)->result);
    free(*rows);
    *rows = NULL;
}

size_t pg_rows_count(const struct pg_rows *rows)
{
    return (size_t)PQntuples(rows->result);
}

bool pg_row_is_null(const struct pg_row *r, int column)
{
    return PQgetisnull(r->rows->result, r->row, column);
}

/* The bytes of a value of that type and length (pg_send functions: big-endian), NULL where it is NULL. */
static const unsigned char *fixed(struct pg_row *r, int column, Oid type, int length)
{
    const PGresult *result = r->rows->result;
    if (column >= PQnfields(result) || PQftype(result, column) != type || PQfformat(result, column) != 1) {
        r->wrong = true;
        return NULL;
    }
    if (PQgetisnull(result, r->row, column))
        return NULL;
    if (PQgetlength(result, r->row, column) != length) {
        r->wrong = true;
        return NULL;
    }
    return (const unsigned char *)PQgetvalue(result, r->row, column);
}

static uint64_t big_endian(const unsigned char *bytes, int length)
{
    uint64_t v = 0;
    for (int i = 0; i < length; i++)
        v = v << 8 | bytes[i];
    return v;
}

int64_t pg_row_integer(struct pg_row *r, int column)
{
    bool small = PQftype(r->rows->result, column) == INT4_OID;
    const unsigned char *bytes = small ? fixed(r, column, INT4_OID, 4) : fixed(r, column, INT8_OID, 8);
    if (!bytes)
        return 0;
    return small ? (int32_t)big_endian(bytes, 4) : (int64_t)big_endian(bytes, 8);
}

bool pg_row_bool(struct pg_row *r, int column)
{
    const unsigned char *bytes = fixed(r, column, BOOL_OID, 1);
    return bytes && bytes[0];
}

double pg_row_real(struct pg_row *r, int column)
{
    const unsigned char *bytes = fixed(r, column, FLOAT8_OID, 8);
    uint64_t bits = bytes ? big_endian(bytes, 8) : 0;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

int64_t pg_row_time(struct pg_row *r, int column)
{
    const unsigned char *bytes = fixed(r, column, TIMESTAMPTZ_OID, 8);
    int64_t v = bytes ? (int64_t)big_endian(bytes, 8) : INT64_MAX;
    bool infinite = v == INT64_MAX || v == INT64_MIN; /* as the server writes `infinity` and `-infinity` */
    return infinite ? 0 : v + POSTGRES_EPOCH_US;
}

char *pg_row_text(struct pg_row *r, int column)
{
    const PGresult *result = r->rows->result;
    if (column >= PQnfields(result)) {
        r->wrong = true;
        return NULL;
    }
    if (PQgetisnull(result, r->row, column))
        return NULL;
    size_t length = (size_t)PQgetlength(result, r->row, column);
    char *text = malloc(length + 1);
    if (!text) {
        r->no_memory = true;
        return NULL;
    }
    memcpy(text, PQgetvalue(result, r->row, column), length);
    text[length] = '\0';
    /* A database of the encoding SQL_ASCII holds whatever bytes it was given. */
    if (!utf8_valid(text, length))
        utf8_scrub(text, length);
    return text;
}

void pg_row_uuid(struct pg_row *r, int column, char ret[UUID_SIZE])
{
    const unsigned char *bytes = fixed(r, column, UUID_OID, 16);
    static const char hyphen_before[16] = {[4] = 1, [6] = 1, [8] = 1, [10] = 1};
    char *out = ret;
    for (int i = 0; bytes && i < 16; i++) {
        if (hyphen_before[i])
            *out++ = '-';
        hex_encode(bytes + i, 1, out);
        out += 2;
    }
    *out = '\0';
}

bool pg_row_ok(const struct pg_row *r, struct error *e)
{
    if (r->no_memory)
        return out_of_memory(e);
    if (r->wrong)
        return error_set(e, ERROR_INTERNAL, "job store: a table is not of the shape that is expected");
    return true;
}
