#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>

#include "base/buf.h"
#include "worker/deflate_pool.h"

#define PIECE ((size_t)256 << 10)
#define THREADS 3

/* Numbers that are the same in every run. */
static uint64_t state = 88172645463325252ull;

static uint32_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

enum kind { ZEROES, NOISE, COPIES, KINDS };

/* Noise cannot be compressed; copies are of what lies up to 70,000 bytes before, farther than a window. */
static uint8_t *make_input(enum kind kind, size_t length)
{
    uint8_t *data = test_calloc(1, length + 1);
    for (size_t i = 0; kind == NOISE && i < length; i++)
        data[i] = (uint8_t)next_random();
    for (size_t i = 0, end; kind == COPIES && i < length;) {
        end = i + 1 + next_random() % 300;
        end = end < length ? end : length;
        size_t back = i > 0 && next_random() % 3 ? 1 + next_random() % (i < 70000 ? i : 70000) : 0;
        for (; i < end; i++)
            data[i] = back ? data[i - back] : (uint8_t)(next_random() % 64);
    }
    return data;
}

static bool keep(void *context, const void *data, size_t length, struct error *e)
{
    (void)e;
    buf_append(context, data, length);
    return true;
}

static struct deflate_pool *pool_new(uint32_t threads, struct buf *taken)
{
    struct error e;
    struct deflate_pool *d = deflate_pool_new(threads, keep, taken, &e);
    assert_non_null(d);
    return d;
}

/* In pieces of at most `step` bytes; 0: each of another size. */
static struct deflate_sums deflate_all(struct deflate_pool *d, const uint8_t *data, size_t length, size_t step)
{
    struct error e;
    struct deflate_sums sums;
    for (size_t at = 0, n; at < length; at += n) {
        n = step ? step : next_random() % 100000;
        n = n < length - at ? n : length - at;
        assert_true(deflate_pool_write(d, data + at, n, &e));
    }
    assert_true(deflate_pool_finish(d, &sums, &e));
    return sums;
}

static void assert_inflates_to(const struct buf *stream, const uint8_t *data, size_t length)
{
    uint8_t *back = test_malloc(length + 1);
    z_stream z = {.next_in = (void *)stream->data, .avail_in = (unsigned)stream->len, .next_out = back, .avail_out = (unsigned)length + 1};
    assert_int_equal(inflateInit2(&z, -15), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.avail_in, 0);
    assert_int_equal(z.total_out, length);
    assert_memory_equal(back, data, length);
    inflateEnd(&z);
    test_free(back);
}

static void assert_round_trip(struct deflate_pool *d, struct buf *taken, const uint8_t *data, size_t length)
{
    buf_clear(taken);
    struct deflate_sums sums = deflate_all(d, data, length, 0);
    assert_int_equal(sums.in, length);
    assert_int_equal(sums.out, taken->len);
    assert_int_equal(sums.crc32, crc32(0, data, (unsigned)length));
    assert_inflates_to(taken, data, length);
}

static void test_every_length_comes_back(void **unused)
{
    (void)unused;
    static const size_t lengths[] = {0, 1, 2, 15, 4096, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 7 * PIECE + 12345};
    struct buf taken = {.max = SIZE_MAX};
    struct deflate_pool *d = pool_new(THREADS, &taken);
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
        for (enum kind kind = 0; kind < KINDS; kind++) {
            uint8_t *data = make_input(kind, lengths[i]);
            assert_round_trip(d, &taken, data, lengths[i]);
            test_free(data);
        }
    deflate_pool_free(d);
    buf_release(&taken);
}

static void test_random_inputs_come_back(void **unused)
{
    (void)unused;
    struct buf taken = {.max = SIZE_MAX};
    struct deflate_pool *d = pool_new(THREADS, &taken);
    for (int i = 0; i < 300; i++) {
        size_t length = next_random() % (i % 3 ? 5000 : 2 * PIECE);
        uint8_t *data = make_input(next_random() % KINDS, length);
        assert_round_trip(d, &taken, data, length);
        test_free(data);
    }
    deflate_pool_free(d);
    buf_release(&taken);
}

