/* From the rows of an answer to what the job store's callers get. Nothing is left of a row that cannot be read. */
#ifndef JOB_PG_RECORDS_H
#define JOB_PG_RECORDS_H

#include "job/pg_db.h"
#include "job/store.h"

#define PG_JOB_COLUMNS 29 /* of JOB_COLUMNS (pg_statements.h) */

/* JOB_COLUMNS, the first of them at `at`. What is NULL reads as 0. */
MUST_CHECK bool pg_read_job(struct pg_row *r, int at, struct job *ret, struct error *e);

/* All rows, which begin with a job each. */
MUST_CHECK bool pg_read_jobs(const struct pg_rows *rows, struct job_list *ret, struct error *e);

/* The rows of ATTEMPTS, LEFTOVERS, POLL. */
MUST_CHECK bool pg_read_attempts(const struct pg_rows *rows, struct job_attempt_list *ret, struct error *e);
MUST_CHECK bool pg_read_leftovers(const struct pg_rows *rows, struct job_leftover_list *ret, struct error *e);
MUST_CHECK bool pg_read_poll(const struct pg_rows *rows, struct job_poll_result *ret, struct error *e);

#endif
