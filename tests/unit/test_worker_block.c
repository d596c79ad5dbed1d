/* Blocks of encoded rows: that nothing is lost between blocks, and that what comes back is used again, by one at a
 * time. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"
#include "worker/block.h"

static void a_list_has_all_that_was_written(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    assert_non_null(pool);
    for (int again = 0; again < 3; again++) { /* from the second time on the blocks were used before */
        assert_true(block_writer_begin(&w, pool, 0));
        uint32_t count = 0;
        for (uint32_t i = 0; i < 300000; i++) {
            w.at = block_writer_room(&w, w.at, i == 1000 ? 2 * BLOCK_SIZE : sizeof i);
            assert_non_null(w.at);
            memcpy(w.at, &i, sizeof i);
            w.at += sizeof i;
        }
        struct block *list = block_writer_end(&w, 7);
        assert_int_equal(list->rows, 7);
        for (const struct block *b = list; b; b = b->next)
            for (size_t at = 0; at < b->length; at += sizeof count, count++)
                assert_memory_equal(b->data + at, &count, sizeof count);
        assert_int_equal(count, 300000);
        block_pool_give_back(pool, list);
    }
    block_pool_free(pool);
}

static void a_list_says_what_it_holds(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    size_t held = 0, blocks = 0;
    assert_true(block_writer_begin(&w, pool, 0));
    assert_non_null(block_writer_more(&w, w.at, 1));
    assert_non_null(block_writer_more(&w, w.at, 3 * BLOCK_SIZE));
    assert_non_null(block_writer_more(&w, w.at, BLOCK_CAPACITY));
    struct block *list = block_writer_end(&w, 1);
    for (const struct block *b = list; b; b = b->next, blocks++)
        held += b->capacity;
    assert_int_equal(blocks, 4);
    assert_int_equal(list->held, held);
    assert_int_equal(held, 3 * BLOCK_CAPACITY + 3 * BLOCK_SIZE);
    block_pool_give_back(pool, list);
    block_pool_free(pool);
}

/* Rows of 0 to 299 bytes, every third altered; some lie across blocks, and one is larger than a block. */
#define ROWS 2000

static struct block *write_marked_rows(struct block_pool *pool, uint64_t ends[ROWS])
{
    struct block_writer w;
    uint64_t written = 0;
    assert_true(block_writer_begin(&w, pool, ROWS));
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t left = row == 700 ? 2 * BLOCK_SIZE : row * 7 % 300; left > 0; left--) {
            w.at = block_writer_room(&w, w.at, 1);
            assert_non_null(w.at);
            *w.at++ = (uint8_t)(written++ % 251);
        }
        w.altered += row % 3 == 0;
        block_writer_end_row(&w, w.at);
        ends[row] = written;
    }
    return block_writer_end(&w, ROWS);
}

static void rows_are_marked_where_they_end(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_new();
    uint64_t ends[ROWS];
    struct block *list = write_marked_rows(pool, ends);
    size_t held = ROWS * sizeof *list->row_ends;
    for (size_t row = 0; row < ROWS; row++) {
        assert_int_equal(list->row_ends[row].bytes, ends[row]);
        assert_int_equal(list->row_ends[row].altered, row / 3 + 1);
    }
    for (const struct block *b = list; b; b = b->next)
        held += b->capacity;
    assert_int_equal(list->held, held);
    block_pool_give_back(pool, list);
    block_pool_free(pool);
}

static void a_list_is_cut_behind_any_row(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_new();
    for (size_t rows = 0; rows <= ROWS; rows += rows < 5 || rows >= ROWS - 5 ? 1 : 37) {
        uint64_t ends[ROWS], bytes = 0;
        struct block *list = write_marked_rows(pool, ends);
        block_list_cut(list, rows);
        assert_int_equal(list->rows, rows);
        assert_int_equal(list->altered, (rows + 2) / 3);
        for (const struct block *b = list; b; b = b->next)
            for (size_t at = 0; at < b->length; at++, bytes++)
                assert_int_equal(b->data[at], bytes % 251);
        assert_int_equal(bytes, rows > 0 ? ends[rows - 1] : 0);
        block_pool_give_back(pool, list);
    }
    block_pool_free(pool);
}

