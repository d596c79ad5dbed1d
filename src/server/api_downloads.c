/* Creating, listing, showing and deleting downloads. Each request becomes one task for the job store. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_values.h"
#include "base/log.h"
#include "format/file_form.h"
#include "server/api.h"
#include "server/event_text.h"

#define LIST_DEFAULT 10
#define LIST_MAX 100
#define DATASET_MAX 1024
#define BODY_VALUES_MAX 1000 /* clients send six, or twenty with all options; a million would take half a second */
#define RECORD_BODY_MAX (32 * 1024 * 1024) /* one record: its SQL may have 4 MiB, six times that when escaped */
#define LIST_BODY_MAX ((size_t)LIST_MAX * (6 * JOB_LIST_SQL_MAX + 64 * 1024)) /* the rest of a record: under 64 KiB */

/* One request on its way through the store. Owns all but the request. */
struct call {
    struct store_task step;
    struct api *api;
    struct http_request *request;
    char *user, *org;
    char id[UUID_SIZE];
    uint64_t limit, offset;
    json_t *body; /* of a creation: `asked` points into it, and to these */
    char *form, suffix[FILE_SUFFIX_MAX];
    struct job_request asked;
    struct job job;
    struct job_list list;
    struct job_attempt_list attempts;
    bool found;
};

static void call_free(struct call *c)
{
    if (!c)
        return;
    free(c->user);
    free(c->org);
    json_decref(c->body);
    free(c->form);
    job_release(&c->job);
    job_list_release(&c->list);
    job_attempt_list_release(&c->attempts);
    free(c);
}

static void reply(struct http_request *r, enum error_code code, const char *message)
{
    struct error e;
    error_set(&e, code, "%s", message);
    api_reply_error(r, &e);
}

