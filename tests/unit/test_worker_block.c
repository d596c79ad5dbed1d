/* Blocks of encoded rows: that nothing is lost between blocks, that threads are held back at the limit, and that they
 * are not while the job thread waits. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
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
        assert_true(block_writer_begin(&w, pool));
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

/* Writes a list of many blocks and puts it where the test finds it, again and again. */
struct encoder_thread {
    struct block_pool *pool;
    pthread_t thread;
    size_t rounds, blocks; /* a list has so many */
    sem_t written;
    struct block *lists[64];
};

static void *write_lists(void *context)
{
    struct encoder_thread *t = context;
    for (size_t i = 0; i < t->rounds; i++) {
        struct block_writer w;
        assert_true(block_writer_begin(&w, t->pool));
        for (size_t k = 1; k < t->blocks; k++)
            assert_non_null(block_writer_more(&w, w.at, 1));
        t->lists[i] = block_writer_end(&w, 1);
        sem_post(&t->written);
    }
    return NULL;
}

static void start(struct encoder_thread *t)
{
    assert_int_equal(sem_init(&t->written, 0, 0), 0);
    assert_int_equal(pthread_create(&t->thread, NULL, write_lists, t), 0);
}

#define FULL (BLOCKS_LIMIT / BLOCK_SIZE + 1) /* blocks that are more than the limit */

static bool waits_in_vain(sem_t *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return sem_timedwait(s, &until) < 0;
}

static void a_thread_beyond_the_limit_waits_until_something_is_taken(void **state)
{
    (void)state;
    struct encoder_thread t = {.pool = block_pool_new(), .rounds = 3, .blocks = FULL};
    start(&t);
    for (size_t i = 0; i < t.rounds; i++) {
        sem_wait(&t.written);
        assert_true(i + 1 == t.rounds || waits_in_vain(&t.written)); /* the next one does not come */
        block_pool_give_back(t.pool, t.lists[i]);
    }
    pthread_join(t.thread, NULL);
    block_pool_free(t.pool);
}

/* What the job thread waits for may be what a thread beyond the limit has. */
static void nobody_is_held_back_while_the_job_thread_waits(void **state)
{
    (void)state;
    struct encoder_thread t = {.pool = block_pool_new(), .rounds = 5, .blocks = FULL};
    block_pool_wait_begins(t.pool);
    start(&t);
    for (size_t i = 0; i < t.rounds; i++)
        sem_wait(&t.written);
    block_pool_wait_ends(t.pool);
    pthread_join(t.thread, NULL);
    for (size_t i = 0; i < t.rounds; i++)
        block_pool_give_back(t.pool, t.lists[i]);
    block_pool_free(t.pool);
}

static void the_job_thread_itself_never_waits(void **state)
{
    (void)state;
    struct encoder_thread t = {.pool = block_pool_new(), .rounds = 4, .blocks = FULL};
    assert_int_equal(sem_init(&t.written, 0, 0), 0);
    write_lists(&t);
    for (size_t i = 0; i < t.rounds; i++)
        block_pool_give_back(t.pool, t.lists[i]);
    block_pool_free(t.pool);
}

static void an_open_pool_holds_nobody_back(void **state)
{
    (void)state;
    struct encoder_thread t = {.pool = block_pool_new(), .rounds = 3, .blocks = FULL};
    start(&t);
    sem_wait(&t.written);
    block_pool_open(t.pool);
    pthread_join(t.thread, NULL);
    for (size_t i = 0; i < t.rounds; i++)
        block_pool_give_back(t.pool, t.lists[i]);
    block_pool_free(t.pool);
}

static void what_failed_goes_back(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    for (size_t i = 0; i < 4; i++) {
        assert_true(block_writer_begin(&w, pool));
        for (size_t k = 1; k < FULL; k++)
            assert_non_null(block_writer_more(&w, w.at, 1));
        block_writer_discard(&w);
    }
    struct encoder_thread t = {.pool = pool, .rounds = 1, .blocks = 1}; /* would wait for ever */
    start(&t);
    pthread_join(t.thread, NULL);
    block_pool_give_back(pool, t.lists[0]);
    block_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_all_that_was_written),
        cmocka_unit_test(a_thread_beyond_the_limit_waits_until_something_is_taken),
        cmocka_unit_test(nobody_is_held_back_while_the_job_thread_waits),
        cmocka_unit_test(the_job_thread_itself_never_waits),
        cmocka_unit_test(an_open_pool_holds_nobody_back),
        cmocka_unit_test(what_failed_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
