/* Event texts, the hub and the sweeper. The hub's streams are a stand-in for http.h that keeps what is
 * written; the sweeper has the real stores on their threads. */
#include <event2/event.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "format/file_form.h"
#include "job/store_thread.h"
#include "object/store.h"
#include "server/event_text.h"
#include "server/hub.h"
#include "server/sweeper.h"

#define ID "0b4c2c1e-3f0e-4b7a-9a51-000000000001"
#define OTHER_ID "0b4c2c1e-3f0e-4b7a-9a51-000000000002"
#define LINE_LIMIT (64 * 1024) /* at which gopie-server gives up */
#define DEADLINE_MS 20000
#define FAR_AWAY INT64_C(4102444800000000)

/* The stand-in */

struct http_stream {
    struct http_stream_options options;
    struct buf written;
    size_t pending;
    bool ended, aborted;
};

struct http_request {
    struct http_stream stream;
};

void http_response_header(struct http_request *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
}

struct http_stream *http_stream_begin(struct http_request *r, const struct http_stream_options *o)
{
    r->stream = (struct http_stream){.options = *o};
    buf_init(&r->stream.written, EVENT_TEXT_MAX);
    return &r->stream;
}

void http_stream_write(struct http_stream *s, const void *data, size_t length)
{
    assert_false(s->ended || s->aborted);
    buf_append(&s->written, data, length);
}

struct http_chunk {
    unsigned references;
    size_t length;
    char data[];
};

static unsigned chunks; /* that are there */

struct http_chunk *http_chunk_new(const void *data, size_t length)
{
    struct http_chunk *c = malloc(sizeof *c + length);
    assert_non_null(c);
    *c = (struct http_chunk){.references = 1, .length = length};
    memcpy(c->data, data, length);
    chunks++;
    return c;
}

void http_chunk_release(struct http_chunk *c)
{
    if (c && --c->references == 0) {
        chunks--;
        free(c);
    }
}

size_t http_chunk_length(const struct http_chunk *c)
{
    return c->length;
}

void http_stream_write_chunk(struct http_stream *s, struct http_chunk *c)
{
    http_stream_write(s, c->data, c->length);
}

size_t http_stream_pending(const struct http_stream *s)
{
    return s->pending;
}

void http_stream_end(struct http_stream *s)
{
    assert_false(s->ended || s->aborted);
    s->ended = true;
}

void http_stream_abort(struct http_stream *s)
{
    assert_false(s->ended || s->aborted);
    s->aborted = true;
}

static void assert_told(struct http_request *r, const char *text)
{
    assert_string_equal(r->stream.written.data ? r->stream.written.data : "", text);
    buf_clear(&r->stream.written);
    if (r->stream.written.data)
        r->stream.written.data[0] = '\0';
}

/* Event texts */

static char *repeated(char c, size_t count)
{
    char *text = malloc(count + 1);
    assert_non_null(text);
    memset(text, c, count);
    text[count] = '\0';
    return text;
}

