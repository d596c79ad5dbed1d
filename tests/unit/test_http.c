#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h> /* before libevent's headers */
#include <cmocka.h>

#include "server/cors.h"
#include "server/http_gate.h"
#include "server/http_listen.h"
#include "server/http_query.h"

/* One request for the gate: "name: value\n" lines and the rest of it. */
struct sent {
    const char *headers, *target;
    int newer; /* than HTTP/1.1: -1 is HTTP/1.0 */
    bool is_options, takes_no_body;
};

static const char *refusal(struct sent s)
{
    struct evkeyvalq headers;
    struct evkeyval fields[16];
    char text[1024];
    TAILQ_INIT(&headers);
    snprintf(text, sizeof text, "%s", s.headers);
    char *rest = text;
    for (size_t i = 0; *rest && i < ARRAY_SIZE(fields); i++) {
        fields[i].key = strsep(&rest, ":");
        fields[i].value = strsep(&rest, "\n");
        TAILQ_INSERT_TAIL(&headers, &fields[i], next);
    }
    const struct http_gate_request r = {.headers = &headers,
                                        .target = s.target ? s.target : "/",
                                        .major = 1,
                                        .minor = 1 + s.newer,
                                        .is_options = s.is_options,
                                        .body_is_read = !s.takes_no_body};
    return http_gate_check(&r);
}

#define PASSES(...) assert_null(refusal((struct sent){__VA_ARGS__}))
#define REFUSED(why, ...) assert_string_equal(refusal((struct sent){__VA_ARGS__}), why)

static void ordinary_requests_pass(void **state)
{
    (void)state;
    PASSES("Host:a\n");
    PASSES("Host:a:80\nContent-Length:5\n");
    PASSES("Host:[::1]:8000\nTransfer-Encoding:Chunked\n");
    PASSES("host:127.0.0.1\n", .target = "/a%20b?x=y&z");
    PASSES("Host:a\n", .target = "*", .is_options = true);
    PASSES("Host:Example.org:80\n", .target = "http://example.ORG:80/x?y");
    PASSES("Host:a\n", .target = "https://a?x");
    PASSES("", .newer = -1);
    PASSES("Host:a\nContent-Length:0\n", .takes_no_body = true);
}

static void unclear_lengths_are_refused(void **state)
{
    (void)state;
    REFUSED("more than one Content-Length", "Host:a\nContent-Length:5\ncontent-length:5\n");
    static const char *const numbers[] = {"Host:a\nContent-Length:+4\n",   "Host:a\nContent-Length:-4\n",
                                          "Host:a\nContent-Length:4, 4\n", "Host:a\nContent-Length:0x4\n",
                                          "Host:a\nContent-Length:\n",     "Host:a\nContent-Length:\t4\n"};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        REFUSED("Content-Length is not a number", numbers[i]);
    static const char *const codings[] = {"Host:a\nTransfer-Encoding:xchunked\n",
                                          "Host:a\nTransfer-Encoding:\n",
                                          "Host:a\nTransfer-Encoding:gzip, chunked\n",
                                          "Host:a\nTransfer-Encoding:chunked\nTransfer-Encoding:chunked\n"};
    for (size_t i = 0; i < ARRAY_SIZE(codings); i++)
        REFUSED("no Transfer-Encoding but chunked is understood", codings[i]);
    REFUSED("both Content-Length and Transfer-Encoding",
            "Host:a\nContent-Length:4\nTransfer-Encoding:chunked\n");
    REFUSED("Transfer-Encoding in an HTTP/1.0 request", "Host:a\nTransfer-Encoding:chunked\n", .newer = -1);
    REFUSED("a body with a method that takes none", "Host:a\nContent-Length:4\n", .takes_no_body = true);
    REFUSED("a body with a method that takes none", "Host:a\nTransfer-Encoding:chunked\n",
            .takes_no_body = true);
}

static void unclear_hosts_are_refused(void **state)
{
    (void)state;
    REFUSED("no Host", "Accept:x\n");
    REFUSED("more than one Host", "Host:a\nHost:a\n");
    REFUSED("more than one x-user-id or x-organization-id", "Host:a\nX-User-Id:u\nx-user-id:v\n");
    static const char *const hosts[] = {"Host:\n",    "Host:a b\n",    "Host:a@b\n",  "Host:a/b\n",
                                        "Host::80\n", "Host:a:80x\n",  "Host:[::1\n", "Host:[]\n",
                                        "Host:[g]\n", "Host:a,b:1:2\n"};
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
        REFUSED("a malformed Host", hosts[i]);
    REFUSED("the request target names another host than the Host header", "Host:a\n", .target = "http://b/");
    REFUSED("the request target names another host than the Host header", "Host:a\n", .target = "http://ab/");
    REFUSED("the request target names another host than the Host header", "Host:a\n",
            .target = "http://a@b/");
    REFUSED("the request target names another host than the Host header", "", .target = "http://a/",
            .newer = -1);
}

