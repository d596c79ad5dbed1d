#include "job/pg_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_INTERNAL, "out of memory");
}

static void ignore_notice(void *context, const PGresult *r)
{
    (void)context;
    (void)r;
}

char *pg_one_line(const char *message)
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

static bool connect_error(const char *name, PGconn *conn, bool bad_options, struct error *e)
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
    _cleanup_free_ char *why = pg_one_line(all);
    if (!why)
        return out_of_memory(e);
    static const char *const tls[] = {"certificate", "private key", "does not support SSL", "sslmode"};
    const char *advice = NULL;
    bool of_tls = false;
    for (size_t i = 0; !from_server && i < ARRAY_SIZE(tls); i++)
        of_tls = of_tls || strstr(why, tls[i]);
    if (strncmp(sqlstate, "28", 2) == 0 || PQconnectionNeedsPassword(conn))
        advice = "check GOPIE_DS_POSTGRES_USER, GOPIE_DS_POSTGRES_PASSWORD and the server's pg_hba.conf";
    else if (strcmp(sqlstate, "3D000") == 0)
        advice = "check GOPIE_DS_POSTGRES_DB, or create the database";
    else if (strcmp(sqlstate, "42501") == 0)
        advice = "the role needs GRANT CONNECT ON DATABASE";
    else if (of_tls)
        advice = "check GOPIE_DS_POSTGRES_SSLMODE, PGSSLROOTCERT, PGSSLCERT and PGSSLKEY";
    else if (bad_options)
        advice = "check the GOPIE_DS_POSTGRES_ and PG variables";
    if (advice)
        return error_set(e, ERROR_CONFIG, "Postgres (%s): %s; %s", name, why, advice);
    return error_set(e, ERROR_UNAVAILABLE, "Postgres (%s): %s", name, why);
}

static bool finish_connecting(const char *name, PGconn *conn, uint64_t timeout_ms, struct error *e)
{
    int64_t deadline = clock_monotonic_ms() + (int64_t)timeout_ms + PG_MARGIN_MS;
    for (PostgresPollingStatusType state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK;) {
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0)
            return error_set(e, ERROR_UNAVAILABLE, "Postgres (%s): no answer", name);
        struct pollfd p = {.fd = PQsocket(conn), .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int ready = poll(&p, 1, (int)left);
        if (ready < 0 && errno != EINTR)
            return error_set_errno(e, ERROR_UNAVAILABLE, errno, "Postgres (%s)", name);
        if (ready > 0)
            state = PQconnectPoll(conn);
        if (state == PGRES_POLLING_FAILED)
            return connect_error(name, conn, false, e);
    }
    return true;
}

PGconn *pg_connect(const struct pg_db_options *o, const char *name, const char **encoding, struct error *e)
{
    char port[8], user_timeout[24];
    snprintf(port, sizeof port, "%u", o->port);
    snprintf(user_timeout, sizeof user_timeout, "%" PRIu64, o->timeout_ms + PG_MARGIN_MS);
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
        {"client_encoding", *encoding},
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
    if (!conn) {
        out_of_memory(e);
        return NULL;
    }
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    bool ok = PQstatus(conn) != CONNECTION_BAD ? finish_connecting(name, conn, o->timeout_ms, e)
                                               : connect_error(name, conn, PQsocket(conn) < 0, e);
    if (ok && (PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn)))
        ok = error_set(e, ERROR_UNAVAILABLE, "Postgres (%s): %s", name, PQerrorMessage(conn));
    if (ok && PQserverVersion(conn) < 130000)
        ok = error_set(e, ERROR_CONFIG, "Postgres (%s): version 13 is needed at least", name);
    if (!ok) {
        PQfinish(conn);
        return NULL;
    }
    /* A database without an encoding holds whatever bytes it was given, and would refuse to show those
     * that are no UTF-8: it is to pass on all of them (pg_row_text() sees to the rest). */
    const char *server_encoding = PQparameterStatus(conn, "server_encoding");
    if (server_encoding && strcmp(server_encoding, "SQL_ASCII") == 0 && strcmp(*encoding, "UTF8") == 0) {
        PQfinish(conn);
        *encoding = "SQL_ASCII";
        return pg_connect(o, name, encoding, e);
    }
    return conn;
}
