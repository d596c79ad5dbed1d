/* What the files of a Postgres connection share; the only way to libpq-fe.h. */
#ifndef JOB_PG_INTERNAL_H
#define JOB_PG_INTERNAL_H

#include <libpq-fe.h>

#include "job/pg_db.h"

/* Behind a statement's own timeout the server's answer is waited for so much longer. */
#define PG_MARGIN_MS 1000

struct pg_rows {
    PGresult *result;
};

/* Connects within the timeout and its margin. `name` is for error texts. `*encoding` (at first "UTF8")
 * becomes what the database must be spoken to in. NULL on failure, as pg_db_open(). */
PGconn *pg_connect(const struct pg_db_options *o, const char *name, const char **encoding, struct error *e);

/* A message of the server in one line of UTF-8; NULL: out of memory. */
char *pg_one_line(const char *message);

#endif
