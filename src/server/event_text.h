/* The bytes of our Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as the contract has them. Pure.
 *
 * Every function appends one whole event with the empty line behind it. `version` becomes the event's id, 0 means none: an id stands only where the
 * record changed. No line reaches 64 KiB, at which gopie-server gives up: long `sql` and error texts are cut, and the columns of a wide result left out. */
#ifndef SERVER_EVENT_TEXT_H
#define SERVER_EVENT_TEXT_H

#include "base/buf.h"
#include "job/job.h"

#define EVENT_TEXT_MAX (128 * 1024) /* ceiling of a buffer for a few events */

void event_text_request_received(struct buf *out);
void event_text_not_created(struct buf *out); /* ends the poster's stream */
void event_text_job_created(struct buf *out, const struct job *j);
void event_text_status(struct buf *out, const char *id, int64_t version, const char *message);

/* A job that failed and waits for its next attempt. */
void event_text_retry(struct buf *out, const struct job *j);

/* `percent` 0 to 99; negative: not known, then it is 0 and "indeterminate" is true. */
void event_text_progress(struct buf *out, const char *id, int percent, uint64_t rows, uint64_t bytes);

/* What a joining subscriber is told first: the record. */
void event_text_snapshot(struct buf *out, const struct job *j, int64_t version);

/* The last event of a job that is over: `complete` with the link, or `error`. */
void event_text_last(struct buf *out, const struct job *j);

/* An error that is not the record's: the job was deleted. `message` has no prefix. */
void event_text_error(struct buf *out, const char *id, const char *message);

/* A shutdown: to the poster an error that says that the download goes on, to others a request to come back. */
void event_text_handed_over(struct buf *out, const char *id);
void event_text_restart(struct buf *out);

void event_text_heartbeat(struct buf *out);

#endif
