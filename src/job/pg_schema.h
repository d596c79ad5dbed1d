/* The tables of the Postgres job store: brought up step by step beside gopie's own. */
#ifndef JOB_PG_SCHEMA_H
#define JOB_PG_SCHEMA_H

#include "job/pg_db.h"

/* Looks, and makes what is missing: `downloads` (only where it is not there: gopie's own is used as it is and
 * never altered), our tables, and where the role owns `downloads` the index of its lists. Any number of
 * instances and gopie's migration may do so at once. No DDL where all is there; no extension, no type ever.
 *
 * `note` (optional) is told each thing that was made, and what an administrator should do. `*ret_indexed`:
 * lists have their index. */
MUST_CHECK bool pg_schema_bring_up(struct pg_db *db, void (*note)(void *context, const char *line),
                                   void *context, bool *ret_indexed, struct error *e);

/* Whether bringing up would do; makes nothing. */
MUST_CHECK bool pg_schema_check(struct pg_db *db, void (*note)(void *context, const char *line), void *context,
                                struct error *e);

#endif
