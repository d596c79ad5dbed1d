#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "worker/output.h"

#define PART_SIZE 64
#define PART_COUNT 2

/* Plays the server: a thread that takes announced parts out of a pipe, keeps their bytes, and frees the
 * buffers. */
struct taker {
    struct parts *parts;
    struct output *output;
    struct buf taken;
    size_t part_count, last_length;
    bool short_part_before_last;
    int pipe[2];
    pthread_t thread;
};

struct announced {
    size_t index, length; /* no padding between them: it goes through a pipe */
};

static bool announce(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e)
{
    (void)sha256;
    struct taker *t = context;
    const struct announced a = {index, length};
    return write(t->pipe[1], &a, sizeof a) == sizeof a || error_set(e, ERROR_WORKER, "the pipe is closed");
}

static void *take(void *context)
{
    struct taker *t = context;
    struct announced a;
    while (read(t->pipe[0], &a, sizeof a) == sizeof a) {
        t->short_part_before_last =
            t->short_part_before_last || (t->part_count > 0 && t->last_length != PART_SIZE);
        t->part_count++;
        t->last_length = a.length;
        buf_append(&t->taken, parts_buffer(t->parts, a.index), a.length);
        memset(parts_buffer(t->parts, a.index), '!',
               PART_SIZE); /* what is freed is not the file's any more */
        if (!output_free_buffer(t->output, a.index))
            t->short_part_before_last = true;
    }
    return NULL;
}

static void taker_init(struct taker *t)
{
    struct error e = {0};
    *t = (struct taker){.parts = parts_new(PART_COUNT, PART_SIZE, &e)};
    assert_non_null(t->parts);
    buf_init(&t->taken, 1 << 20);
    assert_int_equal(pipe(t->pipe), 0);
    t->output = output_new(t->parts, false, announce, t, &e);
    assert_non_null(t->output);
}

static void taker_start(struct taker *t)
{
    assert_int_equal(pthread_create(&t->thread, NULL, take, t), 0);
}

static void taker_join(struct taker *t)
{
    close(t->pipe[1]);
    pthread_join(t->thread, NULL);
    close(t->pipe[0]);
}

static void taker_release(struct taker *t)
{
    output_free(t->output);
    parts_free(t->parts);
    buf_release(&t->taken);
}

static void bytes_arrive_whole_in_full_parts(void **state)
{
    (void)state;
    struct taker t;
    struct error e = {0};
    struct buf written;
    uint8_t digest[SHA256_BYTES], expected[SHA256_BYTES];
    taker_init(&t);
    taker_start(&t);
    buf_init(&written, 1 << 20);
    for (size_t i = 0; i < 500; i++) {
        char text[300];
        size_t length = i % 7 == 0 ? 3 * PART_SIZE + i % 50 : i % 40;
        memset(text, (int)('a' + i % 26), sizeof text);
        buf_append(&written, text, length);
        assert_true(output_write(t.output, text, length, &e));
        buf_append(&written, "\n", 1);
        assert_true(output_write(t.output, "\n", 1, &e));
        assert_int_equal(output_bytes(t.output), written.len);
    }
    assert_true(output_finish(t.output, digest, &e));
    taker_join(&t);
    assert_int_equal(t.taken.len, written.len);
    assert_memory_equal(t.taken.data, written.data, written.len);
    assert_false(t.short_part_before_last);
    assert_int_equal(t.part_count, (written.len + PART_SIZE - 1) / PART_SIZE);
    struct sha256 *h = sha256_new();
    sha256_update(h, written.data, written.len);
    sha256_final(h, expected);
    sha256_free(h);
    assert_memory_equal(digest, expected, sizeof digest);
    buf_release(&written);
    taker_release(&t);
}

