#include "job/job.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "format/file_form.h"

static const char *const status_names[] = {
    [JOB_PENDING] = "pending", [JOB_PROCESSING] = "processing", [JOB_COMPLETED] = "completed",
    [JOB_FAILED] = "failed",   [JOB_EXPIRED] = "expired",
};

void job_release(struct job *j)
{
    free(j->user_id);
    free(j->org_id);
    free(j->dataset_id);
    free(j->sql);
    free(j->format);
    free(j->form);
    free(j->suffix);
    free(j->link);
    free(j->error_message);
    free(j->last_error);
    free(j->columns);
    free(j->details);
    *j = (struct job){0};
}

void job_attempt_list_release(struct job_attempt_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].outcome);
        free(l->items[i].owner);
        free(l->items[i].error);
    }
    free(l->items);
    *l = (struct job_attempt_list){0};
}

const char *job_attempt_error(const struct error *why, char ret[JOB_ATTEMPT_ERROR_MAX + 1])
{
    size_t length = utf8_prefix(why->message, strlen(why->message), JOB_ATTEMPT_ERROR_MAX);
    snprintf(ret, JOB_ATTEMPT_ERROR_MAX + 1, "%.*s", (int)length, why->message);
    return ret;
}

const char *job_status_name(enum job_status status)
{
    return status_names[status];
}

bool job_status_parse(const char *name, enum job_status *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(status_names); i++)
        if (strcmp(name, status_names[i]) == 0) {
            *ret = (enum job_status)i;
            return true;
        }
    return false;
}

enum error_code job_error_code_parse(const char *name)
{
    for (int code = 0; code < ERROR_CODE_COUNT; code++)
        if (strcmp(name, error_code_name((enum error_code)code)) == 0)
            return (enum error_code)code;
    return ERROR_INTERNAL;
}

bool job_may_become(enum job_status from, enum job_status to)
{
    switch (from) {
    case JOB_PENDING:
        return to == JOB_PROCESSING || to == JOB_FAILED;
    case JOB_PROCESSING:
        return to == JOB_COMPLETED || to == JOB_FAILED || to == JOB_PENDING;
    case JOB_COMPLETED:
        return to == JOB_EXPIRED;
    case JOB_FAILED:
    case JOB_EXPIRED:
        break;
    }
    return false;
}

const char *job_suffix(const struct job *j)
{
    return j->suffix ? j->suffix : j->format;
}

char *job_object_key(const struct job *j, uint32_t attempt)
{
    char *key = NULL;
    int length = attempt <= 1 ? asprintf(&key, "%s/%s.%s", j->org_id, j->id, job_suffix(j))
                              : asprintf(&key, "%s/%s-%" PRIu32 ".%s", j->org_id, j->id, attempt, job_suffix(j));
    return length < 0 ? NULL : key;
}