static size_t longest_line(const struct buf *b)
{
    size_t longest = 0;
    assert_true(buf_ok(b));
    for (const char *line = b->data; *line; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") > longest)
            longest = strcspn(line, "\n");
    return longest;
}

/* As long as a form's text may be. */
static char *longest_form(void)
{
    char *form = NULL;
    assert_int_equal(asprintf(&form, "{\"format\":\"csv\",\"options\":{\"null\":\"%0*d\"}}", FILE_FORM_MAX - 38, 0), FILE_FORM_MAX);
    return form;
}

/* Everything as long, and as much longer by escaping, as the server lets it in. */
static void no_line_is_too_long_for_gopie(void **state)
{
    (void)state;
    struct job j = {.id = ID,
                    .sql = repeated(1, 4 * 1024 * 1024),
                    .error_message = repeated(1, ERROR_MESSAGE_MAX - 1),
                    .dataset_id = repeated(1, 1024),
                    .user_id = repeated('"', 256),
                    .org_id = repeated('o', 128),
                    .format = repeated('f', 3),
                    .form = longest_form(),
                    .status = JOB_FAILED,
                    .error_code = ERROR_QUERY,
                    .last_error = repeated(1, JOB_ATTEMPT_ERROR_MAX),
                    .last_error_code = ERROR_ORG_QUEUE_FULL,
                    .created_at = FAR_AWAY,
                    .updated_at = FAR_AWAY,
                    .completed_at = FAR_AWAY,
                    .version = INT64_MAX,
                    .failures = UINT32_MAX,
                    .attempt = UINT32_MAX};
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_snapshot(&text, &j, j.version);
    assert_true(longest_line(&text) < LINE_LIMIT);
    assert_non_null(strstr(text.data, "\"sql_truncated\":true"));
    buf_clear(&text);
    event_text_last(&text, &j);
    assert_true(longest_line(&text) < LINE_LIMIT);
    buf_clear(&text);
    event_text_error(&text, ID, j.error_message);
    assert_true(longest_line(&text) < LINE_LIMIT);
    buf_clear(&text);
    event_text_job_created(&text, &j);
    assert_true(longest_line(&text) < LINE_LIMIT);
    job_release(&j);
}

/* So many columns of 63 characters each, which take six bytes a character in a record. */
static char *wide_columns(size_t count)
{
    struct buf out;
    buf_init(&out, (size_t)4 << 20);
    buf_append_text(&out, "[");
    for (size_t i = 0; i < count; i++) {
        buf_printf(&out, "%s{\"name\":\"", i ? "," : "");
        for (int c = 0; c < 63; c++)
            buf_append_text(&out, "\\u0001");
        buf_append_text(&out, "\",\"type\":\"TIMESTAMP WITH TIME ZONE\"}");
    }
    buf_append_text(&out, "]");
    return buf_take(&out);
}

static json_t *last_data(const struct buf *text)
{
    const char *line = strstr(text->data, "data: ");
    assert_non_null(line);
    json_t *o = json_loadb(line + 6, strcspn(line, "\n") - 6, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    return o;
}

/* The options are as long as they may be (FILE_FORM_MAX), the link as one of S3 with a session's token. */
static void columns_that_no_line_has_room_for_are_left_out(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 5, 6, 7, 8, 9, 10, 11, 12, 1600};
    bool with = false, without = false;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        struct job j = {.id = ID,
                        .sql = repeated('x', 300),
                        .dataset_id = repeated('d', 36),
                        .user_id = repeated('u', 36),
                        .org_id = repeated('o', 36),
                        .format = strdup("csv"),
                        .form = strdup("{\"format\":\"csv\",\"options\":{\"null\":\"-\"}}"),
                        .suffix = strdup("csv.gz"),
                        .link = repeated('l', 2500),
                        .columns = wide_columns(counts[i]),
                        .details = strdup("{\"truncated\":false,\"duration_ms\":5}"),
                        .status = JOB_COMPLETED,
                        .version = 3,
                        .attempt = 1};
        for (int kind = 0; kind < 2; kind++) {
            _cleanup_buf_ struct buf text;
            buf_init(&text, EVENT_TEXT_MAX);
            if (kind == 0)
                event_text_last(&text, &j);
            else
                event_text_snapshot(&text, &j, j.version);
            assert_true(longest_line(&text) < 8 * 1024 + 16);
            json_t *data = last_data(&text);
            size_t told = json_array_size(json_object_get(data, "columns"));
            assert_true(told == counts[i] || told == 0); /* all or none */
            assert_int_equal(json_is_true(json_object_get(data, "columns_truncated")), told == 0);
            assert_string_equal(json_string_value(json_object_get(data, "filename")), ID ".csv.gz");
            assert_string_equal(json_string_value(json_object_get(data, "content_type")), "application/gzip");
            assert_int_equal(json_integer_value(json_object_get(data, "duration_ms")), 5);
            assert_true(json_is_false(json_object_get(data, "truncated")));
            if (kind == 1)
                assert_int_equal(strlen(json_string_value(json_object_get(data, "sql"))), 300);
            with = with || told > 0;
            without = without || told == 0;
            json_decref(data);
        }
        job_release(&j);
    }
    assert_true(with && without);
}