static void a_file_of_whole_parts_has_no_empty_one(void **state)
{
    (void)state;
    struct taker t;
    struct error e = {0};
    uint8_t digest[SHA256_BYTES];
    char full[2 * PART_SIZE];
    memset(full, 'x', sizeof full);
    taker_init(&t);
    taker_start(&t);
    assert_true(output_write(t.output, full, sizeof full, &e));
    assert_true(output_finish(t.output, digest, &e));
    taker_join(&t);
    assert_int_equal(t.part_count, 2);
    assert_int_equal(t.last_length, PART_SIZE);
    taker_release(&t);
}

static void *cancel(void *context)
{
    output_cancel(context);
    return NULL;
}

/* Nobody frees a buffer: the writer waits in the third part until it is cancelled. */
static void a_writer_that_waits_is_cancelled(void **state)
{
    (void)state;
    struct taker t;
    struct error e = {0};
    pthread_t thread;
    char data[3 * PART_SIZE];
    memset(data, 'x', sizeof data);
    taker_init(&t);
    assert_true(output_write(t.output, data, PART_COUNT * PART_SIZE, &e));
    assert_int_equal(pthread_create(&thread, NULL, cancel, t.output), 0);
    assert_false(output_write(t.output, data, PART_SIZE, &e));
    assert_int_equal(e.code, ERROR_CANCELLED);
    pthread_join(thread, NULL);
    close(t.pipe[0]);
    close(t.pipe[1]);
    taker_release(&t);
}

static void only_what_is_away_can_be_freed(void **state)
{
    (void)state;
    struct taker t;
    struct error e = {0};
    char data[PART_SIZE + 1] = {0};
    taker_init(&t);
    assert_false(output_free_buffer(t.output, 0));          /* never handed over */
    assert_false(output_free_buffer(t.output, PART_COUNT)); /* no such buffer */
    assert_true(output_write(t.output, data, sizeof data, &e));
    assert_true(output_free_buffer(t.output, 0));
    assert_false(output_free_buffer(t.output, 0)); /* twice */
    assert_false(output_free_buffer(t.output, 1)); /* being filled */
    close(t.pipe[0]);
    close(t.pipe[1]);
    taker_release(&t);
}

static void an_announcement_that_fails_is_told(void **state)
{
    (void)state;
    struct taker t;
    struct error e = {0};
    uint8_t digest[SHA256_BYTES];
    taker_init(&t);
    close(t.pipe[1]);
    t.pipe[1] = -1;
    assert_true(output_write(t.output, "x", 1, &e));
    assert_false(output_finish(t.output, digest, &e));
    assert_int_equal(e.code, ERROR_WORKER);
    close(t.pipe[0]);
    taker_release(&t);
}

struct record {
    struct announced parts[8];
    size_t count;
};

static bool record_part(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e)
{
    struct record *r = context;
    (void)e;
    assert_null(sha256);
    r->parts[r->count++] = (struct announced){index, length};
    return true;
}

/* The buffer that is being filled is filled to its end, then only the larger ones are. */
static void larger_buffers_follow_the_first(void **state)
{
    (void)state;
    struct error e = {0};
    struct record r = {0};
    uint8_t digest[SHA256_BYTES];
    struct parts *first = parts_new(PART_COUNT, PART_SIZE, &e), *grown = parts_new(2, 4 * PART_SIZE, &e);
    assert_true(first && grown);
    struct output *o = output_new(first, false, record_part, &r, &e);
    assert_non_null(o);
    char data[10 * PART_SIZE];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)i;
    assert_true(output_write(o, data, PART_SIZE + 1, &e)); /* one is away, one is being filled */
    assert_true(output_grow(o, grown));
    assert_false(output_grow(o, grown));
    assert_true(output_free_buffer(o, 0)); /* is used no more */
    assert_true(output_write(o, data + PART_SIZE + 1, 9 * PART_SIZE - 1, &e));
    assert_true(output_free_buffer(o, PART_COUNT));
    assert_false(output_free_buffer(o, PART_COUNT)); /* twice */
    assert_true(output_write(o, data, 1, &e));
    assert_true(output_finish(o, digest, &e));
    const struct announced expected[] = {{0, PART_SIZE},
                                         {1, PART_SIZE},
                                         {PART_COUNT, 4 * PART_SIZE},
                                         {PART_COUNT + 1, 4 * PART_SIZE},
                                         {PART_COUNT, 1}};
    assert_int_equal(r.count, ARRAY_SIZE(expected));
    for (size_t i = 0; i < r.count; i++) {
        assert_int_equal(r.parts[i].index, expected[i].index);
        assert_int_equal(r.parts[i].length, expected[i].length);
    }
    assert_memory_equal(grown->base + 1, data + 2 * PART_SIZE + 1, 8 * PART_SIZE - 1);
    output_free(o);
    parts_free(first);
    parts_free(grown);
}

