#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/http_client.h"
#include "cli/client.h"
#include "cli/progress_bar.h"
#include "cli/sink.h"
#include "cli/sse_reader.h"

/* What a reader makes of a stream: "type|data\n" for each event. */
static bool note_event(void *context, const struct sse_event *event)
{
    struct buf *notes = context;
    buf_printf(notes, "%s|", event->type);
    buf_append(notes, event->data, event->data_len);
    buf_append_text(notes, "\n");
    return strcmp(event->type, "stop") != 0;
}

/* Read in pieces of `step` bytes. */
static void assert_events(const char *stream, size_t len, size_t step, const char *expected,
                          const char *last_id)
{
    _cleanup_buf_ struct buf notes;
    buf_init(&notes, 4096);
    _cleanup_(sse_reader_release) struct sse_reader r;
    sse_reader_init(&r, note_event, &notes);
    struct error e;
    for (size_t at = 0; at < len; at += step)
        assert_true(sse_reader_feed(&r, stream + at, len - at < step ? len - at : step, &e));
    assert_string_equal(notes.data ? notes.data : "", expected);
    assert_string_equal(sse_reader_last_id(&r), last_id);
}

static void events_follow_the_standard(void **state)
{
    (void)state;
    static const struct {
        const char *stream, *expected, *last_id;
    } cases[] = {
        {"data: a\n\n", "|a\n", ""},
        {"data:a\r\rdata: b\r\n\r\ndata:  c\n\n", "|a\n|b\n| c\n", ""},
        {"event: x\nid: 7\ndata: a\ndata: b\n\ndata: c\n\n", "x|a\nb\n|c\n", "7"},
        {"\xEF\xBB\xBF"
         "data: a\n\n",
         "|a\n", ""},
        {"data: a\n\n\xEF\xBB\xBF"
         "data: b\n\n",
         "|a\n", ""},
        {": comment\n\n:\n\ndata: a\n\n", "|a\n", ""},
        {"data\n\n", "|\n", ""},
        {"data\ndata\n\n", "|\n\n", ""},
        {"event: x\n\ndata: a\n\n", "|a\n", ""},
        {"id: 1\n\nid: 2\ndata: a\n", "", "1"},
        {"id: 1\ndata: a\n\nid\ndata: b\n\n", "|a\n|b\n", ""},
        {"retry: 5\nnonsense: a\nDATA: b\n data: c\n\n", "", ""},
        {"data: a", "", ""},
        {"data: :a:\n\n", "|:a:\n", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t step = 1; step < 8; step++)
            assert_events(cases[i].stream, strlen(cases[i].stream), step, cases[i].expected,
                          cases[i].last_id);
    static const char nul[] = "id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n";
    assert_events(nul, sizeof nul - 1, 3, "|a\n|b\n", "1");
}

static void a_restart_drops_what_was_half_read(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf notes;
    buf_init(&notes, 4096);
    _cleanup_(sse_reader_release) struct sse_reader r;
    sse_reader_init(&r, note_event, &notes);
    struct error e;
    static const char first[] = "id: 3\ndata: a\n\nid: 4\nevent: x\ndata: b\nda", second[] = "data: c\n\n";
    assert_true(sse_reader_feed(&r, first, sizeof first - 1, &e));
    sse_reader_restart(&r);
    assert_true(sse_reader_feed(&r, second, sizeof second - 1, &e));
    assert_string_equal(notes.data, "|a\n|c\n");
    assert_string_equal(sse_reader_last_id(&r), "3");
}

static void the_callback_can_stop_a_reader(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf notes;
    buf_init(&notes, 4096);
    _cleanup_(sse_reader_release) struct sse_reader r;
    sse_reader_init(&r, note_event, &notes);
    struct error e = {.code = ERROR_INTERNAL};
    static const char stream[] = "event: stop\ndata: a\n\ndata: b\n\n";
    assert_false(sse_reader_feed(&r, stream, sizeof stream - 1, &e));
    assert_int_equal(e.code, ERROR_NONE);
    assert_string_equal(notes.data, "stop|a\n");
}

/* One line of SSE_LINE_MAX bytes is taken; one more is not, nor is it as the sum of many lines. */
static void a_reader_keeps_to_its_ceiling(void **state)
{
    (void)state;
    _cleanup_free_ char *line = malloc(SSE_LINE_MAX);
    assert_non_null(line);
    memset(line, 'x', SSE_LINE_MAX);
    memcpy(line, "data:", 5);
    for (int over = 0; over < 3; over++) {
        _cleanup_buf_ struct buf notes;
        buf_init(&notes, 2 * SSE_LINE_MAX);
        _cleanup_(sse_reader_release) struct sse_reader r;
        sse_reader_init(&r, note_event, &notes);
        struct error e = {0};
        assert_true(sse_reader_feed(&r, line, SSE_LINE_MAX, &e));
        const char *rest = over == 0 ? "\n\n" : over == 1 ? "x\n\n" : "\ndata: yyyyyyyyy\n\n";
        assert_int_equal(sse_reader_feed(&r, rest, strlen(rest), &e), over == 0);
        assert_int_equal(e.code, over == 0 ? ERROR_NONE : ERROR_TOO_LARGE);
        assert_int_equal(notes.len, over == 0 ? SSE_LINE_MAX - 5 + 2 : 0);
    }
}

static unsigned columns_of(const char *text)
{
    unsigned columns = 0;
    for (; *text; text++)
        columns += ((unsigned char)*text & 0xC0) != 0x80;
    return columns;
}

static void a_bar_never_takes_the_last_column(void **state)
{
    (void)state;
    static const char *const states[] = {"", "Processing query...",
                                         "a state far longer than there is room for, really",
                                         "\xC3\xA4\xC3\xB6\xC3\xBC \xE2\x96\x88 \xFF\x1B[31m\t\n"};
    for (unsigned columns = 0; columns < 220; columns++) {
        for (int variant = 0; variant < 16; variant++) {
            struct progress p = {.state = states[variant / 4],
                                 .percent = variant & 1 ? 37.5 : -1,
                                 .rows = variant & 2 ? 9123456789 : -1,
                                 .bytes = variant & 2 ? 123456789012 : -1,
                                 .rate = variant & 1 ? 1e8 : 0,
                                 .elapsed_ms = columns * 977};
            for (int utf8 = 0; utf8 < 2; utf8++) {
                _cleanup_buf_ struct buf out;
                buf_init(&out, 4096);
                progress_bar_render(&out, &(struct progress_style){.columns = columns, .utf8 = utf8}, &p);
                const char *text = out.data ? out.data : "";
                assert_true(columns_of(text) <= (columns ? columns - 1 : 0));
                assert_null(strchr(text, '\033'));
                if (columns >= 40)
                    assert_non_null(strchr(text, ']'));
                if (columns >= 30 && p.percent >= 0)
                    assert_non_null(strstr(text, " 37 %"));
            }
        }
    }
}

static void assert_bar(struct progress_style style, struct progress p, const char *expected)
{
    _cleanup_buf_ struct buf out;
    buf_init(&out, 4096);
    progress_bar_render(&out, &style, &p);
    assert_string_equal(out.data, expected);
}

static void bars_look_as_meant(void **state)
{
    (void)state;
    struct progress p = {
        .state = "Fetching", .percent = 50, .rows = -1, .bytes = 4000000, .rate = 8.8e7, .elapsed_ms = 12345};
    assert_bar((struct progress_style){.columns = 61}, p,
               "Fetching             [#######        ]   50 %  4.00 MB  0:12");
    assert_bar((struct progress_style){.columns = 61, .utf8 = true, .colour = true}, p,
               "Fetching             [\033[36m███████▌       \033[0m]   50 %  4.00 MB  0:12");
    p.percent = -1;
    assert_bar((struct progress_style){.columns = 61}, p,
               "Fetching             [  ###      ]  4.00 MB  88.0 MB/s  0:12");
}

static void numbers_read_well(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out;
    buf_init(&out, 4096);
    static const double bytes[] = {0, 999, 1000, 9994, 9996, 99940, 99960, 999499, 999500, 123456789, 5e15};
    for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
        format_bytes(&out, bytes[i]);
        buf_append_text(&out, "|");
    }
    assert_string_equal(out.data,
                        "0 B|999 B|1.00 kB|9.99 kB|10.0 kB|99.9 kB|100 kB|999 kB|1.00 MB|123 MB|5000 TB|");
    buf_clear(&out);
    static const int64_t numbers[] = {0, 999, 1000, 59999, 60000, 3599000, 3600000, 100000000};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        format_elapsed(&out, numbers[i]);
        buf_append_text(&out, "|");
        format_count(&out, numbers[i]);
        buf_append_text(&out, "|");
    }
    assert_string_equal(out.data, "0:00|0|0:00|999|0:01|1,000|0:59|59,999|1:00|60,000|59:59|3,599,000|"
                                  "1:00:00|3,600,000|27:46:40|100,000,000|");
    buf_clear(&out);
    progress_line_render(&out,
                         &(struct progress){.percent = 5, .rows = 12345, .bytes = -1, .elapsed_ms = 61000});
    assert_string_equal(out.data, "5 %, 12,345 rows, 1:01");
}

