#include "cli/client.h"

#include <stdio.h>
#include <string.h>

#include "cli/sse_reader.h"

enum ending {
    OPEN,      /* the stream goes on */
    COME_BACK, /* the server ends the stream, not the download */
    OVER       /* `code` says how */
};

struct client {
    struct session *session;
    const struct client_options *options;
    struct download *download;
    struct retry retry;
    struct sse_reader reader;
    enum ending ending;
    enum exit_code code;
    bool streaming; /* the answer under way is an event stream; else it is kept in `answer` */
    struct buf answer;
    struct error error; /* of the reader */
};

void download_release(struct download *d)
{
    free(d->link);
    free(d->sha256);
    *d = (struct download){0};
}

static void over(struct client *c, enum exit_code code)
{
    c->ending = OVER;
    c->code = code;
}

static void failed(struct client *c, const char *why)
{
    display_print(&c->session->display, "the download failed: %s", why ? why : "no reason given");
    over(c, EXIT_FAILED);
}

static int64_t integer_or(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

static const char *string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool download_name_ok(const char *id, const char *name)
{
    size_t length = strlen(id);
    if (strncmp(name, id, length) != 0 || name[length] != '.' || strlen(name) >= DOWNLOAD_NAME_MAX)
        return false;
    const char *suffix = name + length + 1;
    size_t letters = strspn(suffix, "abcdefghijklmnopqrstuvwxyz0123456789.");
    return letters > 0 && !suffix[letters] && suffix[0] != '.' && suffix[letters - 1] != '.' && !strstr(suffix, "..");
}

static void completed(struct client *c, const json_t *facts, const char *link)
{
    struct download *d = c->download;
    const char *sha256 = string_of(facts, "sha256");
    if (!link) {
        failed(c, "it completed without a link");
        return;
    }
    free(d->link);
    free(d->sha256);
    d->link = strdup(link);
    d->sha256 = sha256 && sha256[0] ? strdup(sha256) : NULL;
    d->rows = integer_or(facts, "rows", -1);
    d->bytes = integer_or(facts, "bytes", -1);
    d->truncated = json_is_true(json_object_get(facts, "truncated"));
    const char *name = string_of(facts, "filename");
    if (name && download_name_ok(d->id, name))
        snprintf(d->name, sizeof d->name, "%s", name);
    over(c, EXIT_OK);
}

/* The id becomes part of URLs, the format of a file name. */
static bool take_identity(struct download *d, const json_t *record)
{
    const char *id = string_of(record, "id");
    const char *format = string_of(record, "format");
    if (!id || !uuid_parse(id, d->id))
        return false;
    if (format && strlen(format) < sizeof d->format &&
        strspn(format, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(format))
        snprintf(d->format, sizeof d->format, "%s", format);
    return true;
}

static void take_record(struct client *c, const json_t *record)
{
    const char *status = string_of(record, "status");
    if (!take_identity(c->download, record) || !status)
        failed(c, "the server sent something else than a download's record");
    else if (strcmp(status, "completed") == 0)
        completed(c, record, string_of(record, "pre_signed_url"));
    else if (strcmp(status, "failed") == 0)
        failed(c, string_of(record, "error_message"));
    else if (strcmp(status, "expired") == 0)
        failed(c, "its file has expired");
    else
        display_state(&c->session->display,
                      strcmp(status, "pending") == 0 ? "Waiting in the queue" : "Processing query...");
}

static void take_progress(struct client *c, const json_t *event)
{
    struct display *display = &c->session->display;
    const json_t *percent = json_object_get(event, "progress");
    bool known = json_is_number(percent) && !json_is_true(json_object_get(event, "indeterminate"));
    double value = known ? json_number_value(percent) : -1;
    const char *message = string_of(event, "message");
    if (message && !display->state[0])
        display_state(display, message);
    display_progress(display, value > 100 ? 100 : value, integer_or(event, "rows", -1),
                     integer_or(event, "bytes", -1));
}

/* An event without a name, or an `error`: its `type` tells. */
static void take_typed(struct client *c, const json_t *event)
{
    const char *type = string_of(event, "type");
    const char *message = string_of(event, "message");
    if (!type)
        return;
    if (strcmp(type, "status_update") == 0 && message)
        display_state(&c->session->display, message);
    else if (strcmp(type, "progress") == 0)
        take_progress(c, event);
    else if (strcmp(type, "complete") == 0)
        completed(c, event, message);
    else if (strcmp(type, "error") == 0 && json_is_true(json_object_get(event, "handed_over")))
        c->ending = COME_BACK;
    else if (strcmp(type, "error") == 0)
        failed(c, message);
}

static bool on_event(void *context, const struct sse_event *event)
{
    struct client *c = context;
    if (strcmp(event->type, "restart") == 0) {
        c->ending = COME_BACK;
        return false;
    }
    json_t *json = json_loadb(event->data, event->data_len, 0, NULL);
    if (strcmp(event->type, "snapshot") == 0) {
        retry_alive(&c->retry);
        take_record(c, json);
    } else {
        retry_progress(&c->retry);
        if (strcmp(event->type, "job_created") == 0)
            take_record(c, json);
        else if (strcmp(event->type, "request_received") == 0)
            display_state(&c->session->display, "Sent");
        else
            take_typed(c, json);
    }
    json_decref(json);
    return c->ending == OPEN;
}

static bool on_bytes(void *context, const void *data, size_t len)
{
    struct client *c = context;
    if (!c->streaming || http_client_status(c->session->http) != 200) {
        buf_append(&c->answer, data, len);
        return buf_ok(&c->answer);
    }
    if (sse_reader_feed(&c->reader, data, len, &c->error))
        return true;
    if (c->error.code)
        failed(c, c->error.message);
    return false;
}

static bool on_tick(void *context)
{
    const struct client *c = context;
    return session_tick(c->session);
}

#define HEADER_MAX 1024

/* One request; `body` NULL: GET. */
static enum http_outcome ask(struct client *c, const char *path, const char *body, bool streaming,
                             struct error *e)
{
    char user[HEADER_MAX], org[HEADER_MAX], last_id[HEADER_MAX];
    snprintf(user, sizeof user, "x-user-id: %s", c->options->user);
    snprintf(org, sizeof org, "x-organization-id: %s", c->options->org);
    snprintf(last_id, sizeof last_id, "Last-Event-ID: %s", sse_reader_last_id(&c->reader));
    const char *headers[] = {user,
                             org,
                             streaming ? "Accept: text/event-stream" : "Accept: application/json",
                             body ? "Content-Type: application/json" : NULL,
                             NULL,
                             NULL};
    if (streaming && !body && sse_reader_last_id(&c->reader)[0])
        headers[3] = last_id;
    _cleanup_free_ char *url = NULL;
    if (asprintf(&url, "%s%s", c->options->server, path) < 0) {
        url = NULL;
        error_set(e, ERROR_INTERNAL, "out of memory");
        return HTTP_IMPOSSIBLE;
    }
    c->ending = OPEN;
    c->streaming = streaming;
    buf_clear(&c->answer);
    sse_reader_restart(&c->reader);
    return http_client_perform(c->session->http,
                               &(struct http_request){.url = url,
                                                      .headers = headers,
                                                      .body = body,
                                                      .body_len = body ? strlen(body) : 0,
                                                      .connect_ms = SESSION_CONNECT_MS,
                                                      .silence_ms = SESSION_SILENCE_MS,
                                                      .body_bytes = on_bytes,
                                                      .tick = on_tick,
                                                      .context = c},
                               e);
}

/* Why it ends here, where the server did not give what was asked for. */
static enum exit_code give_up(struct client *c, enum http_outcome outcome, const struct error *e)
{
    struct display *display = &c->session->display;
    if (!session_tick(c->session))
        return session_stopped(c->session);
    int status = http_client_status(c->session->http);
    if (outcome != HTTP_ANSWERED) {
        bool stopped = outcome == HTTP_STOPPED; /* by on_bytes: more than fits */
        display_print(display, "%s does not answer: %s", c->options->server,
                      stopped ? "too much" : e->message);
        return EXIT_UNREACHABLE;
    }
    if (status == 200 || status == 204) {
        display_print(display, "%s ends the event stream again and again", c->options->server);
        return EXIT_UNREACHABLE;
    }
    _cleanup_buf_ struct buf text;
    buf_init(&text, 2 * SESSION_ANSWER_MAX);
    session_append_refusal(c->session, &c->answer, &text);
    display_print(display, "%s", text.data);
    return status_is_transient(status) && status != 500 ? EXIT_UNREACHABLE : EXIT_FAILED;
}

/* Posts. True: the download has an id, and the stream of the post has ended before the download; else
 * `ret_code` tells. What may have been acted upon is never sent twice. */
static bool create(struct client *c, enum exit_code *ret_code)
{
    json_t *request = json_pack("{s:s, s:s, s:s}", "dataset_id", c->options->dataset, "sql", c->options->sql,
                                "format", "csv");
    bool packed = request && json_object_update(request, c->options->form) == 0;
    char *body = packed ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    enum http_outcome outcome;
    struct error e;
    int status;
    do {
        error_set(&e, ERROR_INTERNAL, "out of memory");
        outcome = body ? ask(c, "/downloads", body, true, &e) : HTTP_IMPOSSIBLE;
        status = http_client_status(c->session->http);
    } while (outcome == HTTP_ANSWERED && (status == 503 || status == 429) && retry_pause(&c->retry));
    free(body);
    if (c->ending == OVER) {
        *ret_code = c->code;
        return false;
    }
    if (c->download->id[0])
        return true;
    if (session_tick(c->session) && (outcome == HTTP_BROKEN || (outcome == HTTP_ANSWERED && status == 200))) {
        display_print(&c->session->display, "the answer broke off before it told the download's id; "
                                            "it may have been created all the same");
        *ret_code = EXIT_UNREACHABLE;
    } else {
        *ret_code = give_up(c, outcome, &e);
    }
    return false;
}

/* The server has nothing newer than what this client saw: was that the end? */
static enum http_outcome look_at_record(struct client *c, struct error *e)
{
    char path[64 + UUID_SIZE];
    snprintf(path, sizeof path, "/downloads/%s", c->download->id);
    enum http_outcome outcome = ask(c, path, NULL, false, e);
    if (outcome == HTTP_ANSWERED && http_client_status(c->session->http) == 200) {
        json_t *record = json_loadb(c->answer.data ? c->answer.data : "", c->answer.len, 0, NULL);
        take_record(c, record);
        json_decref(record);
        retry_alive(&c->retry);
    }
    return outcome;
}

static enum exit_code join(struct client *c)
{
    char path[64 + UUID_SIZE];
    snprintf(path, sizeof path, "/downloads/%s/events", c->download->id);
    for (;;) {
        struct error e;
        enum http_outcome outcome = ask(c, path, NULL, true, &e);
        if (outcome == HTTP_ANSWERED && http_client_status(c->session->http) == 204)
            outcome = look_at_record(c, &e);
        if (c->ending == OVER)
            return c->code;
        int status = http_client_status(c->session->http);
        bool hopeless = outcome == HTTP_IMPOSSIBLE ||
                        (outcome == HTTP_ANSWERED && status != 200 && !status_is_transient(status));
        if (c->ending == COME_BACK) {
            retry_alive(&c->retry);
            outcome = HTTP_ANSWERED;
        }
        if (hopeless || !retry_pause(&c->retry))
            return give_up(c, outcome, &e);
    }
}

enum exit_code client_follow(struct session *s, const struct client_options *options, struct download *d)
{
    struct client c = {.session = s, .options = options, .download = d};
    sse_reader_init(&c.reader, on_event, &c);
    buf_init(&c.answer, SESSION_ANSWER_MAX);
    retry_init(&c.retry, s);
    enum exit_code code = EXIT_OK;
    if (d->id[0] || create(&c, &code)) {
        retry_alive(&c.retry);
        code = join(&c);
    }
    buf_release(&c.answer);
    sse_reader_release(&c.reader);
    return code;
}
