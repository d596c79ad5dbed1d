#include "worker/engine.h"

#include <duckdb.h>
#include <inttypes.h>
#include <math.h>

#include "base/buf.h"
#include "link/job_spec.h"
#include "worker/source.h"
#include "worker/sql_text.h"

_Static_assert(sizeof(struct text_value) == sizeof(duckdb_string_t), "a value is the engine's own");
_Static_assert(TEXT_INLINE_MAX == sizeof(((duckdb_string_t *)0)->value.inlined.inlined),
               "short ones are inline");

/* The text of a query with its wrapping: "#1600::VARCHAR, " a column. */
#define QUERY_MAX (JOB_SPEC_SQL_MAX + (4 << 20))

#define CAUSE_TRIES 2

struct engine {
    duckdb_database database;
    duckdb_connection connection;
    bool remote;     /* MotherDuck */
    const char *sql; /* the caller's, as far as the statement goes */
    size_t sql_length;
    duckdb_prepared_statement names_statement;
    duckdb_result result;
    bool has_result;
    duckdb_data_chunk chunk;
    size_t column_count;
    const char **names;
    struct text_column *columns;
};

static void destroy_statements(duckdb_extracted_statements *s)
{
    duckdb_destroy_extracted(s);
}
#define _cleanup_config_ _cleanup_(duckdb_destroy_config)
#define _cleanup_statements_ _cleanup_(destroy_statements)
#define _cleanup_prepared_ _cleanup_(duckdb_destroy_prepare)
#define _cleanup_pending_ _cleanup_(duckdb_destroy_pending)
#define _cleanup_result_ _cleanup_(duckdb_destroy_result)

/* The engine's words as an error. `text` may be NULL: the engine does not always have any. */
static bool fail(struct error *e, enum error_code code, const char *text)
{
    /* In mid-stream the cause comes behind this. */
    static const char wrapped[] =
        "Attempting to execute an unsuccessful or closed pending query result\nError: ";
    const char *cause = text ? strstr(text, wrapped) : NULL;
    if (cause)
        text = cause + sizeof wrapped - 1;
    if (!text || !*text)
        text = "the engine gave no reason";
    if (strstr(text, "max_temp_directory_size") || strstr(text, "No space left on device") ||
        strstr(text, "File too large"))
        return error_set(e, ERROR_SPILL, "the query needs more temporary disk space than it may have: %s",
                         text);
    if (strncmp(text, "Out of Memory Error", 19) == 0 || strstr(text, "bad_alloc")) {
        const char *advice =
            strstr(text, "\n\nPossible solutions"); /* settings, which nobody can make here */
        return error_set(e, ERROR_MEMORY, "%.*s", (int)(advice ? advice - text : (ptrdiff_t)strlen(text)),
                         text);
    }
    if (strstr(text,
               "Could not get working directory")) /* where no table has the name, it looks for a file */
        return error_set(e, ERROR_SQL, "there is no such table, and a download cannot read files");
    if (strncmp(text, "INTERRUPT Error", 15) == 0)
        return error_set(e, ERROR_CANCELLED, "the query was interrupted");
    return error_set(e, code, "%s", text);
}

/* An error of the wrapped query tells a line that is one too high: the query's own text begins on the second.
 * What stands below that line is aligned to it, so the length stays. */
static void correct_line(struct error *e)
{
    static const char mark[] = "\nLINE ";
    char *at = strstr(e->message, mark), *end;
    if (!at)
        return;
    at += sizeof mark - 1;
    unsigned long line = strtoul(at, &end, 10);
    if (line < 2 || *end != ':')
        return;
    char number[24];
    int length = snprintf(number, sizeof number, "%lu:", line - 1);
    size_t room = (size_t)(end + 1 - at);
    memset(at, ' ', room);
    memcpy(at, number, (size_t)length);
}

static bool fail_wrapped(struct error *e, const char *text)
{
    fail(e, ERROR_QUERY, text);
    correct_line(e);
    return false;
}

static bool set_option(duckdb_config config, const char *name, const char *value, struct error *e)
{
    return duckdb_set_config(config, name, value) == DuckDBSuccess ||
           error_set(e, ERROR_INTERNAL, "the engine does not know the option %s", name);
}

struct option {
    const char *name, *value;
};