static void the_last_event_says_how_it_ended(void **state)
{
    (void)state;
    struct job j = {.id = ID, .version = 3, .rows = 2, .bytes = 9, .sha256 = "ab", .status = JOB_COMPLETED};
    j.link = strdup("http://x/y?z");
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_last(&text, &j);
    assert_string_equal(text.data,
                        "id: 3\ndata: {\"download_id\":\"" ID "\",\"type\":\"complete\",\"message\":"
                        "\"http://x/y?z\",\"rows\":2,\"bytes\":9,\"sha256\":\"ab\"}\n\n");
    buf_clear(&text);
    j.format = strdup("ndjson");
    j.columns = strdup("[{\"name\":\"a\",\"type\":\"T\"}]");
    j.details = strdup("{\"truncated\":false,\"duration_ms\":12}");
    event_text_last(&text, &j);
    assert_string_equal(text.data,
                        "id: 3\ndata: {\"download_id\":\"" ID "\",\"type\":\"complete\",\"message\":"
                        "\"http://x/y?z\",\"rows\":2,\"bytes\":9,\"sha256\":\"ab\",\"content_type\":\"application/x-ndjson\","
                        "\"filename\":\"" ID ".ndjson\",\"truncated\":false,\"duration_ms\":12,"
                        "\"columns\":[{\"name\":\"a\",\"type\":\"T\"}]}\n\n");
    buf_clear(&text);
    j.status = JOB_EXPIRED;
    event_text_last(&text, &j);
    assert_string_equal(text.data, "id: 3\ndata: {\"download_id\":\"" ID "\",\"type\":\"error\",\"message\":"
                                   "\"the download link has expired\"}\n\n");
    buf_clear(&text);
    j.status = JOB_FAILED;
    j.error_message = strdup("a \"b\"\nc");
    event_text_last(&text, &j);
    assert_string_equal(text.data, "id: 3\ndata: {\"download_id\":\"" ID "\",\"type\":\"error\",\"message\":"
                                   "\"Failed during data processing: a \\\"b\\\"\\nc\"}\n\n");
    job_release(&j);
}

static void progress_that_is_not_known_says_so(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_progress(&text, ID, 42, 7, 100);
    assert_string_equal(text.data, "data: {\"download_id\":\"" ID "\",\"type\":\"progress\",\"progress\":42,"
                                   "\"message\":\"7 rows written\",\"rows\":7,\"bytes\":100}\n\n");
    buf_clear(&text);
    event_text_progress(&text, ID, -1, 7, 100);
    assert_non_null(strstr(text.data, "\"progress\":0,"));
    assert_non_null(strstr(text.data, "\"indeterminate\":true"));
}

/* The hub */

#define MANY (2 * HUB_AT_ONCE + 44)

struct hub_state {
    struct event_base *base;
    struct hub *hub;
    struct http_request requests[MANY];
};

static int open_hub(void **state)
{
    struct hub_state *h = calloc(1, sizeof *h);
    struct error e;
    h->base = event_base_new();
    h->hub = hub_new(h->base, &e);
    *state = h;
    return h->hub ? 0 : -1;
}

static int close_hub(void **state)
{
    struct hub_state *h = *state;
    event_base_loop(h->base, EVLOOP_NONBLOCK);
    bool empty = hub_subscriber_count(h->hub) == 0;
    hub_free(h->hub);
    event_base_free(h->base);
    for (size_t i = 0; i < ARRAY_SIZE(h->requests); i++)
        buf_release(&h->requests[i].stream.written);
    free(h);
    return empty && chunks == 0 ? 0 : -1;
}

static struct buf fixed(const char *text)
{
    return (struct buf){.data = (char *)text, .len = strlen(text), .max = strlen(text)};
}

static void publish(struct hub_state *h, const char *id, enum hub_kind kind, int64_t version,
                    const char *text)
{
    const struct buf b = fixed(text);
    hub_publish(h->hub, id, kind, version, &b);
}

