/* One kind of error for the whole program.
 *
 * A function that can fail returns false (or NULL, or -1) and fills a `struct error`, which it leaves untouched on
 * success. The code is the same in the log, in the record and in what the client sees; the list below is the only one. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

/* name in logs and records, HTTP status where it reaches a client, worth another attempt */
#define ERROR_CODES(X)                                                                                       \
    X(ERROR_NONE, "ok", 200, false)                                                                          \
    X(ERROR_INVALID, "invalid_request", 400, false)                                                          \
    X(ERROR_UNAUTHORIZED, "unauthorized", 401, false)                                                        \
    X(ERROR_FORBIDDEN, "forbidden", 403, false)                                                              \
    X(ERROR_NOT_FOUND, "not_found", 404, false)                                                              \
    X(ERROR_METHOD, "method_not_allowed", 405, false)                                                        \
    X(ERROR_TOO_LARGE, "too_large", 413, false)                                                              \
    X(ERROR_MEDIA_TYPE, "unsupported_media_type", 415, false)                                                \
    X(ERROR_RANGE, "range_not_satisfiable", 416, false)                                                      \
    X(ERROR_ORG_QUEUE_FULL, "organisation_queue_full", 429, true) /* of the organisation's own jobs as many wait as may */ \
    X(ERROR_INTERNAL, "internal", 500, true)                                                                 \
    X(ERROR_NOT_IMPLEMENTED, "not_implemented", 501, false)                                                  \
    X(ERROR_QUEUE_FULL, "queue_full", 503, true)                                                             \
    X(ERROR_UNAVAILABLE, "unavailable", 503, true)                                                           \
    X(ERROR_CONFIG, "configuration", 500, false)                                                             \
    X(ERROR_SQL, "sql_refused", 400, false)           /* not one statement that yields rows */               \
    X(ERROR_QUERY, "query_failed", 400, false)        /* the engine's own error */                           \
    X(ERROR_SECRET, "secret_in_result", 400, false)   /* the result has the source's access token in it */   \
    X(ERROR_MEMORY, "out_of_memory", 500, false)      /* the query needs more than the worker may have */    \
    X(ERROR_SPILL, "spill_limit", 500, false)         /* the query needs more disk than the worker may have */ \
    X(ERROR_SOURCE, "source_unavailable", 503, true)  /* the database does not open */                       \
    X(ERROR_STORAGE, "storage_failed", 503, true)     /* the object store refuses, or lost a part */         \
    X(ERROR_WORKER, "worker_lost", 500, true)         /* the worker process died or broke the protocol */    \
    X(ERROR_TIMEOUT, "timeout", 504, false)                                                                  \
    X(ERROR_STALLED, "stalled", 504, false)           /* no row and no byte for too long: the query computes on */ \
    X(ERROR_CANCELLED, "cancelled", 409, false)                                                              \
    X(ERROR_STALE, "stale_attempt", 409, false)       /* the attempt is no longer the job's current one */

enum error_code {
#define ERROR_ENUM(id, name, status, retryable) id,
    ERROR_CODES(ERROR_ENUM)
#undef ERROR_ENUM
        ERROR_CODE_COUNT
};

/* Bytes of a message, the final NUL included; longer ones are cut at a whole character and end in "...". */
#define ERROR_MESSAGE_MAX 8192

struct error {
    enum error_code code;
    char message[ERROR_MESSAGE_MAX]; /* UTF-8, for people; no secret, no path of the server */
};

const char *error_code_name(enum error_code code);
int error_code_http_status(enum error_code code);
bool error_code_retryable(enum error_code code);

/* Fills the error. Always returns false, so that a failing function can `return error_set(...)`. */
bool error_set(struct error *e, enum error_code code, const char *format, ...) PRINTF_LIKE(3, 4);

/* The same, with ": " and the text of the errno value behind the message. */
bool error_set_errno(struct error *e, enum error_code code, int errnum, const char *format, ...) PRINTF_LIKE(4, 5);

/* Length of the longest prefix of `text` that has at most `max` bytes and does not end inside a UTF-8 character. */
size_t utf8_prefix(const char *text, size_t length, size_t max);

#endif