/* NULL: either `ret_why` has the engine's words (duckdb_free() them), or it stays NULL and `e` is filled. */
static struct engine *open_with(const char *path, const struct option *options, size_t count, char **ret_why,
                                struct error *e)
{
    struct engine *g = calloc(1, sizeof *g);
    _cleanup_config_ duckdb_config config = NULL;
    if (!g || duckdb_create_config(&config) != DuckDBSuccess) {
        error_set(e, ERROR_MEMORY, "out of memory");
        engine_free(g);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (!set_option(config, options[i].name, options[i].value, e)) {
            engine_free(g);
            return NULL;
        }
    if (duckdb_open_ext(path, &g->database, config, ret_why) == DuckDBSuccess &&
        duckdb_connect(g->database, &g->connection) == DuckDBSuccess)
        return g;
    if (!*ret_why)
        error_set(e, ERROR_SOURCE, "the database does not open, and the engine gave no reason");
    engine_free(g);
    return NULL;
}

/* What holds for every source. */
#define COMMON_OPTIONS                                                                                       \
    {"autoinstall_known_extensions", "false"}, {"autoload_known_extensions", "false"},                       \
    {                                                                                                        \
        "allow_persistent_secrets", "false"                                                                  \
    }

struct engine *engine_open(const char *path, uint64_t memory_limit, struct error *e)
{
    char memory[32], *why = NULL;
    snprintf(memory, sizeof memory, "%" PRIu64 "B", memory_limit);
    const struct option options[] = {
        {"access_mode", "READ_ONLY"}, {"threads", "1"}, {"memory_limit", memory}, COMMON_OPTIONS};
    struct engine *g = open_with(path, options, ARRAY_SIZE(options), &why, e);
    if (!g && why)
        fail(e, ERROR_SOURCE, why);
    duckdb_free(why);
    return g;
}

const char *engine_version(void)
{
    return duckdb_library_version();
}

const char *engine_platform(void)
{
#if defined(__x86_64__)
    return "linux_amd64";
#elif defined(__aarch64__)
    return "linux_arm64";
#else
    return "unknown";
#endif
}

static bool says_any(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcasestr(text, words[i]))
            return true;
    return false;
}

/* The words of engine, extension and service about a sign-in that failed, as what to do. */
static bool fail_sign_in(struct error *e, const char *why)
{
    static const char *const signature[] = {"signature is either missing or invalid"};
    static const char *const loading[] = {"could not be loaded", "did not contain the expected entrypoint",
                                          "metadata at the end of the file is invalid", "Failed to load"};
    static const char *const network[] = {"Failed to download",  "Could not establish connection", "Could not connect",
                                          "failed to connect",   "Connection refused",             "UNAVAILABLE",
                                          "network unreachable", "name resolution"};
    static const char *const token[] = {"token", "unauthenticated", "authentication", "unauthorized", "jwt"};
    if (says_any(why, signature, ARRAY_SIZE(signature)))
        return error_set(
            e, ERROR_SOURCE,
            "MotherDuck's extension was altered: its maker's signature does not hold; install it again");
    if (says_any(why, loading, ARRAY_SIZE(loading)))
        return error_set(e, ERROR_SOURCE, "MotherDuck's extension cannot be loaded; install it again");
    if (says_any(why, network, ARRAY_SIZE(network)))
        return error_set(e, ERROR_SOURCE,
                         "cannot reach MotherDuck over the network (its hosts are below motherduck.com)");
    if (says_any(why, token, ARRAY_SIZE(token)))
        return error_set(e, ERROR_SOURCE, "MotherDuck refused the token (GOPIE_DS_MOTHERDUCK_TOKEN): %s", why);
    return error_set(e, ERROR_SOURCE, "cannot sign in to MotherDuck: %s", why);
}

struct engine *engine_open_motherduck(const struct engine_motherduck *m, struct error *e)
{
    static const char *const read_only[] = {"read-only", "read only", "read_only", "read scaling", "read-scaling"};
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "md:%s", m->database) < 0) {
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    char memory[32], spill[32], threads[16];
    snprintf(memory, sizeof memory, "%" PRIu64 "B", m->memory_limit);
    snprintf(spill, sizeof spill, "%" PRIu64 "B", m->spill_limit);
    snprintf(threads, sizeof threads, "%" PRIu32, m->threads);
    for (int try = 0;; try++) {
        const struct option options[] = {
            {"access_mode", try == 0 ? "READ_ONLY" : "AUTOMATIC"},
            {"threads", threads},
            {"memory_limit", memory},
            {"temp_directory", JOB_DIRECTORY},
            {"max_temp_directory_size", spill},
            COMMON_OPTIONS,
            {"allow_community_extensions", "false"},
            {"allow_unsigned_extensions", m->unsigned_extensions ? "true" : "false"},
            {"extension_directory", m->extension_directory},
            {"custom_user_agent", "downloads-server/" VERSION},
            {"motherduck_token", m->token},
            {"motherduck_attach_mode", "single"},
            {"motherduck_saas_mode", "true"},
        };
        char *why = NULL;
        struct engine *g = open_with(path, options, ARRAY_SIZE(options), &why, e);
        bool again = !g && try == 0 && why && says_any(why, read_only, ARRAY_SIZE(read_only));
        if (g)
            g->remote = true;
        else if (why && !again)
            fail_sign_in(e, why);
        duckdb_free(why);
        if (!again)
            return g;
    }
}