/* The bytes that stand for `c` inside a JSON string (RFC 8259, 7): at most 6. */
static size_t escape(unsigned char c, char out[7])
{
    switch (c) {
    case '"':
    case '\\':
        return (size_t)snprintf(out, 7, "\\%c", c);
    case '\n':
        return (size_t)snprintf(out, 7, "\\n");
    case '\r':
        return (size_t)snprintf(out, 7, "\\r");
    case '\t':
        return (size_t)snprintf(out, 7, "\\t");
    default:
        if (c < 0x20)
            return (size_t)snprintf(out, 7, "\\u%04x", c);
        out[0] = (char)c;
        return 1;
    }
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

/* Length of the longest prefix of whole characters that takes at most `max` bytes when escaped. */
static size_t escaped_prefix(const char *text, size_t length, size_t max)
{
    char scratch[7];
    size_t used = 0, i = 0;
    for (; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        used += is_plain(c) ? 1 : escape(c, scratch);
        if (used > max)
            break;
    }
    return utf8_prefix(text, length, i);
}

static void append_text(struct buf *out, const char *text, size_t length)
{
    buf_append(out, "\"", 1);
    for (size_t i = 0; i < length;) {
        size_t run = i;
        while (run < length && is_plain((unsigned char)text[run]))
            run++;
        buf_append(out, text + i, run - i);
        if (run < length) {
            char escaped[7];
            buf_append(out, escaped, escape((unsigned char)text[run++], escaped));
        }
        i = run;
    }
    buf_append(out, "\"", 1);
}

static void append_member(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(out, ",\"%s\":", name);
    append_text(out, value, strlen(value));
}

static void append_time(struct buf *out, const char *name, int64_t wall_us)
{
    if (!wall_us)
        return;
    char text[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(wall_us, text);
    append_member(out, name, text);
}

static void append_error(struct buf *out, const char *prefix, const char *message, enum error_code code)
{
    char name[32];
    snprintf(name, sizeof name, "%serror", prefix);
    append_member(out, name, message);
    snprintf(name, sizeof name, "%serror_code", prefix);
    if (code != ERROR_NONE)
        append_member(out, name, error_code_name(code));
}

static void append_attempts(struct buf *out, const struct job_attempt_list *l)
{
    buf_append_text(out, ",\"attempts\":[");
    for (size_t i = 0; i < l->count; i++) {
        const struct job_attempt_record *a = &l->items[i];
        buf_printf(out, "%s{\"attempt\":%" PRIu32, i > 0 ? "," : "", a->attempt);
        append_member(out, "state", a->outcome);
        append_member(out, "instance", a->owner);
        append_time(out, "started_at", a->started_at);
        append_time(out, "ended_at", a->ended_at);
        append_error(out, "", a->error, a->error_code);
        buf_append_text(out, "}");
    }
    buf_append_text(out, "]");
}

static int append_bytes(const char *data, size_t length, void *out)
{
    buf_append(out, data, length);
    return 0;
}

/* The members of a JSON object that a store holds, but for the one of the name `but`. What is none (a row that others
 * changed by hand) has no members. */
static void append_members(struct buf *out, const char *object, const char *but)
{
    const char *name;
    json_t *value, *o = object ? json_loads(object, 0, NULL) : NULL;
    json_object_foreach(o, name, value)
    {
        if (strcmp(name, but) == 0)
            continue;
        buf_append_text(out, ",");
        append_text(out, name, strlen(name));
        buf_append_text(out, ":");
        if (json_dump_callback(value, append_bytes, out, JSON_COMPACT | JSON_ENCODE_ANY) < 0)
            out->failed = true; /* out of memory */
    }
    json_decref(o);
}

#define COLUMNS_NAME ",\"columns\":"
#define COLUMNS_MARK ",\"columns_truncated\":true"

/* Bytes of the columns with their name. */
static size_t columns_length(const struct job *j)
{
    return j->columns ? strlen(COLUMNS_NAME) + strlen(j->columns) : 0;
}

/* What a result is like, but for its columns; `marked`: they are left out, and that is to be said. */
static void append_details(struct buf *out, const struct job *j, bool marked)
{
    if (!j->details)
        return;
    append_member(out, "content_type", file_media_type(job_suffix(j)));
    buf_printf(out, ",\"filename\":\"%s.%s\"", j->id, job_suffix(j));
    append_members(out, j->details, marked ? "columns_truncated" : "");
    if (marked)
        buf_append_text(out, COLUMNS_MARK);
}

static void append_columns(struct buf *out, const struct job *j)
{
    if (!j->columns)
        return;
    buf_append_text(out, COLUMNS_NAME);
    buf_append_text(out, j->columns);
}

void job_append_result(struct buf *out, const struct job *j, size_t max)
{
    size_t begin = out->len;
    append_details(out, j, false);
    if (!buf_ok(out) || !j->details)
        return;
    if (j->columns && out->len - begin + columns_length(j) <= max) {
        append_columns(out, j);
        return;
    }
    out->len = begin;
    append_details(out, j, true);
}

/* Everything behind `sql`, but for the columns and the end. */
static void append_rest(struct buf *out, const struct job *j, const struct job_attempt_list *attempts, bool marked)
{
    append_member(out, "dataset_id", j->dataset_id);
    append_member(out, "status", job_status_name(j->status));
    append_member(out, "format", j->format);
    append_members(out, j->form, "format");
    append_member(out, "pre_signed_url", j->link);
    append_member(out, "error_message", j->error_message);
    append_time(out, "created_at", j->created_at);
    append_time(out, "updated_at", j->updated_at);
    append_time(out, "expires_at", j->expires_at);
    append_time(out, "completed_at", j->completed_at);
    append_member(out, "user_id", j->user_id);
    append_member(out, "org_id", j->org_id);
    if (j->version)
        buf_printf(out, ",\"version\":%" PRId64, j->version);
    if (j->attempt)
        buf_printf(out, ",\"attempt\":%" PRIu32 ",\"failures\":%" PRIu32, j->attempt, j->failures);
    append_error(out, "last_", j->last_error, j->last_error_code);
    append_time(out, "retry_at", j->retry_at);
    if (j->queue_position)
        buf_printf(out, ",\"queue_position\":%" PRIu64, j->queue_position);
    /* Rows and bytes are a fact or a progress in these states only; then 0 is a value too. */
    if (j->status == JOB_PROCESSING || j->status == JOB_COMPLETED || j->status == JOB_EXPIRED)
        buf_printf(out, ",\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64, j->rows, j->bytes);
    if (j->sha256[0])
        append_member(out, "sha256", j->sha256);
    if (j->error_code != ERROR_NONE)
        append_member(out, "error_code", error_code_name(j->error_code));
    if (j->status == JOB_PROCESSING && j->percent >= 0)
        buf_printf(out, ",\"percent\":%.1f", j->percent);
    append_details(out, j, marked);
    if (attempts)
        append_attempts(out, attempts);
}

#define SQL_MARK ",\"sql_truncated\":true"

static size_t room(size_t max, size_t taken)
{
    return max > taken ? max - taken : 0;
}

static void append_json(struct buf *out, const struct job *j, const struct job_attempt_list *attempts, size_t max_line)
{
    _cleanup_buf_ struct buf head, rest;
    buf_init(&head, 256); /* an id */
    buf_printf(&head, "{\"id\":\"%s\",\"sql\":", j->id);
    buf_init(&rest, out->max);
    append_rest(&rest, j, attempts, false);
    size_t length = strlen(j->sql), keep = length;
    size_t fixed = head.len + strlen("\"\"") + rest.len + strlen("}") + (j->sql_cut ? strlen(SQL_MARK) : 0);
    bool columns = !max_line || (j->columns && fixed + columns_length(j) <= max_line &&
                                 escaped_prefix(j->sql, length, max_line - fixed - columns_length(j)) == length);
    if (j->details && !columns) {
        fixed -= rest.len;
        buf_clear(&rest);
        append_rest(&rest, j, attempts, true);
        fixed += rest.len;
    }
    if (!buf_ok(&head) || !buf_ok(&rest)) {
        out->failed = true;
        return;
    }
    if (max_line && !(columns && j->columns) && escaped_prefix(j->sql, length, room(max_line, fixed)) < length)
        keep = escaped_prefix(j->sql, length, room(max_line, fixed + strlen(SQL_MARK)));
    buf_append(out, head.data, head.len);
    append_text(out, j->sql, keep);
    if (keep < length || j->sql_cut)
        buf_append_text(out, SQL_MARK);
    buf_append(out, rest.data, rest.len);
    if (columns)
        append_columns(out, j);
    buf_append_text(out, "}");
}

void job_append_json(struct buf *out, const struct job *j, size_t max_line)
{
    append_json(out, j, NULL, max_line);
}

void job_append_json_with_attempts(struct buf *out, const struct job *j, const struct job_attempt_list *attempts)
{
    append_json(out, j, attempts, 0);
}
