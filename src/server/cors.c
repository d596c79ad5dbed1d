#include "server/cors.h"

#include <string.h>
#include <strings.h>

#define METHODS "GET, HEAD, POST, DELETE, OPTIONS"
#define REQUEST_HEADERS                                                                                 \
    "Content-Type, Accept, Authorization, x-user-id, x-organization-id, x-project-ids, x-dataset-ids, " \
    "x-chat-id, userID, X-Requested-With, X-CSRF-Token, Last-Event-ID"
#define ANSWER_HEADERS \
    "Content-Disposition, Content-Length, Content-Range, ETag, Location, Retry-After, X-Request-Id"
#define MAX_AGE_S "600"

struct cors {
    char *text; /* what the origins point into */
    size_t count;
    char *origins[];
};

/* scheme "://" host [":" port], where the host may begin with "*." */
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");
    if (!host || host == text || strpbrk(text, " \t\"?#@"))
        return false;
    host += 3;
    if (!strncmp(host, "*.", 2))
        host += 2;
    return *host && *host != '.' && !strpbrk(host, "/*");
}

struct cors *cors_new(const char *list, struct error *e)
{
    size_t most = 1;
    for (const char *p = list; *p; p++)
        most += *p == ',';
    struct cors *c = calloc(1, sizeof *c + most * sizeof c->origins[0]);
    if (c)
        c->text = strdup(list);
    if (!c || !c->text) {
        cors_free(c);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    for (char *rest = c->text, *origin; (origin = strsep(&rest, ","));) {
        origin += strspn(origin, " \t");
        size_t length = strlen(origin);
        while (length > 0 && strchr(" \t/", origin[length - 1]))
            length--;
        origin[length] = '\0';
        if (!*origin)
            continue;
        if (!is_origin(origin)) {
            error_set(e, ERROR_CONFIG,
                      "'%s' is not an origin such as https://example.org or https://*.example.org", origin);
            cors_free(c);
            return NULL;
        }
        c->origins[c->count++] = origin;
    }
    return c;
}

void cors_free(struct cors *c)
{
    if (c)
        free(c->text);
    free(c);
}

static bool matches(const char *pattern, const char *origin)
{
    const char *star = strstr(pattern, "://*.");
    if (!star)
        return !strcasecmp(pattern, origin);
    size_t scheme = (size_t)(star - pattern) + strlen("://");
    const char *domain = star + strlen("://*"); /* with its dot */
    size_t length = strlen(origin), tail = strlen(domain);
    return length > scheme + tail && !strncasecmp(origin, pattern, scheme) &&
           !strcasecmp(origin + length - tail, domain);
}

bool cors_allows(const struct cors *c, const char *origin)
{
    if (!is_origin(origin) || strchr(origin, '*'))
        return false;
    for (size_t i = 0; i < c->count; i++)
        if (matches(c->origins[i], origin))
            return true;
    return false;
}

void cors_apply(const struct cors *c, struct http_request *r)
{
    http_response_header(r, "Vary", "Origin"); /* also where there is none: caches must keep the two apart */
    const char *origin = http_request_header(r, "Origin");
    if (!origin || !cors_allows(c, origin))
        return;
    http_response_header(r, "Access-Control-Allow-Origin", origin);
    http_response_header(r, "Access-Control-Allow-Credentials", "true");
    if (http_request_method(r) == HTTP_OPTIONS && http_request_header(r, "Access-Control-Request-Method")) {
        http_response_header(r, "Access-Control-Allow-Methods", METHODS);
        http_response_header(r, "Access-Control-Allow-Headers", REQUEST_HEADERS);
        http_response_header(r, "Access-Control-Max-Age", MAX_AGE_S);
    } else
        http_response_header(r, "Access-Control-Expose-Headers", ANSWER_HEADERS);
}