/* The subscriber of request `i`, which knows `version`. */
static struct subscriber *join_and_open(struct hub_state *h, const char *id, int i, bool is_poster,
                                        int64_t version)
{
    struct subscriber *s = hub_join(h->hub, id, is_poster);
    assert_non_null(s);
    const struct buf first = fixed("first;");
    hub_open(s, &h->requests[i], &first, version, 2);
    assert_int_equal(hub_told(h->hub, id)->failures, 2); /* else the poller would tell them as news */
    assert_told(&h->requests[i], "first;");
    return s;
}

static void all_of_a_download_are_told_until_its_end(void **state)
{
    struct hub_state *h = *state;
    join_and_open(h, ID, 0, true, 1);
    join_and_open(h, ID, 1, false, 2);
    join_and_open(h, OTHER_ID, 2, true, 0);
    publish(h, ID, HUB_STATE, 2, "two;"); /* the second knows it */
    publish(h, ID, HUB_STATE, 0, "stage;");
    publish(h, ID, HUB_PROGRESS, 0, "progress;");
    assert_told(&h->requests[0], "two;stage;progress;");
    assert_told(&h->requests[1], "stage;progress;");
    publish(h, ID, HUB_FINAL, 3, "end;");
    for (int i = 0; i < 2; i++) {
        assert_told(&h->requests[i], "end;");
        assert_true(h->requests[i].stream.ended);
    }
    assert_false(hub_has_subscribers(h->hub, ID));
    publish(h, ID, HUB_STATE, 4, "nobody hears it;");
    assert_told(&h->requests[2], "");
    publish(h, OTHER_ID, HUB_FINAL, 1, "end;");
    assert_told(&h->requests[2], "end;");
}

static void who_is_not_open_yet_hears_that_it_missed_something(void **state)
{
    struct hub_state *h = *state;
    struct subscriber *s = hub_join(h->hub, ID, false);
    assert_false(hub_missed(s));
    publish(h, ID, HUB_PROGRESS, 0, "progress;");
    assert_false(hub_missed(s));
    publish(h, ID, HUB_FINAL, 3, "end;");
    assert_true(hub_missed(s));
    assert_false(hub_missed(s)); /* since the last look */
    assert_true(hub_has_subscribers(h->hub, ID));
    hub_drop(s);
}

static void a_slow_reader_is_spared_and_then_dropped(void **state)
{
    struct hub_state *h = *state;
    struct http_stream *stream = &h->requests[0].stream;
    join_and_open(h, ID, 0, false, 1);
    stream->pending = HUB_SLOW_BYTES;
    publish(h, ID, HUB_PROGRESS, 0, "told;");
    stream->pending++;
    publish(h, ID, HUB_PROGRESS, 0, "spared;");
    publish(h, ID, HUB_STATE, 2, "state;");
    assert_told(&h->requests[0], "told;state;");
    stream->pending = HUB_PENDING_MAX - 2;
    publish(h, ID, HUB_STATE, 3, "abc");
    assert_told(&h->requests[0], "");
    assert_true(stream->aborted);
    assert_int_equal(hub_subscriber_count(h->hub), 0);
}

static void join_many(struct hub_state *h)
{
    for (int i = 0; i < MANY; i++)
        join_and_open(h, ID, i, false, 1);
}

static unsigned told_of(struct hub_state *h, const char *text)
{
    unsigned count = 0;
    for (int i = 0; i < MANY; i++)
        count += h->requests[i].stream.written.data && !strcmp(h->requests[i].stream.written.data, text);
    return count;
}

static void clear_many(struct hub_state *h)
{
    for (int i = 0; i < MANY; i++)
        assert_told(&h->requests[i], h->requests[i].stream.written.data);
}

static void go(struct hub_state *h)
{
    event_base_loop(h->base, EVLOOP_ONCE);
}

