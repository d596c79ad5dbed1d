#include "object/s3_request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A key of 1,024 bytes is 3,072 encoded; a session token has a few thousand bytes. */
#define URL_MAX (32 * 1024)
#define TEXT_MAX (32 * 1024)

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_pair *)a)->name, ((const struct sigv4_pair *)b)->name);
}

static void append_origin(struct buf *b, const struct s3_address *a)
{
    buf_printf(b, "%s://%s", a->tls ? "https" : "http", a->authority);
}

/* The lines' places are known when the text has stopped growing. */
static bool set_lines(struct s3_signed *s)
{
    size_t count = 0;
    if (!buf_ok(&s->text))
        return false;
    for (const char *line = s->text.data; line < s->text.data + s->text.len; line += strlen(line) + 1) {
        assert(count < S3_LINES_MAX);
        s->lines[count++] = line;
    }
    s->lines[count] = NULL;
    return true;
}

static void append_line(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s: %s", name, value);
    buf_append(b, "", 1);
}

bool s3_request_sign(const struct s3_site *site, const struct s3_ask *ask, int64_t time_s,
                     struct s3_signed *ret)
{
    buf_init(&ret->url, URL_MAX);
    buf_init(&ret->text, TEXT_MAX);
    char time[SIGV4_TIME_SIZE], payload[SHA256_HEX_SIZE] = SIGV4_UNSIGNED_PAYLOAD;
    sigv4_time(time_s, time);
    if (ask->sha256)
        hex_encode(ask->sha256, SHA256_BYTES, payload);

    struct sigv4_pair headers[S3_HEADERS_MAX + 4] = {
        {"host", site->address.authority}, {"x-amz-content-sha256", payload}, {"x-amz-date", time}};
    size_t count = 3;
    if (site->session_token)
        headers[count++] = (struct sigv4_pair){"x-amz-security-token", site->session_token};
    for (size_t i = 0; i < ask->header_count; i++)
        headers[count++] = ask->headers[i];
    qsort(headers, count, sizeof *headers, compare_names);

    struct sigv4_pair query_pairs[S3_QUERY_MAX];
    memcpy(query_pairs, ask->query, sizeof query_pairs);
    _cleanup_buf_ struct buf path, query, authorization;
    buf_init(&path, URL_MAX);
    buf_init(&query, URL_MAX);
    buf_init(&authorization, TEXT_MAX);
    s3_append_path(&path, site->bucket, site->addressing, ask->key);
    buf_append_text(&query, "");
    sigv4_append_query(&query, query_pairs, ask->query_count);
    if (!buf_ok(&path) || !buf_ok(&query))
        return false;

    const struct sigv4_key key = {site->access_key, site->secret_key, site->region};
    const struct sigv4_request request = {.method = ask->method,
                                          .path = path.data,
                                          .query = query.data,
                                          .headers = headers,
                                          .header_count = count,
                                          .payload = payload};
    if (!sigv4_append_authorization(&authorization, &key, time, &request))
        return false;
    append_origin(&ret->url, &site->address);
    buf_printf(&ret->url, "%s%s%s", path.data, query.len > 0 ? "?" : "", query.data);
    for (size_t i = 0; i < count; i++)
        if (strcmp(headers[i].name, "host") != 0) /* libcurl writes the same from the URL */
            append_line(&ret->text, headers[i].name, headers[i].value);
    append_line(&ret->text, "authorization", authorization.data);
    return buf_ok(&ret->url) && set_lines(ret);
}

void s3_signed_release(struct s3_signed *s)
{
    buf_release(&s->url);
    buf_release(&s->text);
}

char *s3_link_make(const struct s3_site *site, const char *key, const char *file_name,
                   const char *content_type, int64_t time_s, int64_t seconds)
{
    char time[SIGV4_TIME_SIZE];
    sigv4_time(time_s, time);
    _cleanup_buf_ struct buf path, disposition, link;
    buf_init(&path, URL_MAX);
    buf_init(&disposition, URL_MAX);
    buf_init(&link, 2 * URL_MAX);
    s3_append_path(&path, site->bucket, site->addressing, key);
    s3_append_disposition(&disposition, file_name);
    if (!buf_ok(&path) || !buf_ok(&disposition))
        return NULL;
    const struct sigv4_key signer = {site->access_key, site->secret_key, site->region};
    const struct sigv4_pair extra[] = {{"response-content-disposition", disposition.data},
                                       {"response-content-type", content_type}};
    const struct sigv4_link l = {.authority = site->link.authority,
                                 .path = path.data,
                                 .session_token = site->session_token,
                                 .seconds = seconds,
                                 .extra = extra,
                                 .extra_count = ARRAY_SIZE(extra)};
    append_origin(&link, &site->link);
    buf_printf(&link, "%s?", path.data);
    return sigv4_append_link_query(&link, &signer, time, &l) ? buf_take(&link) : NULL;
}
