#include "server/api_docs.h"

#include <string.h>

#include "server/api_docs_files.h"
#include "server/file_headers.h"

/* Only what this server sends, and no page may frame it. `data:`: icons in Swagger UI's style sheet. */
#define SECURITY_POLICY \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const struct api_docs_file *find(const char *name)
{
    for (size_t i = 0; i < api_docs_file_count; i++)
        if (!strcmp(api_docs_files[i].name, name))
            return &api_docs_files[i];
    return NULL;
}

static void reply_file(struct http_request *r, const struct api_docs_file *f)
{
    http_response_header(r, "ETag", f->etag);
    http_response_header(r, "Cache-Control", "no-cache"); /* to be asked for each time, with the tag */
    http_response_header(r, "Content-Security-Policy", SECURITY_POLICY);
    http_response_header(r, "X-Content-Type-Options", "nosniff");
    http_response_header(r, "Referrer-Policy", "no-referrer");
    const char *none_match = http_request_header(r, "If-None-Match");
    if (none_match && etag_is_listed(none_match, f->etag))
        http_reply(r, 304, NULL, NULL, 0);
    else
        http_reply_constant(r, 200, f->content_type, f->begin, (size_t)(f->end - f->begin));
}

void api_docs_handle(struct http_request *r)
{
    enum http_method method = http_request_method(r);
    const char *name = http_request_path(r) + strlen(API_DOCS_PATH);
    const struct api_docs_file *f = *name == '/' ? find(name + 1) : NULL;
    bool is_front = !strcmp(name, "") || !strcmp(name, "/");
    struct error e;
    if (!f && !is_front) {
        error_set(&e, ERROR_NOT_FOUND, "not found");
        http_reply_error(r, &e);
    } else if (method == HTTP_OPTIONS) {
        http_response_header(r, "Allow", "GET, HEAD, OPTIONS");
        http_reply(r, 204, NULL, NULL, 0);
    } else if (method != HTTP_GET && method != HTTP_HEAD) {
        http_response_header(r, "Allow", "GET, HEAD, OPTIONS");
        error_set(&e, ERROR_METHOD, "method not allowed");
        http_reply_error(r, &e);
    } else if (is_front) {
        /* relative, so that it also holds behind a proxy that adds a prefix */
        http_response_header(r, "Location", *name ? "index.html" : "swagger/index.html");
        http_reply(r, 302, NULL, NULL, 0);
    } else {
        reply_file(r, f);
    }
}