static void other_malformed_requests_are_refused(void **state)
{
    (void)state;
    REFUSED("a malformed header name", "Host:a\nContent-Length :4\n");
    REFUSED("a malformed header name", "Host:a\n:4\n");
    REFUSED("a malformed header name", "Host:a\nb(:4\n");
    REFUSED("only HTTP/1.0 and HTTP/1.1 are understood", "Host:a\n", .newer = 1);
    REFUSED("only HTTP/1.0 and HTTP/1.1 are understood", "Host:a\n", .newer = -2);
    static const char *const bytes[] = {"/a b", "/a\tb", "/\x01", "/\x7f", "/a#b"};
    for (size_t i = 0; i < ARRAY_SIZE(bytes); i++)
        REFUSED("the request target has a byte that may not be there", "Host:a\n", .target = bytes[i]);
    REFUSED("the request target has a NUL", "Host:a\n", .target = "/?a=%00");
    REFUSED("the target * is for OPTIONS", "Host:a\n", .target = "*");
    static const char *const forms[] = {"a:80", "", "ftp://a/", "a/b", "**", "?x"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        REFUSED("the request target is neither a path nor an http URL", "Host:a\n", .target = forms[i]);
    char target[HTTP_TARGET_MAX + 2] = "/";
    memset(target + 1, 'a', HTTP_TARGET_MAX - 1);
    PASSES("Host:a\n", .target = target);
    target[HTTP_TARGET_MAX] = 'a';
    REFUSED("the request target is too long", "Host:a\n", .target = target);
}

static void queries_are_decoded(void **state)
{
    (void)state;
    struct http_query *q = http_query_new("a=1&b=x%20y+z%2B&&c&d%3d=%zz%4&e=1&e=2&=v&f=a=b");
    assert_string_equal(http_query_get(q, "a"), "1");
    assert_string_equal(http_query_get(q, "b"), "x y z+");
    assert_string_equal(http_query_get(q, "c"), "");
    assert_string_equal(http_query_get(q, "d="), "%zz%4");
    assert_null(http_query_get(q, "e")); /* which of them? */
    assert_string_equal(http_query_get(q, ""), "v");
    assert_string_equal(http_query_get(q, "f"), "a=b");
    assert_null(http_query_get(q, "g"));
    http_query_free(q);
    q = http_query_new("");
    assert_null(http_query_get(q, ""));
    http_query_free(q);
}

static void origins_are_matched(void **state)
{
    (void)state;
    struct error e;
    struct cors *c = cors_new("http://localhost:3000, https://*.Factly.dev/,,https://a.org", &e);
    assert_non_null(c);
    static const char *const good[] = {"http://localhost:3000", "https://x.factly.dev",
                                       "https://x.y.FACTLY.dev", "https://a.org"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(cors_allows(c, good[i]));
    static const char *const bad[] = {"http://localhost",
                                      "http://localhost:30000",
                                      "https://localhost:3000",
                                      "https://factly.dev",
                                      "https://.factly.dev",
                                      "https://xfactly.dev",
                                      "http://x.factly.dev",
                                      "https://x.factly.dev.evil.org",
                                      "https://x.factly.dev:444",
                                      "https://evil.org/x.factly.dev",
                                      "https://evil.org#.factly.dev",
                                      "https://*.factly.dev",
                                      "https://b.a.org",
                                      "null",
                                      "",
                                      "https://"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(cors_allows(c, bad[i]));
    cors_free(c);
    c = cors_new("", &e);
    assert_false(cors_allows(c, "https://a.org"));
    cors_free(c);
}

static void a_list_with_something_else_is_an_error(void **state)
{
    (void)state;
    static const char *const lists[] = {"*",
                                        "localhost:3000",
                                        "https://",
                                        "https://a.org/path",
                                        "https://a.*.org",
                                        "https://a.org,x",
                                        "https://a b"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        struct error e = {0};
        assert_null(cors_new(lists[i], &e));
        assert_int_equal(e.code, ERROR_CONFIG);
    }
}

static void listening_addresses(void **state)
{
    (void)state;
    struct error e = {0};
    int fds[HTTP_LISTEN_MAX], others[HTTP_LISTEN_MAX];
    size_t count, other_count;
    char text[HTTP_ADDRESS_SIZE], expected[HTTP_ADDRESS_SIZE];
    assert_true(http_listen_bind("127.0.0.1", 0, fds, &count, &e));
    assert_int_equal(count, 1);
    uint16_t port = http_listen_address(fds[0], text);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port);
    assert_string_equal(text, expected);
    assert_int_equal(listen(fds[0], 1), 0);
    assert_false(http_listen_bind("127.0.0.1", port, others, &other_count, &e));
    assert_int_equal(e.code, ERROR_CONFIG);
    assert_non_null(strstr(e.message, "in use"));
    close(fds[0]);
    assert_false(http_listen_bind("no.such.name.invalid", 0, fds, &count, &e));
    assert_false(http_listen_bind("192.0.2.1", 0, fds, &count, &e)); /* RFC 5737: not ours */
    static const char *const everywhere[] = {"", "*"};
    for (size_t i = 0; i < ARRAY_SIZE(everywhere); i++) {
        assert_true(http_listen_bind(everywhere[i], 0, fds, &count, &e));
        assert_int_equal(count, 1);
        close(fds[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_requests_pass),
        cmocka_unit_test(unclear_lengths_are_refused),
        cmocka_unit_test(unclear_hosts_are_refused),
        cmocka_unit_test(other_malformed_requests_are_refused),
        cmocka_unit_test(queries_are_decoded),
        cmocka_unit_test(origins_are_matched),
        cmocka_unit_test(a_list_with_something_else_is_an_error),
        cmocka_unit_test(listening_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
