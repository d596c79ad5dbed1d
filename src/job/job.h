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
    char *form;   /* what the file is to look like, as file_form_json() gives it; NULL: not known (an original's record) */
    char *suffix; /* of the file's name ("csv.gz"), file_form_suffix(); NULL: `format` is */
    enum job_status status;
    int64_t created_at, updated_at;
    int64_t completed_at; /* of failed jobs too */
    int64_t expires_at;
    char *link;          /* `pre_signed_url`; NULL: none. Stays when it is over: the status says so */
    char *error_message; /* NULL: none */
    enum error_code error_code;

    int64_t version;              /* of the record: raised by every change of state; an event's id */
    uint32_t attempt;             /* of the latest claim; 0: never claimed */
    uint32_t failures;            /* attempts that failed; one that a shutdown or a lost instance ended is none */
    uint32_t rescues;             /* attempts that were lost with the instance that ran them */
    char *last_error;             /* of the latest attempt that was to be tried again; NULL: none */
    enum error_code last_error_code;
    uint64_t rows, bytes;         /* of the result; progress while it runs */
    double percent;               /* of the running job; negative: not known */
    char sha256[SHA256_HEX_SIZE]; /* of the file; "" until it is complete */
    char *columns; /* of the result: [{"name":"a","type":"INTEGER"},...]; NULL until complete, and in lists */
    char *details; /* of the result: an object with "truncated", "duration_ms" and what else there is to tell; NULL until
                      complete */
    bool sql_cut;                 /* `sql` is only its beginning (of a list: JOB_LIST_SQL_MAX) */

    /* Of a job that waits, where the store was asked for them (create, get); else 0. */
    int64_t retry_at;        /* not taken before then: it failed, and is to be tried again; 0: or its delay is over */
    uint64_t queue_position; /* 1: next, as things stand; never more than JOB_POSITION_MAX */
};

/* A position is counted up to here: the last number stands for all behind it, too. */
#define JOB_POSITION_MAX 10000

void job_release(struct job *j); /* the texts; the record is empty then */

/* How an attempt went, or goes. */
struct job_attempt_record {
    uint32_t attempt;
    char *outcome; /* "running", "published", "failed", "handed_over" (by a shutdown), "lost" (with its instance) */
    char *owner;   /* the instance's random id; NULL: of a version that did not keep it */
    int64_t started_at, ended_at; /* 0: not known, not yet */
    char *error;                  /* NULL: none */
    enum error_code error_code;
};

/* Bytes of an attempt's error as it is kept, and of last_error: the record's own error_message has all. */
#define JOB_ATTEMPT_ERROR_MAX 512
const char *job_attempt_error(const struct error *why, char ret[JOB_ATTEMPT_ERROR_MAX + 1]); /* returns `ret` */
struct job_attempt_list {
    struct job_attempt_record *items; /* in their order */
    size_t count;
};
void job_attempt_list_release(struct job_attempt_list *l);

const char *job_status_name(enum job_status status);
MUST_CHECK bool job_status_parse(const char *name, enum job_status *ret);

/* The code of that name (error.h) as a store keeps it; a name that this version does not know is
 * ERROR_INTERNAL. */
enum error_code job_error_code_parse(const char *name);

/* The only steps there are: pending -> processing -> completed -> expired, pending|processing -> failed,
 * processing -> pending. */
bool job_may_become(enum job_status from, enum job_status to);

/* What follows the dot in the file's name: `suffix`, or `format` where that is not known. */
const char *job_suffix(const struct job *j);

/* "<org>/<id>.<suffix>" for the first attempt, "<org>/<id>-<attempt>.<suffix>" for a later one. NULL: out of
 * memory. */
char *job_object_key(const struct job *j, uint32_t attempt);

/* Appends the record as one line of JSON, without a line end. Where `max_line` is not 0 and the line would be
 * longer, first the columns are left out ("columns_truncated":true says so), then `sql` is cut to fit (at a whole
 * character; "sql_truncated":true). Nothing else is cut: a limit on the other texts is the business of whoever takes
 * them from outside. A record without columns that has a result (of a poll) says that they are left out, too; but not
 * where `max_line` is 0 (of a list).
 * Members of the result (content_type, filename, columns and those of `details`) stand only where `details` is. */
void job_append_json(struct buf *out, const struct job *j, size_t max_line);

/* These members of the result alone, each with a comma in front: nothing without `details`; the columns only where it
 * all takes at most `max` bytes, else the mark. */
void job_append_result(struct buf *out, const struct job *j, size_t max);

/* The same as job_append_json(), whole, with the attempts. */
void job_append_json_with_attempts(struct buf *out, const struct job *j, const struct job_attempt_list *attempts);

#endif