void engine_free(struct engine *g)
{
    if (!g)
        return;
    duckdb_destroy_data_chunk(&g->chunk);
    if (g->has_result)
        duckdb_destroy_result(&g->result);
    duckdb_destroy_prepare(&g->names_statement);
    duckdb_disconnect(&g->connection);
    duckdb_close(&g->database);
    for (size_t i = 0; g->names && i < g->column_count; i++)
        duckdb_free((void *)g->names[i]);
    free(g->names);
    free(g->columns);
    free(g);
}

static bool run(struct engine *g, const char *sql, struct error *e)
{
    _cleanup_result_ duckdb_result result = {0};
    return duckdb_query(g->connection, sql, &result) == DuckDBSuccess ||
           fail(e, ERROR_INTERNAL, duckdb_result_error(&result));
}

/* One value of one row, as text; NULL: `e` says why. Free it. */
static char *ask(struct engine *g, const char *sql, struct error *e)
{
    _cleanup_result_ duckdb_result result = {0};
    if (duckdb_query(g->connection, sql, &result) != DuckDBSuccess) {
        fail(e, ERROR_INTERNAL, duckdb_result_error(&result));
        return NULL;
    }
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    char *text = NULL;
    if (chunk && duckdb_data_chunk_get_size(chunk) == 1) {
        duckdb_string_t *value = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        text = strndup(duckdb_string_t_data(value), duckdb_string_t_length(*value));
    }
    duckdb_destroy_data_chunk(&chunk);
    if (!text)
        error_set(e, ERROR_INTERNAL, "the engine does not tell a setting");
    return text;
}

static bool is_locked(const struct error *e)
{
    return strstr(e->message, "configuration has been locked") != NULL;
}

/* SaaS mode may have locked the settings before us. Then only the time zone can be other than we want it, which
 * is UTC where the process has none; threads, memory and temporary files were given before. */
static bool check_remote_settings(struct engine *g, struct error *e)
{
    _cleanup_free_ char *zone = ask(g, "SELECT current_setting('TimeZone')::VARCHAR", e);
    if (!zone)
        return false;
    if (strcmp(zone, "UTC") != 0 && strcmp(zone, "Etc/UTC") != 0)
        return error_set(e, ERROR_SOURCE, "MotherDuck's client keeps the time zone %s, where UTC is wanted",
                         zone);
    _cleanup_free_ char *locked = ask(g, "SELECT current_setting('lock_configuration')::VARCHAR", e);
    if (!locked)
        return false;
    return strcmp(locked, "true") == 0 || error_set(e, ERROR_INTERNAL, "the engine's settings are not locked");
}

static bool set_all(struct engine *g, const char *const *settings, size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (!run(g, settings[i], e) && !(g->remote && is_locked(e)))
            return false;
    return !g->remote || check_remote_settings(g, e);
}

bool engine_configure(struct engine *g, uint32_t threads, uint64_t spill_limit, struct error *e)
{
    char spill[96], cores[64];
    snprintf(spill, sizeof spill, "SET max_temp_directory_size='%" PRIu64 "B'", spill_limit);
    snprintf(cores, sizeof cores, "SET threads=%" PRIu32, threads);
    const char *const local[] = {"SET temp_directory='" JOB_DIRECTORY "'", spill, cores};
    const char *const settings[] = {
        "SET enable_progress_bar=true",
        "SET enable_progress_bar_print=false",
        "SET TimeZone='UTC'",
        "SET preserve_insertion_order=true",
        /* No row comes before so much is there, or all: small enough that a slow query's rows are seen
         * (GOPIE_DS_STALL_TIMEOUT). The default, 1 MB, keeps one core busy only. */
        "SET streaming_buffer_size='4MB'",
        "SET enable_external_access=false",
        "SET lock_configuration=true",
    };
    struct error ignored;
    if (g->remote) /* nobody needs it there any more; the client may refuse, and what leaves is scanned */
        run(g, "SET motherduck_token=''", &ignored);
    return (g->remote || set_all(g, local, ARRAY_SIZE(local), e)) && set_all(g, settings, ARRAY_SIZE(settings), e);
}