/* Leaves the hub as the test wants it: empty. */
static void end_many(struct hub_state *h)
{
    clear_many(h);
    publish(h, ID, HUB_FINAL, 0, "end;");
    while (hub_has_subscribers(h->hub, ID))
        go(h);
    assert_int_equal(told_of(h, "end;"), MANY);
    assert_int_equal(chunks, 1); /* the hub's heartbeat */
}

static void many_are_told_by_and_by(void **state)
{
    struct hub_state *h = *state;
    join_many(h);
    publish(h, ID, HUB_STATE, 2, "two;");
    assert_int_equal(told_of(h, "two;"), HUB_AT_ONCE);
    go(h);
    assert_int_equal(told_of(h, "two;"), 2 * HUB_AT_ONCE);
    assert_int_equal(chunks, 2);
    go(h);
    assert_int_equal(told_of(h, "two;"), MANY);
    assert_int_equal(chunks, 1);
    end_many(h);
}

static void progress_that_is_overtaken_is_left_out(void **state)
{
    struct hub_state *h = *state;
    join_many(h);
    publish(h, ID, HUB_PROGRESS, 0, "10;");
    publish(h, ID, HUB_PROGRESS, 0, "20;");
    publish(h, ID, HUB_STATE, 2, "two;");
    publish(h, ID, HUB_PROGRESS, 0, "30;");
    for (int i = 0; i < 3; i++)
        go(h);
    assert_int_equal(told_of(h, "10;20;two;30;"), HUB_AT_ONCE);
    assert_int_equal(told_of(h, "20;two;30;"), MANY - HUB_AT_ONCE);
    end_many(h);
}

static void downloads_with_many_take_turns(void **state)
{
    struct hub_state *h = *state;
    for (int i = 0; i < MANY; i++)
        join_and_open(h, i % 2 ? ID : OTHER_ID, i, false, 1);
    publish(h, ID, HUB_FINAL, 2, "end;");
    publish(h, OTHER_ID, HUB_FINAL, 2, "end of the other;");
    assert_int_equal(told_of(h, "end;"), HUB_AT_ONCE);
    assert_int_equal(told_of(h, "end of the other;"), HUB_AT_ONCE);
    go(h);
    assert_int_equal(told_of(h, "end;"), MANY / 2);
    assert_int_equal(told_of(h, "end of the other;"), HUB_AT_ONCE);
    go(h);
    assert_int_equal(told_of(h, "end of the other;"), MANY / 2);
}

static void who_comes_and_goes_meanwhile(void **state)
{
    struct hub_state *h = *state;
    for (int i = 0; i < MANY - 2; i++)
        join_and_open(h, ID, i, false, 1);
    struct subscriber *waiting = hub_join(h->hub, ID, false);
    publish(h, ID, HUB_STATE, 2, "two;");
    join_and_open(h, ID, MANY - 1, false, 2); /* its record says it */
    assert_true(hub_missed(waiting));
    assert_false(hub_missed(waiting));
    hub_drop(waiting);
    for (int i = 0; i < MANY - 2; i += 2) /* told ones and others */
        h->requests[i].stream.options.closed(h->requests[i].stream.options.context);
    go(h);
    unsigned told = told_of(h, "two;");
    publish(h, ID, HUB_FINAL, 3, "end;");
    assert_true(told >= (MANY - 2) / 2 && told < (MANY - 2) / 2 + HUB_AT_ONCE);
    while (hub_has_subscribers(h->hub, ID))
        go(h);
    assert_int_equal(told_of(h, "two;end;"), (MANY - 2) / 2);
    assert_told(&h->requests[MANY - 1], "end;");
}

static void a_shutdown_says_first_what_is_still_to_be_said(void **state)
{
    struct hub_state *h = *state;
    join_many(h);
    publish(h, ID, HUB_FINAL, 2, "end;");
    assert_int_equal(told_of(h, "end;"), HUB_AT_ONCE);
    hub_end_all(h->hub);
    assert_int_equal(told_of(h, "end;"), MANY);
}

