/* The gate, the query and the origins: all that reads a request before a handler does. Built without a fuzzer
 * it replays the files given.
 *
 * Input: one byte (bit 0: HTTP/1.1, 1: OPTIONS, 2: the body is read), then lines: the target, then
 * "name:value". */
#include <sys/queue.h> /* before libevent's headers */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "server/cors.h"
#include "server/http_gate.h"
#include "server/http_query.h"
#include "fuzz.h"

#define HEADERS_MAX 64

static unsigned count(const struct evkeyvalq *headers, const char *name)
{
    unsigned n = 0;
    const struct evkeyval *h;
    TAILQ_FOREACH(h, headers, next)
    n += !strcasecmp(h->key, name);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    if (length == 0)
        return 0;
    _cleanup_free_ char *text = strndup((const char *)data + 1, length - 1);
    if (!text)
        return 0;
    struct evkeyvalq headers;
    struct evkeyval fields[HEADERS_MAX];
    TAILQ_INIT(&headers);
    char *rest = text;
    const char *target = strsep(&rest, "\n");
    for (size_t i = 0; rest && i < HEADERS_MAX; i++) {
        char *line = strsep(&rest, "\n"), *value = strchr(line, ':');
        if (!value)
            break;
        *value++ = '\0';
        fields[i].key = line;
        fields[i].value = value;
        TAILQ_INSERT_TAIL(&headers, &fields[i], next);
    }
    const struct http_gate_request r = {.headers = &headers,
                                        .target = target,
                                        .major = 1,
                                        .minor = data[0] & 1,
                                        .is_options = data[0] & 2,
                                        .body_is_read = data[0] & 4};
    if (!http_gate_check(&r)) {
        unsigned lengths = count(&headers, "Content-Length"), codings = count(&headers, "Transfer-Encoding");
        unsigned hosts = count(&headers, "Host");
        assert(lengths + codings <= 1);
        assert(!codings || (r.minor == 1 && r.body_is_read));
        assert(hosts == 1 || (hosts == 0 && r.minor == 0));
        assert(strlen(target) <= HTTP_TARGET_MAX && !strpbrk(target, " \t\r\n"));
        assert(*target == '/' || !strcmp(target, "*") ||
               strstr(target, "://")); /* what path_of() relies on */
    }
    struct http_query *q = http_query_new(target);
    if (q)
        http_query_get(q, "a");
    http_query_free(q);
    struct error e;
    struct cors *c = cors_new("https://*.example.org", &e);
    if (c)
        cors_allows(c, target);
    cors_free(c);
    c = cors_new(target, &e);
    cors_free(c);
    return 0;
}