static void test_incompressible_input_grows_little(void **unused)
{
    (void)unused;
    struct buf taken = {.max = SIZE_MAX};
    struct deflate_pool *d = pool_new(1, &taken);
    uint8_t *data = make_input(NOISE, 4 * PIECE);
    struct deflate_sums sums = deflate_all(d, data, 4 * PIECE, 0);
    assert_in_range(sums.out, 4 * PIECE, 4 * PIECE + 4096);
    deflate_pool_free(d);
    buf_release(&taken);
    test_free(data);
}

static void test_stream_depends_on_the_input_alone(void **unused)
{
    (void)unused;
    static const struct {
        uint32_t threads;
        size_t step;
    } ways[] = {{1, 100000}, {THREADS, 777}, {1000, 3 * PIECE}};
    size_t length = 9 * PIECE + 99;
    uint8_t *data = make_input(COPIES, length);
    struct buf first = {.max = SIZE_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct buf taken = {.max = SIZE_MAX};
        struct deflate_pool *d = pool_new(ways[i].threads, &taken);
        deflate_all(d, data, length, ways[i].step);
        deflate_pool_free(d);
        if (i == 0) {
            first = taken;
            continue;
        }
        assert_int_equal(taken.len, first.len);
        assert_memory_equal(taken.data, first.data, first.len);
        buf_release(&taken);
    }
    buf_release(&first);
    test_free(data);
}

static void test_streams_follow_each_other(void **unused)
{
    (void)unused;
    struct buf taken = {.max = SIZE_MAX};
    struct deflate_pool *d = pool_new(2, &taken);
    uint8_t *data = make_input(COPIES, 40000);
    for (size_t i = 0; i < 200; i++)
        assert_round_trip(d, &taken, data + i, i * i % 20000);
    deflate_pool_free(d);
    buf_release(&taken);
    test_free(data);
}

static void test_processor_time_is_counted(void **unused)
{
    (void)unused;
    struct buf taken = {.max = SIZE_MAX};
    struct deflate_pool *d = pool_new(2, &taken);
    uint8_t *data = make_input(COPIES, 8 * PIECE);
    deflate_all(d, data, 8 * PIECE, 0);
    assert_in_range(deflate_pool_cpu_ns(d), 100000, 60ull * 1000 * 1000 * 1000);
    deflate_pool_free(d);
    buf_release(&taken);
    test_free(data);
}

static void test_freed_while_threads_work(void **unused)
{
    (void)unused;
    uint8_t *data = make_input(COPIES, 12 * PIECE);
    for (size_t i = 0; i < 30; i++) {
        struct buf taken = {.max = SIZE_MAX};
        struct error e;
        struct deflate_pool *d = pool_new(THREADS, &taken);
        assert_true(deflate_pool_write(d, data, (i * 100000) % (12 * PIECE), &e));
        deflate_pool_free(d);
        buf_release(&taken);
    }
    deflate_pool_free(NULL);
    test_free(data);
}

static bool take_some(void *context, const void *data, size_t length, struct error *e)
{
    (void)data;
    (void)length;
    return --*(int *)context > 0 || error_set(e, ERROR_CANCELLED, "enough");
}

static bool write_and_finish(struct deflate_pool *d, const uint8_t *data, size_t length, struct error *e)
{
    struct deflate_sums sums;
    return deflate_pool_write(d, data, length, e) && deflate_pool_finish(d, &sums, e);
}

static void test_error_of_the_taker(void **unused)
{
    (void)unused;
    size_t length = 20 * PIECE;
    uint8_t *data = make_input(COPIES, length);
    for (int left = 1; left <= 21; left += 5) { /* the last one: at the block that ends the stream */
        int count = left;
        struct error e = {0};
        struct deflate_pool *d = deflate_pool_new(THREADS, take_some, &count, &e);
        assert_non_null(d);
        assert_false(write_and_finish(d, data, length, &e));
        assert_int_equal(e.code, ERROR_CANCELLED);
        assert_int_equal(count, 0);
        deflate_pool_free(d);
    }
    test_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length_comes_back),
        cmocka_unit_test(test_random_inputs_come_back),
        cmocka_unit_test(test_incompressible_input_grows_little),
        cmocka_unit_test(test_stream_depends_on_the_input_alone),
        cmocka_unit_test(test_streams_follow_each_other),
        cmocka_unit_test(test_processor_time_is_counted),
        cmocka_unit_test(test_freed_while_threads_work),
        cmocka_unit_test(test_error_of_the_taker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