static void events_that_wait_are_bounded(void **state)
{
    struct hub_state *h = *state;
    join_many(h);
    struct buf all;
    buf_init(&all, EVENT_TEXT_MAX);
    for (int i = 0; i < 3 * HUB_EVENTS_MAX; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d;", i);
        buf_append_text(&all, text);
        publish(h, ID, HUB_STATE, 2 + i, text);
        assert_true(chunks <= HUB_EVENTS_MAX + 1);
    }
    for (int i = 0; i < 3; i++)
        go(h);
    assert_int_equal(told_of(h, all.data), MANY);
    buf_release(&all);
    end_many(h);
}

static int activate_if_persistent(const struct event_base *base, const struct event *e, void *count)
{
    (void)base;
    if (event_get_events(e) & EV_PERSIST) {
        event_active((struct event *)e, EV_TIMEOUT, 0);
        ++*(int *)count;
    }
    return 0;
}

/* The hub's only timer that repeats itself is moved by hand. */
static void heartbeats_are_spread(void **state)
{
    struct hub_state *h = *state;
    unsigned heard = 0, ticks = 0;
    join_many(h);
    while (heard < MANY) {
        int timers = 0;
        event_base_foreach_event(h->base, activate_if_persistent, &timers);
        assert_int_equal(timers, 1);
        event_base_loop(h->base, EVLOOP_NONBLOCK);
        unsigned now = told_of(h, ": heartbeat\n\n");
        assert_true(now - heard <= MANY / 60 + 1); /* of 60 slots */
        heard = now;
        ticks++;
    }
    assert_int_equal(ticks, 60);
    end_many(h);
}

static void a_client_that_goes_is_forgotten(void **state)
{
    struct hub_state *h = *state;
    join_and_open(h, ID, 0, true, 1);
    join_and_open(h, ID, 1, false, 1);
    h->requests[0].stream.options.closed(h->requests[0].stream.options.context);
    publish(h, ID, HUB_FINAL, 2, "end;");
    assert_told(&h->requests[0], "");
    assert_told(&h->requests[1], "end;");
}

static void a_shutdown_tells_poster_and_followers_what_each_needs(void **state)
{
    struct hub_state *h = *state;
    join_and_open(h, ID, 0, true, 1);
    join_and_open(h, ID, 1, false, 1);
    struct subscriber *waiting = hub_join(h->hub, ID, false);
    hub_end_all(h->hub);
    assert_non_null(strstr(h->requests[0].stream.written.data, "\"type\":\"error\""));
    assert_non_null(strstr(h->requests[0].stream.written.data, "GET /downloads/" ID));
    assert_non_null(strstr(h->requests[1].stream.written.data, "event: restart\n"));
    assert_true(h->requests[0].stream.ended && h->requests[1].stream.ended);
    assert_int_equal(hub_subscriber_count(h->hub), 1); /* its owner's still */
    hub_drop(waiting);
}

/* The sweeper */