/* NULL: out of memory, answered. */
static struct call *call_new(struct api *a, struct http_request *r, const struct api_identity *who)
{
    struct call *c = calloc(1, sizeof *c);
    if (c) {
        c->api = a;
        c->request = r;
        c->user = strdup(who->user);
        c->org = strdup(who->org);
    }
    if (!c || !c->user || !c->org) {
        call_free(c);
        reply(r, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    return c;
}

/* The record, or the error that the store gave. Ends the call. */
static void reply_body(struct call *c, int status, struct buf *body)
{
    if (buf_ok(body))
        http_reply(c->request, status, "application/json", body->data, body->len);
    else
        reply(c->request, ERROR_INTERNAL, "out of memory");
    buf_release(body);
    call_free(c);
}

static void reply_store_error(struct call *c)
{
    const struct error *e = &c->step.error;
    if (e->code != ERROR_NOT_FOUND)
        log_write(LOG_LEVEL_ERROR, (struct log_about){.request = http_request_id(c->request)}, "%s", e->message);
    api_reply_error(c->request, e);
    call_free(c);
}

/* --- POST /downloads --- */

/* A text of the body; `null` and a missing one are "". */
static bool text_member(const json_t *body, const char *name, const char **ret, struct error *e)
{
    const json_t *value = json_object_get(body, name);
    if (value && !json_is_string(value) && !json_is_null(value))
        return error_set(e, ERROR_INVALID, "%s must be a string", name);
    *ret = json_is_string(value) ? json_string_value(value) : "";
    return true;
}

/* What the file is to look like. The record has the format's own name, whichever was asked for. */
static bool parse_form(struct call *c, struct error *e)
{
    struct file_form form;
    if (!file_form_read(c->body, &form, e))
        return false;
    file_form_limit(&form, c->api->row_limit, c->api->byte_limit);
    json_t *canonical = file_form_json(&form);
    c->form = canonical ? json_dumps(canonical, JSON_COMPACT) : NULL;
    json_decref(canonical);
    if (!c->form)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    file_form_suffix(&form, c->suffix);
    c->asked.format = file_format_name(form.format);
    c->asked.form = c->form;
    c->asked.suffix = c->suffix;
    return true;
}

static bool parse_creation(struct call *c, const char *body, size_t length, struct error *e)
{
    json_error_t why;
    if (json_has_more_commas(body, length, BODY_VALUES_MAX - 1))
        return error_set(e, ERROR_INVALID, "the body has more than %d values", BODY_VALUES_MAX);
    c->body = json_loadb(body, length, 0, &why);
    if (!c->body)
        return error_set(e, ERROR_INVALID, "the body is not valid JSON: %s", why.text);
    if (!json_is_object(c->body))
        return error_set(e, ERROR_INVALID, "the body must be a JSON object");
    struct job_request *asked = &c->asked;
    if (!text_member(c->body, "sql", &asked->sql, e) || !text_member(c->body, "dataset_id", &asked->dataset_id, e))
        return false;
    if (asked->sql[strspn(asked->sql, " \t\r\n")] == '\0')
        return error_set(e, ERROR_INVALID, "sql is missing");
    if (*asked->dataset_id == '\0')
        return error_set(e, ERROR_INVALID, "dataset_id is missing");
    if (strlen(asked->dataset_id) > DATASET_MAX)
        return error_set(e, ERROR_INVALID, "dataset_id is longer than %d bytes", DATASET_MAX);
    asked->user_id = c->user;
    asked->org_id = c->org;
    return parse_form(c, e);
}

static bool call_create(struct job_store *s, struct store_task *t, struct error *e)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    return s->api->create(s, &c->asked, &c->job, e);
}

/* The contract's answer where the store fails: a stream that says so. */
static void stream_not_created(struct http_request *r)
{
    hub_stream_headers(r);
    const struct http_stream_options options = {.status = 200, .content_type = "text/event-stream", .length = -1};
    struct http_stream *s = http_stream_begin(r, &options);
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_request_received(&text);
    http_stream_write(s, text.data, text.len);
    buf_clear(&text);
    event_text_not_created(&text);
    http_stream_write(s, text.data, text.len);
    http_stream_end(s);
}

/* The poster's stream: its subscription stands before the job can be claimed. */
static void open_poster(struct call *c)
{
    struct subscriber *s = hub_join(c->api->hub, c->job.id, true);
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    if (!s) {
        reply(c->request, ERROR_INTERNAL, "out of memory: the download was created and goes on without this stream");
        return;
    }
    event_text_request_received(&text);
    hub_open(s, c->request, &text, 0, 0);
    buf_clear(&text);
    event_text_job_created(&text, &c->job);
    hub_publish(c->api->hub, c->job.id, HUB_STATE, c->job.version, &text);
    if (c->api->draining) { /* nothing claims it here any more, and the hub may have said goodbye already */
        buf_clear(&text);
        event_text_handed_over(&text, c->job.id);
        hub_publish(c->api->hub, c->job.id, HUB_FINAL, 0, &text);
    }
}

static void created(struct store_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    struct api *a = c->api;
    if (!t->ok && (t->error.code == ERROR_QUEUE_FULL || t->error.code == ERROR_ORG_QUEUE_FULL)) {
        api_reply_full(a, c->request, c->org, &t->error);
        call_free(c);
        return;
    }
    if (t->ok) {
        log_write(LOG_LEVEL_INFO,
                  (struct log_about){.request = http_request_id(c->request), .download = c->job.id}, "created");
        open_poster(c);
    } else {
        log_write(LOG_LEVEL_ERROR, (struct log_about){.request = http_request_id(c->request)},
                  "cannot create a download: %s", t->error.message);
        stream_not_created(c->request);
    }
    call_free(c);
    dispatcher_kick(a->dispatcher);
}

static bool is_json(const char *content_type)
{
    static const char json[] = "application/json";
    if (!content_type || !*content_type)
        return true;
    size_t length = strcspn(content_type, "; \t");
    return length == sizeof json - 1 && !strncasecmp(content_type, json, length);
}

void api_downloads_create(struct api *a, struct http_request *r)
{
    struct api_identity who;
    if (!api_identify(a, r, &who))
        return;
    if (!is_json(http_request_header(r, "Content-Type"))) {
        reply(r, ERROR_MEDIA_TYPE, "the Content-Type must be application/json");
        return;
    }
    if (a->draining) {
        reply(r, ERROR_UNAVAILABLE, "the server is shutting down");
        return;
    }
    struct call *c = call_new(a, r, &who);
    if (!c)
        return;
    size_t length;
    const char *body = http_request_body(r, &length);
    struct error e;
    if (!parse_creation(c, body, length, &e)) {
        api_reply_error(r, &e);
        call_free(c);
        return;
    }
    c->step.call = call_create;
    c->step.done = created;
    store_threads_write(a->store, &c->step);
}

/* --- GET /downloads --- */

static bool call_list(struct job_store *s, struct store_task *t, struct error *e)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    return s->api->list(s, c->org, c->user, c->limit, c->offset, &c->list, e);
}