static void text_of_a_peer_cannot_steer_the_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool utf8, lines;
        unsigned columns;
        const char *expected;
        unsigned taken;
    } cases[] = {
        {"a\033[2Jb\x07\x7F", true, true, 99, "a?[2Jb??", 8},
        {"\xC2\x9B"
         "2J",
         true, true, 99, "?2J", 3},
        {"a\tb\nc", true, true, 99, "a\tb\nc", 5},
        {"a\tb\nc\r", true, false, 99, "a b c?", 6},
        {"\xC3\xA4\xE2\x80\xAE", true, true, 99, "\xC3\xA4?", 3},
        {"\xC3\xA4", false, true, 99, "?", 1},
        {"\xC3", true, true, 99, "?", 1},
        {"\xC0\x80\xED\xA0\x80\xF5\x80\x80\x80", true, true, 99, "?????????", 9},
        {"\xE6\x97\xA5\xE6\x9C\xAC", true, true, 3, "\xE6\x97\xA5", 2},
        {"\xF0\x9F\x98\x80", true, true, 2, "\xF0\x9F\x98\x80", 2},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_buf_ struct buf out;
        buf_init(&out, 4096);
        assert_int_equal(
            append_safe_text(&out, cases[i].text, cases[i].utf8, cases[i].lines, cases[i].columns),
            cases[i].taken);
        assert_string_equal(out.data, cases[i].expected);
    }
}