static char directory[64], jobs_path[96], key_path[96];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test-server-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(jobs_path, sizeof jobs_path, "%s/jobs.db", directory);
    snprintf(key_path, sizeof key_path, "%s/link.key", directory);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int remove_directory(void **state)
{
    (void)state;
    return nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Stores a job, and deletes it while it runs: its attempt is to be cleared away. */
static void leave_an_attempt(void)
{
    struct error e;
    struct job_store *s = job_store_sqlite_open(jobs_path, &e);
    assert_non_null(s);
    const struct job_request asked = {"ann", "acme", "d", "SELECT 1", "csv"};
    _cleanup_(job_release) struct job j = {0};
    struct job_list claimed = {0};
    bool found = false;
    int64_t next_ms;
    s->bounds = (struct job_bounds){.queue_size = 10, .org_max_queued = 10};
    assert_true(s->api->begin(s, &e) && s->api->create(s, &asked, &j, &e) &&
                s->api->claim(s, "owner", 1, &claimed, &next_ms, &e) && s->api->remove(s, "acme", j.id, &found, &e) &&
                s->api->commit(s, &e));
    assert_true(found);
    job_list_release(&claimed);
    s->api->close(s);
}

static size_t count_leftovers(void)
{
    struct error e;
    struct job_leftover_list list = {0};
    struct job_store *s = job_store_sqlite_open(jobs_path, &e);
    assert_non_null(s);
    assert_true(s->api->leftovers(s, 10, true, &list, &e));
    size_t count = list.count;
    job_leftover_list_release(&list);
    s->api->close(s);
    return count;
}

static struct job_store *open_for_threads(void *context, bool for_control, struct error *e)
{
    (void)context;
    (void)for_control;
    return job_store_sqlite_open(jobs_path, e);
}

/* Stops the sweeper when `steps` of its round (look, removal, report) are over and the next has been
 * answered: as serve.c does, the stores end first, and what they answered is heard. */
static size_t left_after_stopping_at(int steps)
{
    struct error e;
    leave_an_attempt();
    struct event_base *base = event_base_new();
    struct mailbox *mailbox = mailbox_new(&e);
    assert_true(base && mailbox);
    struct store_threads *store = store_threads_new(
        &(struct store_threads_options){.open = open_for_threads, .done = mailbox},
        &e);
    struct object_store *objects = object_store_local_open(
        &(struct object_local_options){
            .directory = directory, .public_url = "", .key_file = key_path, .done = mailbox},
        &e);
    assert_true(store && objects);
    struct sweeper *sweeper = sweeper_new(base, store, objects, &e);
    assert_non_null(sweeper);
    event_base_loop(base, EVLOOP_ONCE); /* its timer */
    for (int i = 0; i <= steps; i++) {
        struct pollfd p = {.fd = mailbox_fd(mailbox), .events = POLLIN};
        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        if (i < steps)
            mailbox_drain(mailbox);
    }
    sweeper_stop(sweeper);
    store_threads_free(store);
    mailbox_drain(mailbox);
    objects->api->close(objects);
    mailbox_drain(mailbox);
    sweeper_free(sweeper);
    mailbox_free(mailbox);
    event_base_free(base);
    return count_leftovers();
}

static void a_round_clears_away_what_attempts_left(void **state)
{
    (void)state;
    assert_int_equal(left_after_stopping_at(2), 0);
}

static void a_shutdown_in_the_look_leaves_it_to_the_next_start(void **state)
{
    (void)state;
    assert_int_equal(left_after_stopping_at(0), 1);
}

static void a_shutdown_in_the_removal_leaves_it_to_the_next_start(void **state)
{
    (void)state;
    assert_int_equal(left_after_stopping_at(1), 1);
}

int main(void)
{
#define HUB_TEST(f) cmocka_unit_test_setup_teardown(f, open_hub, close_hub)
#define SWEEPER_TEST(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_line_is_too_long_for_gopie),
        cmocka_unit_test(columns_that_no_line_has_room_for_are_left_out),
        cmocka_unit_test(the_last_event_says_how_it_ended),
        cmocka_unit_test(progress_that_is_not_known_says_so),
        HUB_TEST(all_of_a_download_are_told_until_its_end),
        HUB_TEST(who_is_not_open_yet_hears_that_it_missed_something),
        HUB_TEST(a_slow_reader_is_spared_and_then_dropped),
        HUB_TEST(many_are_told_by_and_by),
        HUB_TEST(progress_that_is_overtaken_is_left_out),
        HUB_TEST(downloads_with_many_take_turns),
        HUB_TEST(who_comes_and_goes_meanwhile),
        HUB_TEST(a_shutdown_says_first_what_is_still_to_be_said),
        HUB_TEST(events_that_wait_are_bounded),
        HUB_TEST(heartbeats_are_spread),
        HUB_TEST(a_client_that_goes_is_forgotten),
        HUB_TEST(a_shutdown_tells_poster_and_followers_what_each_needs),
        SWEEPER_TEST(a_round_clears_away_what_attempts_left),
        SWEEPER_TEST(a_shutdown_in_the_look_leaves_it_to_the_next_start),
        SWEEPER_TEST(a_shutdown_in_the_removal_leaves_it_to_the_next_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