static void listed(struct store_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    if (!t->ok) {
        reply_store_error(c);
        return;
    }
    struct buf body;
    buf_init(&body, LIST_BODY_MAX);
    buf_append_text(&body, "[");
    for (size_t i = 0; i < c->list.count; i++) {
        if (i > 0)
            buf_append_text(&body, ",");
        job_append_json(&body, &c->list.jobs[i], 0);
    }
    buf_append_text(&body, "]");
    reply_body(c, 200, &body);
}

/* A whole number without a sign; absent or empty is `fallback`. */
static bool number_query(struct http_request *r, const char *name, uint64_t fallback, uint64_t *ret, struct error *e)
{
    const char *text = http_request_query(r, name);
    *ret = fallback;
    if (!text || !*text)
        return true;
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (strspn(text, "0123456789") != strlen(text) || errno || number > INT64_MAX)
        return error_set(e, ERROR_INVALID, "%s must be a whole number that is not negative", name);
    *ret = number;
    return true;
}

void api_downloads_list(struct api *a, struct http_request *r)
{
    struct api_identity who;
    if (!api_identify(a, r, &who))
        return;
    uint64_t limit, offset;
    struct error e;
    if (!number_query(r, "limit", LIST_DEFAULT, &limit, &e) || !number_query(r, "offset", 0, &offset, &e)) {
        api_reply_error(r, &e);
        return;
    }
    if (limit == 0) {
        http_reply(r, 200, "application/json", "[]", 2);
        return;
    }
    struct call *c = call_new(a, r, &who);
    if (!c)
        return;
    c->limit = limit < LIST_MAX ? limit : LIST_MAX;
    c->offset = offset;
    c->step.call = call_list;
    c->step.done = listed;
    store_threads_read(a->store, &c->step);
}

/* The call for one download, ready to be submitted. NULL: answered. */
static struct call *call_for(struct api *a, struct http_request *r, const char *id)
{
    struct api_identity who;
    struct call *c = api_identify(a, r, &who) ? call_new(a, r, &who) : NULL;
    if (c)
        memcpy(c->id, id, sizeof c->id);
    return c;
}

/* --- GET /downloads/:id --- */

static bool call_get(struct job_store *s, struct store_task *t, struct error *e)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    return s->api->get(s, c->org, c->id, &c->job, e) && s->api->attempts(s, c->id, &c->attempts, e);
}

static void got(struct store_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    if (!t->ok) {
        reply_store_error(c);
        return;
    }
    struct buf body;
    buf_init(&body, RECORD_BODY_MAX);
    job_append_json_with_attempts(&body, &c->job, &c->attempts);
    reply_body(c, 200, &body);
}

void api_downloads_get(struct api *a, struct http_request *r, const char *id)
{
    struct call *c = call_for(a, r, id);
    if (!c)
        return;
    c->step.call = call_get;
    c->step.done = got;
    store_threads_read(a->store, &c->step);
}

/* --- DELETE /downloads/:id --- */

static bool call_remove(struct job_store *s, struct store_task *t, struct error *e)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    return s->api->remove(s, c->org, c->id, &c->found, e);
}

static void removed(struct store_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, step);
    if (!t->ok) {
        reply_store_error(c);
        return;
    }
    if (c->found) {
        log_write(LOG_LEVEL_INFO, (struct log_about){.request = http_request_id(c->request), .download = c->id},
                  "deleted");
        dispatcher_cancel(c->api->dispatcher, c->id);
        hub_publish_deleted(c->api->hub, c->id);
    }
    http_reply(c->request, 204, NULL, NULL, 0);
    call_free(c);
}

void api_downloads_delete(struct api *a, struct http_request *r, const char *id)
{
    struct call *c = call_for(a, r, id);
    if (!c)
        return;
    c->step.call = call_remove;
    c->step.done = removed;
    store_threads_write(a->store, &c->step);
}