/* A server may name the file that is made here, but not lead out of the folder, nor onto another file. */
static void a_name_from_a_server_is_that_of_its_download(void **state)
{
    (void)state;
#define ID "6f1c2f0e-0b7a-4c5e-9d2b-1f2a3b4c5d6e"
    static const char *const good[] = {ID ".csv", ID ".csv.gz", ID ".ndjson.zst", ID ".xlsx", ID ".7z",
                                       ID ".aaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (!download_name_ok(ID, good[i]))
            fail_msg("%s was not taken", good[i]);
    static const char *const bad[] = {"", "-", "csv", ID, ID ".", ID "..", ID "..csv", ID ".csv.", ID ".csv..gz",
                                      ID ".csv/../x", ID "./x",
                                      ID "/x.csv", ID "-2.csv", "../" ID ".csv", "/tmp/" ID ".csv", ID ".csv\n",
                                          ID ".CSV", ID ".c\xc3\xa9",
                                      ID ".csv gz", ID ".csv\\x", "x" ID ".csv", "Makefile", ".bashrc",
                                      "6f1c2f0e-0b7a-4c5e-9d2b-1f2a3b4c5d6f.csv", ID ".aaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (download_name_ok(ID, bad[i]))
            fail_msg("'%s' was taken", bad[i]);
}

/* In a folder of its own, which holds nothing but "file" at the end. */
static void a_file_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_cli_XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    struct error e;
    struct stat st;
    struct sink s = SINK_CLOSED;
    assert_true(sink_open(&s, "file", &e));
    assert_true(sink_write(&s, "wrong", 5, &e));
    assert_int_not_equal(stat("file", &st), 0);
    sink_release(&s);
    assert_int_not_equal(stat("file", &st), 0);

    assert_true(sink_open(&s, "./file", &e));
    assert_true(sink_write(&s, "wrong", 5, &e));
    assert_true(sink_rewind(&s));
    assert_true(sink_write(&s, "new", 3, &e));
    assert_true(sink_commit(&s, &e));
    sink_release(&s);
    assert_int_equal(stat("file", &st), 0);
    assert_int_equal(st.st_size, 3);

    assert_false(sink_open(&s, "missing/file", &e));
    assert_int_equal(s.fd, -1);
    assert_int_equal(unlink("file"), 0);
    assert_int_equal(rmdir(folder), 0);
}

static bool no_bytes(void *context, const void *data, size_t len)
{
    (void)context;
    (void)data;
    (void)len;
    return true;
}

static void impossible_requests_are_told_apart(void **state)
{
    (void)state;
    struct error e;
    struct http_client *c = http_client_new(&e);
    assert_non_null(c);
    const char *split[] = {"x-user-id: a\r\nx-organization-id: b", NULL};
    struct http_request r = {.url = "http://127.0.0.1:1/",
                             .headers = split,
                             .connect_ms = 5000,
                             .silence_ms = 5000,
                             .body_bytes = no_bytes};
    assert_int_equal(http_client_perform(c, &r, &e), HTTP_IMPOSSIBLE);
    r.headers = NULL;
    assert_int_equal(http_client_perform(c, &r, &e), HTTP_UNREACHABLE);
    assert_int_equal(http_client_status(c), 0);
    assert_null(http_client_header(c, "ETag"));
    r.url = "file:///etc/passwd";
    assert_int_equal(http_client_perform(c, &r, &e), HTTP_IMPOSSIBLE);
    r.url = "http://[";
    assert_int_equal(http_client_perform(c, &r, &e), HTTP_IMPOSSIBLE);
    http_client_free(c);
}

static bool stop_at_once(void *context)
{
    (void)context;
    return false;
}

/* A server that takes the connection and says nothing: the kernel is one. */
static void a_silent_server_is_left(void **state)
{
    (void)state;
    _cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(address.sin_port));

    struct error e;
    struct http_client *c = http_client_new(&e);
    assert_non_null(c);
    struct http_request r = {.url = url, .connect_ms = 5000, .silence_ms = 300, .body_bytes = no_bytes};
    int64_t began = clock_monotonic_ms();
    assert_int_equal(http_client_perform(c, &r, &e), HTTP_BROKEN);
    assert_int_equal(e.code, ERROR_TIMEOUT);
    assert_true(clock_monotonic_ms() - began >= 300);
    r.silence_ms = 3600 * 1000;
    r.tick = stop_at_once;
    assert_int_equal(http_client_perform(c, &r, &e), HTTP_STOPPED);
    http_client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_follow_the_standard),
        cmocka_unit_test(a_restart_drops_what_was_half_read),
        cmocka_unit_test(the_callback_can_stop_a_reader),
        cmocka_unit_test(a_reader_keeps_to_its_ceiling),
        cmocka_unit_test(a_bar_never_takes_the_last_column),
        cmocka_unit_test(bars_look_as_meant),
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(text_of_a_peer_cannot_steer_the_terminal),
        cmocka_unit_test(a_name_from_a_server_is_that_of_its_download),
        cmocka_unit_test(a_file_appears_whole_or_not_at_all),
        cmocka_unit_test(impossible_requests_are_told_apart),
        cmocka_unit_test(a_silent_server_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
