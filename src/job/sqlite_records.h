/* From the rows of a statement to what the job store's callers get. */
#ifndef JOB_SQLITE_RECORDS_H
#define JOB_SQLITE_RECORDS_H

#include "job/sqlite_db.h"
#include "job/store.h"

/* The row of SELECT_JOB (sqlite_statements.h) at which the statement stands. What is NULL reads as 0. */
MUST_CHECK bool sqlite_read_job(struct sqlite3_stmt *st, struct job *ret, struct error *e);

/* An empty record at the end of the list, to be filled; what fills it counts it. NULL: out of memory. */
struct job *sqlite_list_place(struct job_list *l, struct error *e);

/* All rows that follow: of SELECT_JOB, ATTEMPTS, LEFTOVERS. */
MUST_CHECK bool sqlite_read_jobs(struct sqlite_db *db, struct sqlite3_stmt *st, struct job_list *ret, struct error *e);
MUST_CHECK bool sqlite_read_attempts(struct sqlite_db *db, struct sqlite3_stmt *st, struct job_attempt_list *ret,
                                     struct error *e);
MUST_CHECK bool sqlite_read_leftovers(struct sqlite_db *db, struct sqlite3_stmt *st, struct job_leftover_list *ret,
                                      struct error *e);

#endif
