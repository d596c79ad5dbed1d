#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/http_answer.h"

#define BODY_MAX 20

struct example {
    const char *text;
    enum http_answer_state state; /* before the peer closes */
    int status;
    const char *body; /* "": none */
    bool last;
};

static const struct example examples[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", HTTP_ANSWER_WHOLE, 200, "abc", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_ANSWER_WHOLE, 200, "", false},
    {"HTTP/1.1 200\r\nContent-Length:0\r\n\r\n", HTTP_ANSWER_WHOLE, 200, "", false},
    {"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", HTTP_ANSWER_WHOLE, 200, "x", false},
    {"HTTP/1.1 204 -\r\nContent-Length: 3\r\n\r\n", HTTP_ANSWER_WHOLE, 204, "", false},
    {"HTTP/1.1 304 -\r\n\r\n", HTTP_ANSWER_WHOLE, 304, "", false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", HTTP_ANSWER_WHOLE, 200, "x", true},
    {"HTTP/1.1 500 -\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", HTTP_ANSWER_WHOLE, 500, "x", true},
    {"HTTP/1.1 500 -\r\nConnection: x, close\r\nContent-Length: 1\r\n\r\nx", HTTP_ANSWER_WHOLE, 500, "x", true},
    {"HTTP/1.1 500 -\r\nConnection: closed\r\nContent-Length: 1\r\n\r\nx", HTTP_ANSWER_WHOLE, 500, "x", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK", HTTP_ANSWER_WHOLE, 200, "x", true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789", HTTP_ANSWER_WHOLE, 200, "01234567890123456789", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", HTTP_ANSWER_WHOLE, 200, "x", false},
    {"HTTP/1.1 100 -\r\nContent-Length: 9\r\nConnection: close\r\n\r\nHTTP/1.1 102 -\r\n\r\nHTTP/1.1 200 -\r\nContent-Length: 1\r\n\r\nx",
     HTTP_ANSWER_WHOLE, 200, "x", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", HTTP_ANSWER_WHOLE, 200, "abc", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n003 ;x=y\r\nabc\r\nB\r\n0123456789a\r\n00\r\nA: b\r\n\r\n", HTTP_ANSWER_WHOLE,
     200, "abc0123456789a", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n", HTTP_ANSWER_WHOLE, 200, "", true},

    {"HTTP/1.1 200 OK\r\n\r\nabc", HTTP_ANSWER_MORE, 200, "abc", true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", HTTP_ANSWER_MORE, 200, "abc", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", HTTP_ANSWER_MORE, 200, "abc", false},
    {"HTTP/1.1 200 OK\r\nA: b\r\n", HTTP_ANSWER_MORE, 200, "", false},
    {"HTTP/1.1 100 -\r\n\r\n", HTTP_ANSWER_MORE, 0, "", false},
    {"", HTTP_ANSWER_MORE, 0, "", false},

    {"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n", HTTP_ANSWER_TOO_LONG, 200, "", false},
    {"HTTP/1.1 200 OK\r\n\r\n012345678901234567890", HTTP_ANSWER_TOO_LONG, 200, NULL, true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n012345678901234567890", HTTP_ANSWER_TOO_LONG, 200, NULL, false},

    {"\r\n", HTTP_ANSWER_BAD, 0, "", false},
    {"SSH-2.0-OpenSSH\r\n", HTTP_ANSWER_BAD, 0, "", false},
    {"HTTP/2 200\r\n", HTTP_ANSWER_BAD, 0, "", false},
    {"HTTP/1.1 20 OK\r\n", HTTP_ANSWER_BAD, 0, "", false},
    {"HTTP/1.1 2000 OK\r\n", HTTP_ANSWER_BAD, 0, "", false},
    {"HTTP/1.1  200 OK\r\n", HTTP_ANSWER_BAD, 0, "", false},
    {"HTTP/1.1 099 OK\r\n", HTTP_ANSWER_BAD, 99, "", false},
    {"HTTP/1.1 101 OK\r\n", HTTP_ANSWER_BAD, 101, "", false},
    {"HTTP/1.1 200 OK\r\nno colon\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\n: x\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nA : x\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nA: x\r\n folded\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: \r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1234567890123456789\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1234567890123456\r\n", HTTP_ANSWER_BAD, 200, "", false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n", HTTP_ANSWER_BAD, 200, "x", false},
};

static void check(const struct example *x, size_t step)
{
    struct http_answer a;
    enum http_answer_state state = HTTP_ANSWER_MORE;
    size_t length = strlen(x->text);
    http_answer_init(&a, BODY_MAX);
    for (size_t at = 0; at < length; at += step)
        state = http_answer_feed(&a, x->text + at, length - at < step ? length - at : step);
    if (state != x->state || a.status != x->status)
        fail_msg("%s (by %zu): state %d, status %d", x->text, step, state, a.status);
    if (x->body)
        assert_string_equal(a.body.data ? a.body.data : "", x->body);
    if (state == HTTP_ANSWER_WHOLE || x->last)
        assert_int_equal(a.last, x->last);
    assert_int_equal(a.begun, length > 0);
    /* A close ends nothing but what has no other end. */
    bool until_close = state == HTTP_ANSWER_MORE && x->last;
    assert_int_equal(http_answer_end(&a), state != HTTP_ANSWER_MORE ? state : until_close ? HTTP_ANSWER_WHOLE : HTTP_ANSWER_BAD);
    http_answer_release(&a);
}

static void test_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(examples); i++)
        for (size_t step = 1; step < 12; step++)
            check(&examples[i], step == 11 ? SIZE_MAX / 2 : step);
}

static void test_headers(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 100 -\r\nETag: no\r\n\r\nHTTP/1.1 200 OK\r\nETag: \t\"a b\" \r\netag: second\r\nX:\r\nDate-x: 1\r\n";
    struct http_answer a;
    http_answer_init(&a, BODY_MAX);
    assert_null(http_answer_header(&a, "etag"));
    assert_int_equal(http_answer_feed(&a, text, sizeof text - 1), HTTP_ANSWER_MORE);
    assert_string_equal(http_answer_header(&a, "eTAG"), "\"a b\"");
    assert_string_equal(http_answer_header(&a, "x"), "");
    assert_null(http_answer_header(&a, "date"));
    http_answer_release(&a);

    http_answer_init(&a, BODY_MAX);
    assert_int_equal(http_answer_feed(&a, "HTTP/1.1 200 OK\r\nA: b\0c\r\n", 25), HTTP_ANSWER_BAD);
    http_answer_release(&a);
}

static void test_bounds(void **state)
{
    (void)state;
    static char line[HTTP_ANSWER_LINE_MAX + 10];
    memset(line, 'x', sizeof line);
    memcpy(line, "A: ", 3);
    struct http_answer a;
    http_answer_init(&a, BODY_MAX);
    http_answer_feed(&a, "HTTP/1.1 200 OK\r\n", 17);
    assert_int_equal(http_answer_feed(&a, line, sizeof line), HTTP_ANSWER_BAD);
    http_answer_release(&a);

    http_answer_init(&a, BODY_MAX);
    http_answer_feed(&a, "HTTP/1.1 200 OK\r\n", 17);
    size_t fed = 0;
    line[1000] = '\n';
    while (http_answer_feed(&a, line, 1001) == HTTP_ANSWER_MORE)
        fed += 1001;
    assert_in_range(fed, HTTP_ANSWER_HEAD_MAX - 3000, HTTP_ANSWER_HEAD_MAX + 3000);
    assert_int_equal(a.state, HTTP_ANSWER_BAD);
    http_answer_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
