/* A connection to an SQLite file: opening it, its statements, and its errors in words for a client. Nothing
 * here knows a job; nothing else sees sqlite3.h.
 *
 * One thread at a time. Any number may be open on one file: one that writes, others that read. */
#ifndef JOB_SQLITE_DB_H
#define JOB_SQLITE_DB_H

#include <stdint.h>

#include "base/error.h"

struct sqlite_db;
struct sqlite3_stmt;

struct sqlite_db_options {
    const char *path;
    const char *const *schema; /* steps: a database whose `PRAGMA user_version` is N has the first N */
    size_t schema_count;
    const char *const *statements; /* prepared once, for the life of the connection; named by their index */
    size_t statement_count;
};

/* Makes the file where there is none (mode 0600: links are secrets) and brings it to the newest step.
 * Write-ahead log, and what is committed is on the disk. NULL on failure. */
struct sqlite_db *sqlite_db_open(const struct sqlite_db_options *options, struct error *e);
void sqlite_db_close(struct sqlite_db *db); /* undoes an open transaction; NULL is fine */

/* A parameter of a statement. Texts belong to the caller and live until the statement is reset. */
struct sqlite_value {
    enum { SQLITE_VALUE_NULL, SQLITE_VALUE_INTEGER, SQLITE_VALUE_REAL, SQLITE_VALUE_TEXT } type;
    int64_t integer;
    double real;
    const char *text;
};

/* Binds the values. NULL on failure. */
struct sqlite3_stmt *sqlite_db_start(struct sqlite_db *db, size_t statement,
                                     const struct sqlite_value *values, size_t count, struct error *e);
MUST_CHECK bool sqlite_db_next(struct sqlite_db *db, struct sqlite3_stmt *st, bool *ret_row, struct error *e);

/* A statement that is left between rows holds on to its snapshot: so each is reset where it goes out of
 * scope. */
void sqlite_statement_reset(struct sqlite3_stmt **st);
#define _cleanup_statement_ _cleanup_(sqlite_statement_reset)

/* Of the row at which the statement stands. */
bool sqlite_row_is_null(struct sqlite3_stmt *st, int column);
int64_t sqlite_row_integer(struct sqlite3_stmt *st, int column); /* NULL is 0 */
double sqlite_row_real(struct sqlite3_stmt *st, int column);
MUST_CHECK bool sqlite_row_text(struct sqlite3_stmt *st, int column,
                                char **ret); /* a copy, NULL where it is NULL;
                                                false: out of memory */

/* Starts, takes one step and resets: for what has no rows to read. */
MUST_CHECK bool sqlite_db_execute(struct sqlite_db *db, size_t statement, const struct sqlite_value *values,
                                  size_t count, struct error *e);

int sqlite_db_changes(
    const struct sqlite_db *db); /* rows, of the last statement that changed any kind of thing */

/* False also where SQLite has undone a transaction on its own, on a full disk for one. */
bool sqlite_db_in_transaction(const struct sqlite_db *db);

#endif
