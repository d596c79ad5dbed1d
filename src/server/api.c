#include "server/api.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "object/store.h"
#include "server/api_docs.h"

#define IDENTITY_MAX 256 /* bytes of a user or organisation id */
#define RETRY_AFTER_S "5"

void api_reply_error(struct http_request *r, const struct error *e)
{
    if (error_code_http_status(e->code) == 503)
        http_response_header(r, "Retry-After", RETRY_AFTER_S);
    http_reply_error(r, e);
}

void api_reply_full(const struct api *a, struct http_request *r, const char *org, const struct error *e)
{
    bool own = e->code == ERROR_ORG_QUEUE_FULL;
    uint64_t places = (own ? a->org_max_queued : a->queue_size) / 10;
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u",
             drain_rate_retry_after_s(a->drain_rate, clock_monotonic_ms(), own ? org : NULL, places ? places : 1));
    http_response_header(r, "Retry-After", seconds);
    http_reply_error(r, e);
}

static void reply(struct http_request *r, enum error_code code, const char *message)
{
    struct error e;
    error_set(&e, code, "%s", message);
    api_reply_error(r, &e);
}

static bool clean(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return false;
    return length <= IDENTITY_MAX && utf8_valid(text, length);
}

bool api_identify(const struct api *a, struct http_request *r, struct api_identity *ret)
{
    struct error e;
    const char *user = http_request_header(r, "x-user-id"), *org = http_request_header(r, "x-organization-id");
    if (!user || !*user)
        reply(r, ERROR_UNAUTHORIZED, "user ID not found");
    else if (!org || !*org)
        reply(r, ERROR_UNAUTHORIZED, "organization ID not found");
    else if (!clean(user))
        reply(r, ERROR_INVALID, "the user ID must be text of at most 256 bytes");
    else if (!clean(org))
        reply(r, ERROR_INVALID, "the organization ID must be text of at most 256 bytes");
    else if (!a->objects->api->organisation_ok(org, &e))
        api_reply_error(r, &e);
    else {
        *ret = (struct api_identity){user, org};
        return true;
    }
    return false;
}

static void refuse_method(struct http_request *r, const char *allow)
{
    http_response_header(r, "Allow", allow);
    if (http_request_method(r) == HTTP_OPTIONS)
        http_reply(r, 204, NULL, NULL, 0);
    else
        reply(r, ERROR_METHOD, "method not allowed");
}

/* A HEAD is a GET whose body stays here (http.c). */
static enum http_method method_of(const struct http_request *r)
{
    enum http_method m = http_request_method(r);
    return m == HTTP_HEAD ? HTTP_GET : m;
}

static void handle_downloads(struct api *a, struct http_request *r)
{
    if (method_of(r) == HTTP_POST)
        api_downloads_create(a, r);
    else if (method_of(r) == HTTP_GET)
        api_downloads_list(a, r);
    else
        refuse_method(r, "GET, HEAD, POST, OPTIONS");
}

/* `path` is behind "/downloads/": an id, perhaps with "/events". An id of another form is as unknown as any. */
static void handle_download(struct api *a, struct http_request *r, const char *path)
{
    char id[UUID_SIZE], text[UUID_SIZE] = "";
    size_t length = strcspn(path, "/");
    const char *rest = path + length;
    if (length == UUID_SIZE - 1)
        memcpy(text, path, length);
    bool events = !strcmp(rest, "/events");
    if (!uuid_parse(text, id) || (!events && strcmp(rest, "") != 0 && strcmp(rest, "/") != 0))
        reply(r, ERROR_NOT_FOUND, "download not found");
    else if (events && http_request_method(r) == HTTP_GET)
        api_events_follow(a, r, id);
    else if (events)
        refuse_method(r, "GET, OPTIONS");
    else if (method_of(r) == HTTP_GET)
        api_downloads_get(a, r, id);
    else if (method_of(r) == HTTP_DELETE)
        api_downloads_delete(a, r, id);
    else
        refuse_method(r, "GET, HEAD, DELETE, OPTIONS");
}

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

void api_handle(struct http_request *r, void *context)
{
    struct api *a = context;
    const char *path = http_request_path(r);
    cors_apply(a->cors, r);
    if (http_request_method(r) == HTTP_OPTIONS && http_request_header(r, "Access-Control-Request-Method")) {
        http_reply(r, 204, NULL, NULL, 0);
    } else if (!strcmp(path, "/health") || !strcmp(path, "/health/")) {
        if (method_of(r) == HTTP_GET)
            http_reply(r, 200, "application/json", "\"Ok\"", 4);
        else
            refuse_method(r, "GET, HEAD, OPTIONS");
    } else if (!strcmp(path, "/downloads") || !strcmp(path, "/downloads/")) {
        handle_downloads(a, r);
    } else if (begins(path, "/downloads/")) {
        handle_download(a, r, path + strlen("/downloads/"));
    } else if (a->files && begins(path, "/files/")) {
        api_files_handle(a->files, r);
    } else if (!strcmp(path, API_DOCS_PATH) || begins(path, API_DOCS_PATH "/")) {
        api_docs_handle(r);
    } else {
        reply(r, ERROR_NOT_FOUND, "not found");
    }
}