struct hashed {
    struct parts *parts;
    struct output *output;
    size_t count;
};

static bool check_hash(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e)
{
    struct hashed *h = context;
    uint8_t expected[SHA256_BYTES];
    (void)e;
    assert_non_null(sha256);
    assert_true(sha256_of(parts_buffer(h->parts, index), length, expected));
    assert_memory_equal(sha256, expected, sizeof expected);
    h->count++;
    return output_free_buffer(h->output, index);
}

static void each_part_is_hashed_by_itself(void **state)
{
    (void)state;
    struct error e = {0};
    struct hashed h = {.parts = parts_new(PART_COUNT, PART_SIZE, &e)};
    uint8_t digest[SHA256_BYTES], expected[SHA256_BYTES];
    char data[10 * PART_SIZE + 7];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    h.output = output_new(h.parts, true, check_hash, &h, &e);
    assert_non_null(h.output);
    for (size_t at = 0, step = 1; at < sizeof data; at += step, step = step % 90 + 1) {
        if (step > sizeof data - at)
            step = sizeof data - at;
        assert_true(output_write(h.output, data + at, step, &e));
    }
    assert_true(output_finish(h.output, digest, &e));
    assert_int_equal(h.count, 11);
    assert_true(sha256_of(data, sizeof data, expected));
    assert_memory_equal(digest, expected, sizeof expected);
    output_free(h.output);
    parts_free(h.parts);
}

/* The secret begins at each byte of the first part; where it ends, that part is not announced. */
static void a_part_with_the_end_of_a_secret_is_not_announced(void **state)
{
    (void)state;
    static const char secret[] = "a secret of 40 bytes, 0123456789 abcdefg";
    for (size_t before = 0; before < PART_SIZE; before++) {
        struct taker t;
        struct error e = {0};
        uint8_t digest[SHA256_BYTES];
        char pad[PART_SIZE];
        struct secret_patterns *secrets = secret_patterns_new(secret, &e);
        memset(pad, 'x', sizeof pad);
        taker_init(&t);
        taker_start(&t);
        output_watch(t.output, secrets);
        assert_false(output_write(t.output, pad, before, &e) &&
                     output_write(t.output, secret, sizeof secret - 1, &e) &&
                     output_write(t.output, pad, sizeof pad, &e) && output_finish(t.output, digest, &e));
        assert_int_equal(e.code, ERROR_SECRET);
        taker_join(&t);
        assert_int_equal(t.part_count, (before + sizeof secret - 2) / PART_SIZE);
        taker_release(&t);
        secret_patterns_free(secrets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_whole_in_full_parts),
        cmocka_unit_test(a_file_of_whole_parts_has_no_empty_one),
        cmocka_unit_test(a_writer_that_waits_is_cancelled),
        cmocka_unit_test(only_what_is_away_can_be_freed),
        cmocka_unit_test(an_announcement_that_fails_is_told),
        cmocka_unit_test(larger_buffers_follow_the_first),
        cmocka_unit_test(each_part_is_hashed_by_itself),
        cmocka_unit_test(a_part_with_the_end_of_a_secret_is_not_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
