#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine_internal.h"
#include "worker/source.h"

bool engine_fail(struct error *e, enum error_code code, const char *text)
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
    /* That is what the writer of Parquet makes of a compressor that gets no memory. */
    if (strstr(text, "compressed page size out of range"))
        return error_set(e, ERROR_MEMORY, "out of memory while a page of Parquet was compressed");
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
    /* An engine's internal error goes on with addresses, and the paths of its libraries. */
    const char *trace = strstr(text, "\n\nStack Trace:");
    return error_set(e, code, "%.*s", (int)(trace ? trace - text : (ptrdiff_t)strlen(text)), text);
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

bool engine_fail_wrapped(struct error *e, const char *text)
{
    engine_fail(e, ERROR_QUERY, text);
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

struct engine *engine_open(const char *path, uint64_t memory_limit, uint32_t threads, struct error *e)
{
    char memory[32], count[16], *why = NULL;
    snprintf(memory, sizeof memory, "%" PRIu64 "B", memory_limit);
    snprintf(count, sizeof count, "%" PRIu32, threads);
    /* All of its threads are ours to start: it starts none. */
    const struct option options[] = {{"access_mode", "READ_ONLY"},
                                     {"threads", count},
                                     {"external_threads", count},
                                     {"memory_limit", memory},
                                     COMMON_OPTIONS};
    struct engine *g = open_with(path, options, ARRAY_SIZE(options), &why, e);
    if (g) {
        g->threads = threads;
        g->memory_limit = memory_limit;
    }
    if (!g && why)
        engine_fail(e, ERROR_SOURCE, why);
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
        if (g) {
            g->remote = true;
            g->threads = m->threads;
            g->memory_limit = m->memory_limit;
        } else if (why && !again)
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
    engine_release_query(g);
    duckdb_disconnect(&g->connection);
    duckdb_close(&g->database);
    free(g);
}

bool engine_run(duckdb_connection connection, const char *sql, struct error *e)
{
    _cleanup_result_ duckdb_result result = {0};
    return duckdb_query(connection, sql, &result) == DuckDBSuccess ||
           engine_fail(e, ERROR_INTERNAL, duckdb_result_error(&result));
}

static bool run(struct engine *g, const char *sql, struct error *e)
{
    return engine_run(g->connection, sql, e);
}

/* One value of one row, as text; NULL: `e` says why. Free it. */
static char *ask(struct engine *g, const char *sql, struct error *e)
{
    _cleanup_result_ duckdb_result result = {0};
    if (duckdb_query(g->connection, sql, &result) != DuckDBSuccess) {
        engine_fail(e, ERROR_INTERNAL, duckdb_result_error(&result));
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
    return true;
}

static bool set_timezone(struct engine *g, const char *timezone, struct error *e)
{
    char sql[sizeof "SET TimeZone=''" + FILE_TIMEZONE_MAX];
    if (strcmp(timezone, "UTC") == 0)
        return true;
    snprintf(sql, sizeof sql, "SET TimeZone='%s'", timezone);
    if (run(g, sql, e))
        return true;
    return g->remote && is_locked(e) ? error_set(e, ERROR_INVALID, "this data source has its time zone fixed: option timezone cannot be had")
                                     : error_set(e, ERROR_INVALID, "the engine does not know the time zone %s", timezone);
}

bool engine_use_threads(struct engine *g, uint32_t threads, struct error *e)
{
    char external[64], all[64];
    if (threads >= g->threads)
        return true;
    snprintf(external, sizeof external, "SET external_threads=%" PRIu32, threads);
    snprintf(all, sizeof all, "SET threads=%" PRIu32, threads);
    if (!run(g, external, e) || !run(g, all, e))
        return false;
    g->threads = threads;
    return true;
}

static bool set_all(struct engine *g, const char *const *settings, size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (!run(g, settings[i], e) && !(g->remote && is_locked(e)))
            return false;
    return true;
}

/* Of the instance, for connections to come. */
static bool set_instance(struct engine *g, struct error *e)
{
    const char *const settings[] = {
        g->remote ? "SET TimeZone='UTC'" : "SET GLOBAL TimeZone='UTC'",
        "SET preserve_insertion_order=true",
    };
    return set_all(g, settings, ARRAY_SIZE(settings), e);
}

/* Of the instance, but not before this is the process of the job: of a path through /proc/self the engine may keep what it
 * is a link to, and a template has another number there. The path costs half a millisecond, so only a job for Parquet has
 * it. MotherDuck's client never has: it does not write here. */
static bool shut_access(struct engine *g, struct error *e)
{
    const char *const settings[] = {"SET allowed_paths=['" ENGINE_PIPE_PATH "']", "SET enable_external_access=false"};
    size_t skip = g->remote || !g->parquet;
    return set_all(g, settings + skip, ARRAY_SIZE(settings) - skip, e);
}

/* A rehearsal's settings are the template's. */
bool engine_lock(struct engine *g, const char *timezone, struct error *e)
{
    if (g->rehearses)
        return true;
    if (!shut_access(g, e) || !set_timezone(g, timezone, e) || (!run(g, "SET lock_configuration=true", e) && !(g->remote && is_locked(e))))
        return false;
    if (!g->remote)
        return true;
    _cleanup_free_ char *locked = ask(g, "SELECT current_setting('lock_configuration')::VARCHAR", e);
    if (!locked)
        return false;
    return strcmp(locked, "true") == 0 || error_set(e, ERROR_INTERNAL, "the engine's settings are not locked");
}

/* Of the connection. */
static bool set_connection(struct engine *g, struct error *e)
{
    const char *const settings[] = {
        "SET enable_progress_bar=true",
        "SET enable_progress_bar_print=false",
        /* Of what engine_stream.c makes it count. The default, 1 MB, keeps one core busy only. */
        g->remote ? "SET streaming_buffer_size='4MB'" : "SET streaming_buffer_size='6MB'",
    };
    return set_all(g, settings, ARRAY_SIZE(settings), e);
}

bool engine_prepare(struct engine *g, uint64_t spill_limit, struct error *e)
{
    char spill[96];
    snprintf(spill, sizeof spill, "SET max_temp_directory_size='%" PRIu64 "B'", spill_limit);
    const char *const local[] = {"SET temp_directory='" JOB_DIRECTORY "'", spill,
                                 /* Behind the lock, too: engine_use_threads(). SQL has no way there: only a SELECT is run. */
                                 "SET allowed_configs=['threads', 'external_threads']"};
    return (g->remote || set_all(g, local, ARRAY_SIZE(local), e)) && set_instance(g, e);
}

bool engine_configure(struct engine *g, uint64_t spill_limit, struct error *e)
{
    struct error ignored;
    if (g->remote) /* nobody needs it there any more; the client may refuse, and what leaves is scanned */
        run(g, "SET motherduck_token=''", &ignored);
    return engine_prepare(g, spill_limit, e) && set_connection(g, e) && (!g->remote || check_remote_settings(g, e));
}

struct engine *engine_open_private(uint64_t memory_limit, struct error *e)
{
    static const char *const settings[] = {
        "SET temp_directory=''",
        "SET allowed_paths=['" ENGINE_PIPE_PATH "']",
        "SET preserve_insertion_order=false", /* engine_parquet.c */
        "SET enable_external_access=false",
        "SET lock_configuration=true",
    };
    char memory[32], *why = NULL;
    snprintf(memory, sizeof memory, "%" PRIu64 "B", memory_limit);
    const struct option options[] = {
        {"threads", "1"}, {"external_threads", "1"}, {"memory_limit", memory}, COMMON_OPTIONS};
    struct engine *g = open_with(NULL, options, ARRAY_SIZE(options), &why, e);
    if (!g && why)
        engine_fail(e, ERROR_INTERNAL, why);
    duckdb_free(why);
    if (!g || set_all(g, settings, ARRAY_SIZE(settings), e))
        return g;
    engine_free(g);
    return NULL;
}

struct engine *engine_rehearsal_begin(const struct engine *g)
{
    struct error e;
    struct engine *r = calloc(1, sizeof *r);
    if (r)
        *r = (struct engine){.database = g->database, .threads = g->threads, .rehearses = true};
    if (r && duckdb_connect(r->database, &r->connection) == DuckDBSuccess && run(r, "BEGIN TRANSACTION", &e))
        return r;
    engine_rehearsal_end(r);
    return NULL;
}

void engine_rehearsal_end(struct engine *r)
{
    struct error ignored;
    if (!r)
        return;
    engine_release_query(r);
    if (r->connection)
        run(r, "ROLLBACK", &ignored);
    duckdb_disconnect(&r->connection);
    free(r);
}

bool engine_join(struct engine *g, struct error *e)
{
    /* The template's connection is left as it is: this process ends without an orderly end of the engine. */
    if (duckdb_connect(g->database, &g->connection) != DuckDBSuccess)
        return error_set(e, ERROR_INTERNAL, "the engine gives no connection");
    return set_connection(g, e);
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