static void a_list_without_marks_has_none(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_new();
    uint64_t ends[ROWS];
    block_pool_give_back(pool, write_marked_rows(pool, ends)); /* the next one gets its block */
    struct block_writer w;
    assert_true(block_writer_begin(&w, pool, 0));
    block_writer_end_row(&w, w.at);
    struct block *list = block_writer_end(&w, 1);
    assert_null(list->row_ends);
    block_pool_give_back(pool, list);
    block_pool_free(pool);
}

/* Many more than are made at a time: those that come back are used again, whoever had them. */
static void what_comes_back_is_used_again(void **state)
{
    (void)state;
    enum { LISTS = 40 };
    struct block_pool *pool = block_pool_new();
    struct block *lists[LISTS], *again[LISTS];
    struct block_writer w;
    for (size_t i = 0; i < LISTS; i++) {
        assert_true(block_writer_begin(&w, pool, 0));
        lists[i] = block_writer_end(&w, i);
        memset(lists[i]->data, 'x', BLOCK_CAPACITY);
    }
    for (size_t i = 0; i < LISTS; i++)
        block_pool_give_back(pool, lists[i]);
    for (size_t i = 0; i < LISTS; i++) {
        assert_true(block_writer_begin(&w, pool, 0));
        again[i] = block_writer_end(&w, i);
        size_t found = 0;
        for (size_t k = 0; k < LISTS; k++)
            found += lists[k] == again[i];
        assert_int_equal(found, 1);
        assert_null(again[i]->next);
    }
    for (size_t i = 0; i < LISTS; i++)
        block_pool_give_back(pool, again[i]);
    block_pool_free(pool);
}

static void what_failed_goes_back(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    assert_true(block_writer_begin(&w, pool, 0));
    struct block *first = w.first;
    assert_non_null(block_writer_more(&w, w.at, 2 * BLOCK_SIZE));
    block_writer_discard(&w);
    assert_true(block_writer_begin(&w, pool, 0));
    assert_ptr_equal(w.first, first);
    block_writer_discard(&w);
    block_pool_free(pool);
}

/* Threads write while another one takes and gives back. */
#define THREADS 3
#define ROUNDS 2000

struct shelf {
    struct block_pool *pool;
    pthread_mutex_t lock;
    struct block *lists; /* by `next` of their last blocks */
    size_t count;
};

static void *write_lists(void *context)
{
    struct shelf *s = context;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct block_writer w;
        assert_true(block_writer_begin(&w, s->pool, 0));
        for (uint32_t k = 0; k < 20; k++) {
            w.at = block_writer_room(&w, w.at, BLOCK_SIZE / 7);
            assert_non_null(w.at);
            memcpy(w.at, &i, sizeof i);
            w.at += sizeof i;
        }
        struct block *list = block_writer_end(&w, i), *last = list;
        while (last->next)
            last = last->next;
        pthread_mutex_lock(&s->lock);
        last->next = s->lists;
        s->lists = list;
        s->count++;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static void threads_do_not_share_a_block(void **state)
{
    (void)state;
    struct shelf s = {.pool = block_pool_new(), .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[THREADS];
    size_t numbers = 0;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lists, &s), 0);
    for (size_t lists = 0; lists < THREADS * ROUNDS;) {
        pthread_mutex_lock(&s.lock);
        struct block *taken = s.lists;
        lists += s.count;
        s.lists = NULL;
        s.count = 0;
        pthread_mutex_unlock(&s.lock);
        for (const struct block *b = taken; b; b = b->next) {
            uint32_t first, v;
            memcpy(&first, b->data, sizeof first);
            for (size_t at = 0; at < b->length; at += sizeof v, numbers++) {
                memcpy(&v, b->data + at, sizeof v);
                assert_int_equal(v, first); /* a block is one list's */
            }
        }
        block_pool_give_back(s.pool, taken);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(numbers, THREADS * ROUNDS * 20);
    block_pool_free(s.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_all_that_was_written),
        cmocka_unit_test(a_list_says_what_it_holds),
        cmocka_unit_test(rows_are_marked_where_they_end),
        cmocka_unit_test(a_list_is_cut_behind_any_row),
        cmocka_unit_test(a_list_without_marks_has_none),
        cmocka_unit_test(what_comes_back_is_used_again),
        cmocka_unit_test(what_failed_goes_back),
        cmocka_unit_test(threads_do_not_share_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
