/* The query engine: one DuckDB instance over one source, one query. The only code that sees duckdb.h.
 *
 * All on the job thread, but for engine_percent() and engine_interrupt(), which any thread may call between
 * engine_configure() and engine_free(). Errors never name the server's files. */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "worker/chunk.h"

struct engine;

/* Opens a DuckDB file read-only, for a query on up to `threads` threads, the caller's among them. The process has one
 * thread afterwards, as it had before. NULL: `e` says why. */
struct engine *engine_open(const char *path, uint64_t memory_limit, uint32_t threads, struct error *e);

struct engine_motherduck {
    const char *database, *token;
    const char *extension_directory; /* as SQL may see it */
    bool unsigned_extensions;        /* for tests with a stand-in */
    uint64_t memory_limit, spill_limit;
    uint32_t threads;
};

/* Signs in to MotherDuck: one database, read-only, in SaaS mode. Read-only needs a token for read scaling; where
 * MotherDuck refuses for that reason it signs in again without. Blocks, and nothing but the process's end stops
 * it; the client has started threads afterwards. Settings are given beforehand, since SaaS mode may lock them.
 * NULL: `e` says why, with ERROR_SOURCE and what to do; the engine's words in it may contain the token. */
struct engine *engine_open_motherduck(const struct engine_motherduck *m, struct error *e);
void engine_free(struct engine *g);

/* Settings. What depends on the job follows with engine_start(), before any SQL of others: which files may be reached, the
 * session's time zone, the engine's own lock. Temporary files go to the current directory. Where SaaS mode has locked the
 * settings already, those that matter to the result are looked at. */
MUST_CHECK bool engine_configure(struct engine *g, uint64_t spill_limit, struct error *e);

/* The two halves of engine_configure() for a template. Before it makes processes: all that they can share. It starts no
 * thread. */
MUST_CHECK bool engine_prepare(struct engine *g, uint64_t spill_limit, struct error *e);

/* The same database for a query that is forgotten: it runs in a transaction that engine_rehearsal_end() takes back. NULL: not now. */
struct engine *engine_rehearsal_begin(const struct engine *g);
void engine_rehearsal_end(struct engine *rehearsal);

/* In each of them: a connection of its own, whose settings are the other half. What random() and uuid() give comes from
 * the connection: with the template's own it would be the same in every job. */
MUST_CHECK bool engine_join(struct engine *g, struct error *e);

/* "v1.5.5", "linux_amd64": what an extension must be made for. */
const char *engine_version(void);
const char *engine_platform(void);

/* What becomes of the rows. `encode` is called with every chunk once, on any of the engine's threads, several at once
 * and out of order; the number that it returns comes back from engine_next() in the order of the rows. `ret_held` is
 * how many bytes of memory wait under that number: beyond some 64 MiB the engine's threads pause. 0: it failed, for
 * want of memory. */
struct engine_columns {
    const char *const *names; /* as COPY would name them */
    const char *const *types; /* as SQL writes them: "DECIMAL(18,3)", "STRUCT(a INTEGER)[]"; a very long one is cut */
    const bool *free_text;    /* the text of a value may be anything: VARCHAR, ENUM, BLOB, lists, ... Not so numbers, dates
                               * and their like, though BIGNUM and some TIMESTAMPTZ come as text */
    size_t count;
};

struct engine_sink {
    /* Once, on the job thread, before any row. The texts are the engine's, and stay. */
    bool (*begin)(void *context, const struct engine_columns *columns, struct error *e);

    int64_t (*encode)(void *context, const struct chunk *chunk, size_t *ret_held);
    void *context;
};

struct engine_query {
    const char *sql;      /* must outlive the engine */
    const char *timezone; /* of the session */
    bool nested;          /* lists, structs and their like come as such; else as their text */
    bool local_time;      /* TIMESTAMPTZ comes as the TIMESTAMP that a clock in that time zone shows */
};

/* Shuts the engine's access to files and its settings, checks that the SQL is one statement that yields rows, and starts it. */
MUST_CHECK bool engine_start(struct engine *g, const struct engine_query *query, const struct engine_sink *sink, struct error *e);

/* The sink's next number; 0: the end. Works on the query itself while there is none. */
MUST_CHECK bool engine_next(struct engine *g, int64_t *ret_block, struct error *e);

/* Rows that the query has yielded as far as engine_next() went. */
uint64_t engine_rows(const struct engine *g);

/* The engine's other threads; until then the query has the job thread only. Any thread, after engine_configure(). false:
 * the query is not understood yet, ask again. With MotherDuck they are there from the start. */
MUST_CHECK bool engine_start_helpers(struct engine *g);

/* After ERROR_CANCELLED without an engine_interrupt(): replaces the error by its cause. With several threads
 * the engine (1.5.5) sometimes tells the interrupt by which it stops the others instead of the error for
 * which it does so (https://github.com/duckdb/duckdb/pull/25902), and keeps no other trace of that error: so
 * the query runs again, for its error only. */
void engine_find_cause(struct engine *g, struct error *e);

/* 0 to 100, negative where the engine cannot tell. */
double engine_percent(const struct engine *g);

/* Stops what runs, which then fails with ERROR_CANCELLED. A statement that starts just then may miss it: call
 * again. */
void engine_interrupt(struct engine *g);

#endif