/* The functions that a query names, as the engine parsed it. What the parser cannot give as JSON (SHOW,
 * PIVOT) is not looked at: the box and the engine's lock are the defence, this is the courtesy of a reason.
 */
static bool check_functions(struct engine *g, const char *sql, size_t length, struct error *e)
{
    _cleanup_prepared_ duckdb_prepared_statement statement = NULL;
    _cleanup_result_ duckdb_result result = {0};
    if (duckdb_prepare(g->connection, "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", &statement) !=
        DuckDBSuccess)
        return fail(e, ERROR_INTERNAL, duckdb_prepare_error(statement));
    if (duckdb_bind_varchar_length(statement, 1, sql, length) != DuckDBSuccess ||
        duckdb_execute_prepared(statement, &result) != DuckDBSuccess)
        return fail(e, ERROR_INTERNAL, duckdb_result_error(&result));
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    if (!chunk || duckdb_data_chunk_get_size(chunk) != 1) {
        duckdb_destroy_data_chunk(&chunk);
        return error_set(e, ERROR_INTERNAL, "the engine cannot show the parsed query");
    }
    duckdb_string_t *json = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const char *name = sql_text_refused_function(duckdb_string_t_data(json), duckdb_string_t_length(*json), g->remote);
    duckdb_destroy_data_chunk(&chunk);
    return !name || error_set(e, ERROR_SQL, "the function %s cannot be used in a download", name);
}

static bool refuse_statement(const char *what, struct error *e)
{
    return error_set(e, ERROR_SQL, "only statements that return rows can be downloaded: this is %s", what);
}

/* What a word at the start does not tell: WITH ... INSERT. */
static const char *statement_name(duckdb_statement_type type)
{
    switch (type) {
    case DUCKDB_STATEMENT_TYPE_INSERT:
        return "an INSERT";
    case DUCKDB_STATEMENT_TYPE_UPDATE:
        return "an UPDATE";
    case DUCKDB_STATEMENT_TYPE_DELETE:
        return "a DELETE";
    default:
        return "another one";
    }
}

/* One statement, that yields rows, without parameters. */
static bool check_statement(struct engine *g, const char *sql, const struct sql_text *text, struct error *e)
{
    _cleanup_statements_ duckdb_extracted_statements statements = NULL;
    _cleanup_prepared_ duckdb_prepared_statement statement = NULL;
    idx_t count = duckdb_extract_statements(g->connection, sql, &statements);
    if (count == 0) {
        const char *why = duckdb_extract_statements_error(statements);
        return why && *why ? fail(e, ERROR_QUERY, why)
                           : error_set(e, ERROR_SQL, "there is no statement in the SQL");
    }
    if (text->statements > 1)
        return error_set(e, ERROR_SQL, "only one statement can be downloaded: there are %zu",
                         text->statements);
    const char *other = sql_text_other_statement(sql + text->begin, text->keyword_length);
    if (other)
        return refuse_statement(other, e);
    if (count >
        1) /* what the engine makes of one text: it would first create a type of the values it finds */
        return error_set(e, ERROR_SQL, "a PIVOT must list its values: PIVOT ... ON column IN (...)");
    if (!check_functions(g, sql + text->begin, text->end - text->begin, e))
        return false;
    if (duckdb_prepare_extracted_statement(g->connection, statements, 0, &statement) != DuckDBSuccess)
        return fail(e, ERROR_QUERY, duckdb_prepare_error(statement));
    duckdb_statement_type type = duckdb_prepared_statement_type(statement);
    if (type != DUCKDB_STATEMENT_TYPE_SELECT)
        return refuse_statement(statement_name(type), e);
    if (duckdb_nparams(statement) > 0)
        return error_set(e, ERROR_SQL, "the statement has parameters (?, $1), for which there are no values");
    return true;
}

/* COPY makes equal names different as a subquery does. */
static bool take_names(struct engine *g, const char *sql, size_t length, struct error *e)
{
    _cleanup_buf_ struct buf query;
    buf_init(&query, QUERY_MAX);
    buf_append_text(&query, "SELECT * FROM (\n");
    buf_append(&query, sql, length);
    buf_append_text(&query, "\n)");
    if (!buf_ok(&query))
        return error_set(e, ERROR_MEMORY, "out of memory");
    if (duckdb_prepare(g->connection, query.data, &g->names_statement) != DuckDBSuccess)
        return fail_wrapped(e, duckdb_prepare_error(g->names_statement));
    size_t count = duckdb_prepared_statement_column_count(g->names_statement);
    g->names = calloc(count, sizeof *g->names);
    g->columns = calloc(count, sizeof *g->columns);
    if (!g->names || !g->columns)
        return error_set(e, ERROR_MEMORY, "out of memory");
    g->column_count = count;
    for (size_t i = 0; i < count; i++)
        if (!(g->names[i] = duckdb_prepared_statement_column_name(g->names_statement, i)))
            return error_set(e, ERROR_MEMORY, "out of memory");
    duckdb_destroy_prepare(&g->names_statement);
    return true;
}

