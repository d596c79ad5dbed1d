#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "link/job_spec.h"
#include "link/worker_spec.h"
#include "link/message.h"
#include "link/parts.h"

static void messages_and_descriptors_arrive(void **state)
{
    (void)state;
    struct error e = {0};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    struct parts *sent = parts_new(2, 4096, &e);
    assert_non_null(sent);
    memcpy(parts_buffer(sent, 1), "hello", 5);
    struct link_message m = {.type = LINK_FAILED, .code = ERROR_QUERY, .text_length = 3, .text = "why"}, got;
    int fds[LINK_MAX_FDS];
    assert_int_equal(link_send(pair[0], &m, &sent->fd, 1, &e), LINK_OK);
    assert_int_equal(link_receive(pair[1], &got, fds, &e), LINK_OK);
    assert_int_equal(got.type, LINK_FAILED);
    assert_string_equal(got.text, "why");
    assert_int_equal(fds[1], -1);
    assert_null(parts_map(dup(fds[0]), 3, 4096, &e)); /* not the announced shape */
    struct parts *mapped = parts_map(fds[0], 2, 4096, &e);
    assert_non_null(mapped);
    assert_memory_equal(parts_buffer(mapped, 1), "hello", 5);
    assert_int_equal(ftruncate(mapped->fd, 0), -1);     /* sealed */
    assert_int_equal(ftruncate(mapped->fd, 1 << 20), -1);
    parts_free(mapped);
    parts_free(sent);
    close(pair[0]);
    assert_int_equal(link_receive(pair[1], &got, NULL, &e), LINK_CLOSED);
    close(pair[1]);
}

static void the_last_message_of_a_peer_that_is_gone_arrives(void **state)
{
    (void)state;
    struct error e = {0};
    int pair[2];
    struct link_message unread = {.type = LINK_FREE}, last = {.type = LINK_DONE, .rows = 7}, got;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(link_send(pair[0], &unread, NULL, 0, &e), LINK_OK);
    assert_int_equal(link_send(pair[1], &last, NULL, 0, &e), LINK_OK);
    close(pair[1]); /* with a message that it never read: the kernel calls that a reset */
    assert_int_equal(link_receive(pair[0], &got, NULL, &e), LINK_OK);
    assert_int_equal(got.type, LINK_DONE);
    assert_int_equal(got.rows, 7);
    assert_int_equal(link_receive(pair[0], &got, NULL, &e), LINK_CLOSED);
    close(pair[0]);
}

static void misshapen_messages_are_refused(void **state)
{
    (void)state;
    struct error e = {0};
    struct link_message m = {.type = LINK_PART}, got;
    size_t header = offsetof(struct link_message, text);
    assert_true(link_decode(&m, header, &got, &e));
    assert_false(link_decode(&m, header - 1, &got, &e));
    assert_false(link_decode(&m, header + 1, &got, &e));
    m.text_length = UINT32_MAX;
    assert_false(link_decode(&m, sizeof m, &got, &e));
    m = (struct link_message){.type = LINK_FAILED + 1};
    assert_false(link_decode(&m, header, &got, &e));
    m = (struct link_message){.type = LINK_FAILED, .code = ERROR_CODE_COUNT};
    assert_false(link_decode(&m, header, &got, &e));
    m = (struct link_message){.type = LINK_PROGRESS, .percent = 100.5};
    assert_false(link_decode(&m, header, &got, &e));
}

static void a_job_specification_survives_the_way(void **state)
{
    (void)state;
    struct error e = {0};
    struct job_spec spec = {
        .sql = (char *)"SELECT 'ä\x01\n\"'", .form = file_form_default(FILE_NDJSON), .part_count = 3, .part_size = 4 << 20,
    };
    int fd = job_spec_seal(&spec, &e);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), -1); /* sealed */
    struct job_spec got;
    assert_true(job_spec_read(fd, &got, &e));
    assert_string_equal(got.sql, spec.sql);
    assert_int_equal(got.form.format, FILE_NDJSON);
    assert_int_equal(got.part_count, 3);
    assert_true(got.part_size == spec.part_size);
    job_spec_release(&got);
    close(fd);

    spec.sql = (char *)"\xFF is not UTF-8";
    assert_int_equal(job_spec_seal(&spec, &e), -1);
    assert_int_equal(e.code, ERROR_INVALID);
}

static void a_worker_specification_survives_the_way(void **state)
{
    (void)state;
    struct error e = {0};
    const struct worker_spec spec = {
        .source = SOURCE_MOTHERDUCK, .database = (char *)"sales", .token = (char *)"the token",
        .extension_dir = (char *)"/x", .unsigned_extensions = true, .spill_dir = (char *)"/s",
        .memory_limit = 1ULL << 40, .spill_limit = 7, .threads = 4, .uid = 65534, .gid = 65533,
        .sandbox = SANDBOX_BEST_EFFORT,
    };
    int fd = worker_spec_seal(&spec, &e);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), -1);
    struct worker_spec got;
    assert_true(worker_spec_read(fd, &got, &e));
    assert_int_equal(got.source, SOURCE_MOTHERDUCK);
    assert_string_equal(got.source_path, "");
    assert_string_equal(got.database, "sales");
    assert_string_equal(got.token, "the token");
    assert_string_equal(got.extension_dir, "/x");
    assert_string_equal(got.spill_dir, "/s");
    assert_true(got.unsigned_extensions && got.memory_limit == spec.memory_limit && got.spill_limit == 7);
    assert_true(got.threads == 4 && got.uid == 65534 && got.gid == 65533 && got.sandbox == SANDBOX_BEST_EFFORT);
    worker_spec_release(&got);
    struct job_spec job;
    assert_false(job_spec_read(fd, &job, &e)); /* it is none */
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_and_descriptors_arrive),
        cmocka_unit_test(the_last_message_of_a_peer_that_is_gone_arrives),
        cmocka_unit_test(misshapen_messages_are_refused),
        cmocka_unit_test(a_job_specification_survives_the_way),
        cmocka_unit_test(a_worker_specification_survives_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
