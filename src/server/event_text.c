#include "server/event_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* gopie's page loses an event that reaches it in two reads. What a network carries in one go at first are ten
 * segments, 14,480 bytes (RFC 6928): the headers and the first two events stay below that. Measured:
 * docs/decisions/cut-sql.md. */
#define RECORD_LINE_MAX (8 * 1024)
#define ERROR_TEXT_MAX (16 * 1024)

static int append(const char *data, size_t length, void *out)
{
    buf_append(out, data, length);
    return 0;
}

/* The data line of `object`, which is released, and the end of the event. */
static void finish(struct buf *out, json_t *object)
{
    buf_append_text(out, "data: ");
    if (!object || json_dump_callback(object, append, out, JSON_COMPACT) < 0)
        out->failed = true; /* out of memory: no half an event is sent */
    json_decref(object);
    buf_append_text(out, "\n\n");
}

static void append_id(struct buf *out, int64_t version)
{
    if (version > 0)
        buf_printf(out, "id: %" PRId64 "\n", version);
}

static void append_record(struct buf *out, const char *event, const struct job *j, int64_t version)
{
    buf_printf(out, "event: %s\n", event);
    append_id(out, version);
    buf_append_text(out, "data: ");
    job_append_json(out, j, RECORD_LINE_MAX);
    buf_append_text(out, "\n\n");
}

void event_text_request_received(struct buf *out)
{
    buf_append_text(out, "event: request_received\n"
                         "data: {\"message\": \"Request received, preparing to submit to queue...\"}\n\n");
}

void event_text_not_created(struct buf *out)
{
    buf_append_text(out, "event: error\n"
                         "data: {\"type\":\"error\",\"message\":\"could not create download job\"}\n\n");
}

void event_text_job_created(struct buf *out, const struct job *j)
{
    append_record(out, "job_created", j, j->version);
}

void event_text_snapshot(struct buf *out, const struct job *j, int64_t version)
{
    append_record(out, "snapshot", j, version);
}

void event_text_status(struct buf *out, const char *id, int64_t version, const char *message)
{
    append_id(out, version);
    finish(out, json_pack("{s:s, s:s, s:s}", "download_id", id, "type", "status_update", "message", message));
}

void event_text_retry(struct buf *out, const struct job *j)
{
    char text[JOB_ATTEMPT_ERROR_MAX + 64];
    snprintf(text, sizeof text, "Attempt %u failed, trying again: %s", j->attempt, j->last_error ? j->last_error : "");
    event_text_status(out, j->id, j->version, text);
}

void event_text_progress(struct buf *out, const char *id, int percent, uint64_t rows, uint64_t bytes)
{
    char message[64];
    snprintf(message, sizeof message, "%" PRIu64 " rows written", rows);
    json_t *o = json_pack("{s:s, s:s, s:i, s:s, s:I, s:I}", "download_id", id, "type", "progress", "progress",
                          percent < 0 ? 0 : percent, "message", message, "rows", (json_int_t)rows, "bytes",
                          (json_int_t)bytes);
    if (o && percent < 0)
        json_object_set_new(o, "indeterminate", json_true());
    finish(out, o);
}

static void append_error(struct buf *out, const char *id, int64_t version, const char *message, bool handed_over)
{
    size_t length = utf8_prefix(message, strlen(message), ERROR_TEXT_MAX);
    append_id(out, version);
    json_t *o = json_pack("{s:s, s:s, s:s%}", "download_id", id, "type", "error", "message", message, length);
    if (o && handed_over)
        json_object_set_new(o, "handed_over", json_true());
    finish(out, o);
}

void event_text_error(struct buf *out, const char *id, const char *message)
{
    char text[ERROR_MESSAGE_MAX + 64];
    snprintf(text, sizeof text, "Failed during data processing: %s", message);
    append_error(out, id, 0, text, false);
}

/* The record's words for a result follow the contract's. */
static void append_complete(struct buf *out, const struct job *j)
{
    append_id(out, j->version);
    size_t line = out->len;
    finish(out, json_pack("{s:s, s:s, s:s, s:I, s:I, s:s}", "download_id", j->id, "type", "complete", "message",
                          j->link ? j->link : "", "rows", (json_int_t)j->rows, "bytes", (json_int_t)j->bytes, "sha256",
                          j->sha256));
    if (!buf_ok(out))
        return;
    out->len -= strlen("}\n\n");
    size_t length = out->len - line;
    job_append_result(out, j, length < RECORD_LINE_MAX ? RECORD_LINE_MAX - length : 0);
    buf_append_text(out, "}\n\n");
}

void event_text_last(struct buf *out, const struct job *j)
{
    if (j->status == JOB_COMPLETED) {
        append_complete(out, j);
    } else if (j->status == JOB_EXPIRED) {
        append_error(out, j->id, j->version, "the download link has expired", false);
    } else {
        char text[ERROR_MESSAGE_MAX + 64];
        snprintf(text, sizeof text, "Failed during data processing: %s",
                 j->error_message ? j->error_message : "unknown error");
        append_error(out, j->id, j->version, text, false);
    }
}

void event_text_handed_over(struct buf *out, const char *id)
{
    char text[256];
    snprintf(text, sizeof text,
             "The server is restarting. The download goes on by itself: look for it in the list of downloads "
             "(GET /downloads/%s) in a moment.",
             id);
    append_error(out, id, 0, text, true);
}

void event_text_restart(struct buf *out)
{
    buf_append_text(out, "event: restart\ndata: {\"message\":\"The server is restarting, come back in a moment.\"}\n\n");
}

void event_text_heartbeat(struct buf *out)
{
    buf_append_text(out, ": heartbeat\n\n");
}
