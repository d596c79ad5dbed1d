/* The pool of spares over real workers. WORKER and SOURCE say which program and which DuckDB file: to the pool one source is
 * as good as the other. Run by test_worker_pool.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/spill.h"
#include "server/worker_pool.h"

#define DEADLINE_MS 30000
#define TURN_MS 10

struct fixture {
    struct event_base *base;
    struct mailbox *mailbox;
    struct task_queue *housekeeping;
    struct worker_spec spec;
    struct worker_pool *pool;
    char root[32], spill[64];
};

static void set_up(struct fixture *f, const char *source, uint64_t open_timeout_ms, uint64_t idle_ms)
{
    struct error e;
    *f = (struct fixture){.base = event_base_new(), .mailbox = mailbox_new(&e), .root = "/tmp/worker-pool.XXXXXX"};
    const struct task_queue_options housekeeping = {.name = "housekeeping", .threads = 1, .done = f->mailbox};
    f->housekeeping = task_queue_new(&housekeeping, &e);
    assert_non_null(mkdtemp(f->root));
    snprintf(f->spill, sizeof f->spill, "%s/spill", f->root);
    assert_true(spill_open(f->spill, &e));
    f->spec = (struct worker_spec){
        .source_path = (char *)source,
        .source_wait_ms = DEADLINE_MS,
        .memory_limit = 256 << 20,
        .spill_limit = 1 << 30,
        .threads = 1};
    const struct worker_pool_options options = {.base = f->base,
                                                .housekeeping = f->housekeeping,
                                                .program = getenv("WORKER"),
                                                .spill_root = f->spill,
                                                .spec = &f->spec,
                                                .spares = 2,
                                                .open_timeout_ms = open_timeout_ms,
                                                .idle_ms = idle_ms};
    f->pool = worker_pool_new(&options, &e);
    assert_non_null(f->pool);
    worker_pool_start(f->pool);
}

static int children(void)
{
    char path[64];
    int count = 0, pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fscanf(file, "%d", &pid) == 1)
        count++;
    fclose(file);
    return count;
}

static void turn(struct fixture *f)
{
    event_base_loop(f->base, EVLOOP_NONBLOCK);
    mailbox_drain(f->mailbox);
    usleep(TURN_MS * 1000); /* the loop's events are polled for */
}

static void wait_for_children(struct fixture *f, int count)
{
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    while (children() != count) {
        assert_true(clock_monotonic_ms() < deadline);
        turn(f);
    }
}

static void tear_down(struct fixture *f)
{
    struct error e;
    task_queue_free(f->housekeeping);
    mailbox_drain(f->mailbox);
    worker_pool_free(f->pool);
    mailbox_free(f->mailbox);
    event_base_free(f->base);
    assert_int_equal(children(), 0);
    assert_int_equal(rmdir(f->spill), 0); /* empty: nobody has left a directory */
    assert_true(spill_remove(f->root, &e));
}

static void none_is_kept_when_nobody_comes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, getenv("SOURCE"), DEADLINE_MS, 1000);
    wait_for_children(&f, 2);
    wait_for_children(&f, 0);
    struct pooled_worker none;
    assert_false(worker_pool_take(f.pool, &none)); /* but that is a sign of life */
    wait_for_children(&f, 2);
    tear_down(&f);
}

static void ignore_message(void *context, const struct link_message *m)
{
    *(bool *)context |= m->type == LINK_READY;
}

static void note_exit(void *context, const char *how)
{
    (void)how;
    *(bool *)context = true;
}

static void one_is_handed_over_with_its_directory(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, getenv("SOURCE"), DEADLINE_MS, DEADLINE_MS);
    wait_for_children(&f, 2);
    struct pooled_worker taken;
    bool noted = false;
    const struct worker_process_events events = {.message = ignore_message, .exited = note_exit};
    assert_true(worker_pool_take(f.pool, &taken));
    worker_process_hand_over(taken.process, "0190163d-8694-739b-aea5-966c26f8ad91", &events, &noted);
    assert_int_equal(access(taken.spill_dir, F_OK), 0);
    wait_for_children(&f, 3); /* another in its place */
    noted = false;
    worker_process_kill(taken.process);
    for (int64_t deadline = clock_monotonic_ms() + DEADLINE_MS; !noted && clock_monotonic_ms() < deadline;)
        turn(&f);
    assert_true(noted);
    struct error e;
    assert_true(spill_remove(taken.spill_dir, &e));
    free(taken.spill_dir);
    worker_pool_stop(f.pool);
    wait_for_children(&f, 0);
    assert_false(worker_pool_take(f.pool, &taken)); /* and nobody is woken any more */
    turn(&f);
    assert_int_equal(children(), 0);
    tear_down(&f);
}

static void one_that_cannot_open_is_not_tried_at_once(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, "/nonexistent/file.duckdb", DEADLINE_MS, DEADLINE_MS);
    wait_for_children(&f, 2);
    wait_for_children(&f, 0);
    struct pooled_worker none;
    for (int i = 0; i < 20; i++) {
        assert_false(worker_pool_take(f.pool, &none));
        turn(&f);
        assert_int_equal(children(), 0);
    }
    tear_down(&f);
}

static void one_that_takes_too_long_is_killed(void **state)
{
    (void)state;
    struct fixture f;
    /* The file has a writer, us: a worker waits for it. */
    int fd = open(getenv("SOURCE"), O_RDWR | O_CLOEXEC);
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
    set_up(&f, getenv("SOURCE"), 500, DEADLINE_MS);
    wait_for_children(&f, 2);
    wait_for_children(&f, 0);
    close(fd);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_kept_when_nobody_comes),
        cmocka_unit_test(one_is_handed_over_with_its_directory),
        cmocka_unit_test(one_that_cannot_open_is_not_tried_at_once),
        cmocka_unit_test(one_that_takes_too_long_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
