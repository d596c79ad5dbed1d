#include "job/sqlite_db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Only one thread writes; who else locks the file is a person with a tool. Less than a client waits for its
 * answer. */
#define BUSY_TIMEOUT_MS 2000

struct sqlite_db {
    sqlite3 *db;
    size_t statement_count;
    sqlite3_stmt *statements[];
};

/* What SQLite says, in words for a client: its own can name the file. */
static bool failed(const struct sqlite_db *db, int rc, struct error *e)
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
        return error_set(e, ERROR_UNAVAILABLE, "the job store cannot be read or written (SQLite: %d)",
                         sqlite3_extended_errcode(db->db));
    case SQLITE_NOMEM:
        return error_set(e, ERROR_INTERNAL, "out of memory");
    default:
        return error_set(e, ERROR_INTERNAL, "job store: %s", sqlite3_errmsg(db->db));
    }
}

static int bind(sqlite3_stmt *st, int index, const struct sqlite_value *v)
{
    switch (v->type) {
    case SQLITE_VALUE_INTEGER:
        return sqlite3_bind_int64(st, index, v->integer);
    case SQLITE_VALUE_REAL:
        return sqlite3_bind_double(st, index, v->real);
    case SQLITE_VALUE_TEXT:
        return sqlite3_bind_text(st, index, v->text, -1, SQLITE_STATIC);
    case SQLITE_VALUE_NULL:
        break;
    }
    return sqlite3_bind_null(st, index);
}

struct sqlite3_stmt *sqlite_db_start(struct sqlite_db *db, size_t statement,
                                     const struct sqlite_value *values, size_t count, struct error *e)
{
    sqlite3_stmt *st = db->statements[statement];
    for (size_t i = 0; i < count; i++) {
        int rc = bind(st, (int)i + 1, &values[i]);
        if (rc != SQLITE_OK) {
            failed(db, rc, e);
            return NULL;
        }
    }
    return st;
}

bool sqlite_db_next(struct sqlite_db *db, struct sqlite3_stmt *st, bool *ret_row, struct error *e)
{
    int rc = sqlite3_step(st);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return failed(db, rc, e);
    *ret_row = rc == SQLITE_ROW;
    return true;
}

void sqlite_statement_reset(struct sqlite3_stmt **st)
{
    sqlite3_reset(*st); /* NULL is fine */
}

bool sqlite_row_is_null(struct sqlite3_stmt *st, int column)
{
    return sqlite3_column_type(st, column) == SQLITE_NULL;
}

int64_t sqlite_row_integer(struct sqlite3_stmt *st, int column)
{
    return sqlite3_column_int64(st, column);
}

double sqlite_row_real(struct sqlite3_stmt *st, int column)
{
    return sqlite3_column_double(st, column);
}

bool sqlite_row_text(struct sqlite3_stmt *st, int column, char **ret)
{
    if (sqlite_row_is_null(st, column)) {
        *ret = NULL;
        return true;
    }
    const char *text = (const char *)sqlite3_column_text(st, column);
    char *copy = text ? strdup(text) : NULL;
    if (!copy)
        return false;
    *ret = copy;
    return true;
}

bool sqlite_db_execute(struct sqlite_db *db, size_t statement, const struct sqlite_value *values,
                       size_t count, struct error *e)
{
    bool row;
    _cleanup_statement_ sqlite3_stmt *st = sqlite_db_start(db, statement, values, count, e);
    return st && sqlite_db_next(db, st, &row, e);
}

int sqlite_db_changes(const struct sqlite_db *db)
{
    return sqlite3_changes(db->db);
}

bool sqlite_db_in_transaction(const struct sqlite_db *db)
{
    return !sqlite3_get_autocommit(db->db);
}

static bool execute_once(struct sqlite_db *db, const char *sql, struct error *e)
{
    int rc = sqlite3_exec(db->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK || failed(db, rc, e);
}

/* The one value that a PRAGMA answers. */
static bool query_once(struct sqlite_db *db, const char *sql, char **ret, struct error *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    bool ok = rc == SQLITE_ROW ? sqlite_row_text(st, 0, ret) && *ret : failed(db, rc, e);
    if (rc == SQLITE_ROW && !ok)
        error_set(e, ERROR_INTERNAL, "out of memory");
    sqlite3_finalize(st);
    return ok;
}

/* Inside a transaction. */
static bool migrate(struct sqlite_db *db, const char *const *schema, size_t count, struct error *e)
{
    _cleanup_free_ char *version = NULL;
    if (!query_once(db, "PRAGMA user_version", &version, e))
        return false;
    size_t done = strtoul(version, NULL, 10);
    if (done > count)
        return error_set(e, ERROR_CONFIG, "the job store was written by a newer version of this program");
    for (; done < count; done++)
        if (!execute_once(db, schema[done], e))
            return false;
    char set_version[64];
    snprintf(set_version, sizeof set_version, "PRAGMA user_version = %zu", done);
    return execute_once(db, set_version, e);
}

/* SQLite would make the file readable for all. It is closed before SQLite opens it, and not touched where it
 * is there already: closing a file drops this process's locks on it (POSIX), SQLite's among them. */
static bool make_file(const char *path, struct error *e)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return error_set_errno(e, ERROR_UNAVAILABLE, errno, "the job store cannot be made");
    return true;
}

static bool open_database(struct sqlite_db *db, const struct sqlite_db_options *o, struct error *e)
{
    if (!make_file(o->path, e))
        return false;
    int rc = sqlite3_open_v2(o->path, &db->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return failed(db, rc, e);
    sqlite3_busy_timeout(db->db, BUSY_TIMEOUT_MS);

    _cleanup_free_ char *mode = NULL;
    if (!query_once(db, "PRAGMA journal_mode = WAL", &mode, e))
        return false;
    if (strcmp(mode, "wal") != 0)
        return error_set(e, ERROR_UNAVAILABLE, "the job store's file system allows no write-ahead log");
    if (!execute_once(db, "PRAGMA synchronous = FULL", e) || !execute_once(db, "BEGIN IMMEDIATE", e))
        return false;
    return migrate(db, o->schema, o->schema_count, e) && execute_once(db, "COMMIT", e);
}

static bool prepare(struct sqlite_db *db, const char *const *statements, size_t count, struct error *e)
{
    for (; db->statement_count < count; db->statement_count++) {
        int rc = sqlite3_prepare_v3(db->db, statements[db->statement_count], -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->statements[db->statement_count], NULL);
        if (rc != SQLITE_OK)
            return failed(db, rc, e);
    }
    return true;
}

struct sqlite_db *sqlite_db_open(const struct sqlite_db_options *o, struct error *e)
{
    struct sqlite_db *db = calloc(1, sizeof *db + o->statement_count * sizeof db->statements[0]);
    if (!db) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    if (!open_database(db, o, e) || !prepare(db, o->statements, o->statement_count, e)) {
        sqlite_db_close(db);
        return NULL;
    }
    return db;
}

void sqlite_db_close(struct sqlite_db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < db->statement_count; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->db);
    free(db);
}