static bool execute(struct engine *g, const char *sql, size_t length, struct error *e)
{
    _cleanup_buf_ struct buf query;
    _cleanup_prepared_ duckdb_prepared_statement statement = NULL;
    _cleanup_pending_ duckdb_pending_result pending = NULL;
    buf_init(&query, QUERY_MAX);
    for (size_t i = 1; i <= g->column_count; i++)
        buf_printf(&query, "%s#%zu::VARCHAR", i == 1 ? "SELECT " : ", ", i);
    buf_append_text(&query, " FROM (\n");
    buf_append(&query, sql, length);
    buf_append_text(&query, "\n)");
    if (!buf_ok(&query))
        return error_set(e, ERROR_MEMORY, "out of memory");
    if (duckdb_prepare(g->connection, query.data, &statement) != DuckDBSuccess)
        return fail_wrapped(e, duckdb_prepare_error(statement));
    if (duckdb_pending_prepared_streaming(statement, &pending) != DuckDBSuccess)
        return fail_wrapped(e, duckdb_pending_error(pending));
    g->has_result = true;
    return duckdb_execute_pending(pending, &g->result) == DuckDBSuccess ||
           fail_wrapped(e, duckdb_result_error(&g->result));
}

bool engine_start(struct engine *g, const char *sql, struct error *e)
{
    struct sql_text text = sql_text_scan(sql, strlen(sql));
    if (text.statements == 0)
        return error_set(e, ERROR_SQL, "there is no statement in the SQL");
    g->sql = sql + text.begin;
    g->sql_length = text.end - text.begin;
    return check_statement(g, sql, &text, e) && take_names(g, g->sql, g->sql_length, e) &&
           execute(g, g->sql, g->sql_length, e);
}

const char *const *engine_names(const struct engine *g, size_t *ret_count)
{
    *ret_count = g->column_count;
    return g->names;
}

bool engine_next(struct engine *g, struct text_chunk *ret_chunk, struct error *e)
{
    duckdb_destroy_data_chunk(&g->chunk);
    do {
        duckdb_destroy_data_chunk(&g->chunk);
        g->chunk = duckdb_fetch_chunk(g->result);
    } while (g->chunk && duckdb_data_chunk_get_size(g->chunk) == 0);
    *ret_chunk = (struct text_chunk){.column_count = g->column_count, .columns = g->columns};
    if (!g->chunk) {
        /* An error in mid-stream looks like the end; only this tells. */
        const char *why = duckdb_result_error(&g->result);
        return (!why || !*why) || fail_wrapped(e, why);
    }
    for (size_t i = 0; i < g->column_count; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(g->chunk, i);
        g->columns[i].values = duckdb_vector_get_data(vector);
        g->columns[i].validity = duckdb_vector_get_validity(vector);
    }
    ret_chunk->rows = duckdb_data_chunk_get_size(g->chunk);
    return true;
}

/* True where the query now ends without an error. */
static bool run_again(struct engine *g, struct error *e)
{
    struct text_chunk chunk;
    if (g->has_result)
        duckdb_destroy_result(&g->result);
    g->has_result = false;
    if (!execute(g, g->sql, g->sql_length, e))
        return false;
    do
        if (!engine_next(g, &chunk, e))
            return false;
    while (chunk.rows > 0);
    return true;
}

void engine_find_cause(struct engine *g, struct error *e)
{
    bool ended = false;
    for (int i = 0; i < CAUSE_TRIES && !ended && e->code == ERROR_CANCELLED; i++)
        ended = run_again(g, e);
    if (e->code == ERROR_CANCELLED)
        error_set(e, ERROR_QUERY, "the query failed, and the engine gave no reason");
}

double engine_percent(const struct engine *g)
{
    double percent = duckdb_query_progress(g->connection).percentage;
    return isnan(percent) || percent < 0 ? -1 : percent > 100 ? 100 : percent;
}

void engine_interrupt(struct engine *g)
{
    duckdb_interrupt(g->connection);
}
