/* A connection to a Postgres database: making it and making it anew, transactions, statements, and errors in
 * words for a client. Nothing here knows a job; nothing else sees libpq (pg_connect.c, pg_db.c, pg_rows.c).
 *
 * One thread at a time. Works through a pooler that gives a server away after each transaction: nothing is
 * left in a session (no named statement, no SET but SET LOCAL, no advisory lock but a transaction's). No call
 * waits for longer than its timeout and a second, also where the server is silent: then the connection is
 * given up.
 *
 * Statements that control the transaction are not sent on their own: they wait for the next query and
 * travel with it, so that a transaction of n queries costs n + 1 round trips. What goes wrong with them is
 * that query's error. A transaction of one query needs no such statement: the server begins one with a trip
 * and commits it at the end (the Sync; PostgreSQL manual, "Message Flow", "Pipelining"). */
#ifndef JOB_PG_DB_H
#define JOB_PG_DB_H

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"

struct pg_db;

struct pg_db_options {
    const char *host, *database, *user, *password; /* "": libpq's own default */
    uint16_t port;
    const char *sslmode; /* NULL: libpq's own default */
    uint64_t timeout_ms; /* of making a connection, and of each statement and the wait for its answer */
    /* What is worth a line in the log: connection lost, made anew. Optional; on the thread that calls. */
    void (*note)(void *context, const char *line);
    void *context;
};

/* Connects. NULL on failure: ERROR_UNAVAILABLE, or ERROR_CONFIG where the server refuses us. */
struct pg_db *pg_db_open(const struct pg_db_options *options, struct error *e);
void pg_db_close(struct pg_db *db); /* an open transaction is undone; NULL is fine */

/* For how long the server has answered every call (milliseconds). */
int64_t pg_db_up_ms(const struct pg_db *db);

/* As the name of the user and of the server in an error text: "user@host:port/database". */
const char *pg_db_name(const struct pg_db *db);

/* A parameter of a statement ($1 is the first). Texts are the caller's, and UTF-8. What it becomes is the
 * statement's affair: the server takes the type from the place where it stands. */
struct pg_value {
    enum { PG_VALUE_NULL, PG_VALUE_INTEGER, PG_VALUE_TEXT } type;
    int64_t integer;
    const char *text;
};
#define PG_VALUES_MAX 16

/* Begins, with the lock of that number for the length of the transaction (waited for; 0: none) and with
 * `timeout_ms` instead of the connection's own (0: that one). Connects anew where the connection is lost,
 * at most once a second; in between it fails at once. */
MUST_CHECK bool pg_db_begin(struct pg_db *db, int64_t lock, uint64_t timeout_ms, struct error *e);

/* Each query from here to the commit or rollback is a transaction of its own that writes, of two statements
 * (the settings with the lock, and the query) in one trip. ERROR_UNAVAILABLE: undone, or, when the connection
 * broke or was given up, not known. The default isolation and access of the session do not matter. */
void pg_db_begin_each(struct pg_db *db, int64_t lock);

/* `sql` (a constant without parameters) goes with the next query, or with the commit. Nothing at all where
 * each query is a transaction. */
MUST_CHECK bool pg_db_queue(struct pg_db *db, const char *sql, struct error *e);

/* Commits; where nothing was sent, there is nothing to commit. False: undone, or, when the connection
 * broke just then, not known. */
MUST_CHECK bool pg_db_commit(struct pg_db *db, struct error *e);
void pg_db_rollback(struct pg_db *db); /* does nothing where no transaction is open */
bool pg_db_in_transaction(const struct pg_db *db); /* or between pg_db_begin_each() and its end */

/* Rows of an answer. */
struct pg_rows;
void pg_rows_free(struct pg_rows **rows);
#define _cleanup_pg_rows_ _cleanup_(pg_rows_free)
size_t pg_rows_count(const struct pg_rows *rows);

/* One statement, within the open transaction, or in one of its own (that only reads) where none is open.
 * NULL on failure; the transaction can then only be rolled back, also to a savepoint. */
struct pg_rows *pg_db_query(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                            struct error *e);

/* The same; but where no transaction is open, `sql` (that only reads, and not for long) is the only statement:
 * no timeout at the server, ours alone. */
struct pg_rows *pg_db_query_plain(struct pg_db *db, const char *sql, const struct pg_value *values, size_t count,
                                  struct error *e);

/* A reader of one row. A value of another type or shape than what is asked for makes `wrong` true, memory
 * that is out `no_memory`; both stay, so a reader may read all and look once. NULL reads as 0, "" or NULL. */
struct pg_row {
    const struct pg_rows *rows;
    int row;
    bool wrong, no_memory;
};
bool pg_row_is_null(const struct pg_row *r, int column);
int64_t pg_row_integer(struct pg_row *r, int column); /* int4, int8 */
bool pg_row_bool(struct pg_row *r, int column);
double pg_row_real(struct pg_row *r, int column);  /* float8 */
int64_t pg_row_time(struct pg_row *r, int column); /* timestamptz: microseconds since 1970; infinity is 0 */
char *pg_row_text(struct pg_row *r, int column);   /* a copy; valid UTF-8 whatever the database holds */
void pg_row_uuid(struct pg_row *r, int column, char ret[UUID_SIZE]);
MUST_CHECK bool pg_row_ok(const struct pg_row *r, struct error *e);

#endif
