/* A download: the record that the contract shows, and what we know beyond it.
 *
 * Plain record; whoever holds it owns its texts (job_release()). Texts are UTF-8: whoever takes them from
 * outside sees to that. Times are microseconds since 1970, 0 where not set. */
#ifndef JOB_JOB_H
#define JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"

/* The contract's words, in records and in the table: job_status_name(). */
enum job_status { JOB_PENDING, JOB_PROCESSING, JOB_COMPLETED, JOB_FAILED, JOB_EXPIRED };

struct job {
    char id[UUID_SIZE];
    char *user_id, *org_id, *dataset_id, *sql, *format;
    enum job_status status;
    int64_t created_at, updated_at;
    int64_t completed_at; /* of failed jobs too */
    int64_t expires_at;
    char *link;          /* `pre_signed_url`; NULL: none. Stays when it is over: the status says so */
    char *error_message; /* NULL: none */
    enum error_code error_code;

    int64_t version;              /* of the record: raised by every change of state; an event's id */
    uint32_t attempt;             /* of the latest claim; 0: never claimed */
    uint64_t rows, bytes;         /* of the result; progress while it runs */
    double percent;               /* of the running job; negative: not known */
    char sha256[SHA256_HEX_SIZE]; /* of the file; "" until it is complete */
    bool sql_cut;                 /* `sql` is only its beginning (of a list: JOB_LIST_SQL_MAX) */
};

void job_release(struct job *j); /* the texts; the record is empty then */

const char *job_status_name(enum job_status status);
MUST_CHECK bool job_status_parse(const char *name, enum job_status *ret);

/* The code of that name (error.h) as a store keeps it; a name that this version does not know is
 * ERROR_INTERNAL. */
enum error_code job_error_code_parse(const char *name);

/* The only steps there are: pending -> processing -> completed -> expired, pending|processing -> failed,
 * processing -> pending. */
bool job_may_become(enum job_status from, enum job_status to);

/* "<org>/<id>.<format>" for the first attempt, "<org>/<id>-<attempt>.<format>" for a later one. NULL: out of
 * memory. */
char *job_object_key(const struct job *j, uint32_t attempt);

/* Appends the record as one line of JSON, without a line end. Where `max_line` is not 0 and the line would be
 * longer, `sql` is cut to fit (at a whole character); where it is cut "sql_truncated":true says so. Nothing
 * else is cut: a limit on the other texts is the business of whoever takes them from outside. */
void job_append_json(struct buf *out, const struct job *j, size_t max_line);

#endif
