/* Signs what test_sigv4.py asks for: a JSON array of requests on standard input, one line of JSON for each.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "object/s3_request.h"

static const char *text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}

static size_t pairs(const json_t *object, struct sigv4_pair *to, size_t max)
{
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value)
    {
        if (count < max)
            to[count++] = (struct sigv4_pair){name, json_string_value(value)};
    }
    return count;
}

static bool site_of(const json_t *c, struct s3_site *ret)
{
    struct error e;
    struct s3_address endpoint;
    *ret = (struct s3_site){
        .addressing =
            strcmp(text(c, "addressing"), "virtual") == 0 ? S3_ADDRESSING_VIRTUAL : S3_ADDRESSING_PATH,
        .bucket = (char *)text(c, "bucket"),
        .access_key = (char *)text(c, "access_key"),
        .secret_key = (char *)text(c, "secret_key"),
        .region = (char *)text(c, "region"),
        .session_token = text(c, "session_token")[0] ? (char *)text(c, "session_token") : NULL};
    if (!s3_address_parse(text(c, "endpoint"), false, &endpoint, &e) ||
        !s3_address_of_bucket(&endpoint, ret->bucket, ret->addressing, &ret->address, &e)) {
        fprintf(stderr, "%s\n", e.message);
        return false;
    }
    ret->link = ret->address;
    return true;
}

static json_t *sign(const json_t *c, const struct s3_site *site, int64_t time_s)
{
    uint8_t sha256[SHA256_BYTES];
    struct s3_ask ask = {.method = text(c, "method"), .key = text(c, "key")[0] ? text(c, "key") : NULL};
    ask.query_count = pairs(json_object_get(c, "query"), ask.query, S3_QUERY_MAX);
    ask.header_count = pairs(json_object_get(c, "headers"), ask.headers, S3_HEADERS_MAX);
    const char *hex = text(c, "sha256");
    for (size_t i = 0; hex[0] && i < sizeof sha256; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return NULL;
        sha256[i] = (uint8_t)byte;
    }
    ask.sha256 = hex[0] ? sha256 : NULL;
    struct s3_signed s;
    json_t *answer = NULL;
    if (s3_request_sign(site, &ask, time_s, &s)) {
        json_t *lines = json_array();
        for (const char *const *line = s.lines; *line; line++)
            json_array_append_new(lines, json_string(*line));
        answer = json_pack("{s:s, s:o}", "url", s.url.data, "lines", lines);
    }
    s3_signed_release(&s);
    return answer;
}

int main(void)
{
    json_error_t why;
    json_t *cases = json_loadf(stdin, 0, &why), *c;
    size_t i;
    if (!cases) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    json_array_foreach(cases, i, c)
    {
        struct s3_site site;
        int64_t time_s = json_integer_value(json_object_get(c, "time"));
        json_t *answer = NULL;
        if (!site_of(c, &site))
            return 1;
        if (json_object_get(c, "seconds")) {
            char *link = s3_link_make(&site, text(c, "key"), text(c, "file_name"), text(c, "content_type"),
                                      time_s, json_integer_value(json_object_get(c, "seconds")));
            answer = json_pack("{s:s}", "url", link);
            free(link);
        } else {
            answer = sign(c, &site, time_s);
        }
        if (!answer)
            return 1;
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(answer);
    }
    json_decref(cases);
    return 0;
}
