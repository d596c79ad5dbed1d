#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/config.h"

static struct config config;
static struct buf problems, notes;

static bool load(const char *text, const char *const *environment)
{
    char path[] = "/tmp/config.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    buf_init(&problems, 1 << 16);
    buf_init(&notes, 1 << 16);
    bool ok = config_load(&config, path, (char *const *)environment, &problems, &notes);
    unlink(path);
    return ok;
}

static void done(void)
{
    config_release(&config);
    buf_release(&problems);
    buf_release(&notes);
}

static const char *const nothing[] = {NULL};

static void the_file_reads_as_meant(void **state)
{
    (void)state;
    const char *const environment[] = {"GOPIE_DS_QUEUE_SIZE=7", "GOPIE_DS_SERVER_HOST=", "HOME=/x", NULL};
    assert_true(load("# comment\n"
                     "GOPIE_DS_SERVER_HOST=localhost\r\n"
                     "GOPIE_DS_LOGGER_MODE=prod # 'dev' for pretty console logs, 'prod' for JSON\n"
                     "GOPIE_DS_QUEUE_SIZE=1000   # Max number of jobs waiting in the queue\n"
                     "export GOPIE_DS_DUCKDB_PATH='a b#c.duckdb'\n"
                     "GOPIE_DS_WORKER_USER=a#b\n"
                     "GOPIE_DS_WORKER_MEMORY=256MB\n"
                     "GOPIE_DS_JOB_TIMEOUT=5m\n"
                     "GOPIE_DS_TYPO=1\n",
                     environment));
    assert_string_equal(config.server_host, "localhost");
    assert_int_equal(config.log_mode, 1);
    assert_int_equal(config.queue_size, 7);
    assert_int_equal(config.queue_workers, 10);
    assert_string_equal(config.duckdb_path, "a b#c.duckdb");
    assert_string_equal(config.worker_user, "a#b");
    assert_int_equal(config.worker_memory, 256000000);
    assert_int_equal(config.job_timeout, 300000);
    assert_int_equal(config.s3_url_expiry, 86400000);
    assert_int_equal(config.job_store, JOB_STORE_SQLITE);
    assert_int_equal(config.object_store, OBJECT_STORE_LOCAL);
    assert_int_equal(config.source, SOURCE_DUCKDB);
    assert_non_null(strstr(notes.data, "GOPIE_DS_TYPO"));
    done();
}

static void all_that_is_wrong_is_said_at_once(void **state)
{
    (void)state;
    assert_false(load("GOPIE_DS_SERVER_PORT=-1\n"
                      "GOPIE_DS_LOGGER_LEVEL=loud\n"
                      "GOPIE_DS_QUEUE_WORKERS=18446744073709551616\n"
                      "GOPIE_DS_S3_SECRET_KEY='a\tb'\n"
                      "GOPIE_DS_POSTGRES_HOST=db\n"
                      "GOPIE_DS_PUBLIC_URL=ftp://x\n"
                      "GOPIE_DS_DATA_DIR=\"open\n",
                      nothing));
    const char *const lines[] = {"GOPIE_DS_SERVER_PORT: '-1'", "GOPIE_DS_LOGGER_LEVEL: 'loud'", "debug, info, warn, error",
                                 "GOPIE_DS_QUEUE_WORKERS: ", "from 1 to 256", "GOPIE_DS_S3_SECRET_KEY: '...'",
                                 "GOPIE_DS_POSTGRES_DB: missing", "GOPIE_DS_S3_BUCKET: missing",
                                 "GOPIE_DS_DUCKDB_PATH: missing", "ftp://x", "open quote"};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (!strstr(problems.data, lines[i]))
            fail_msg("no '%s' in:\n%s", lines[i], problems.data);
    done();
}

static void the_services_of_the_seed_are_chosen_by_their_variables(void **state)
{
    (void)state;
    const char *const environment[] = {
        "GOPIE_DS_S3_ACCESS_KEY=a", "GOPIE_DS_S3_SECRET_KEY=b", "GOPIE_DS_S3_ENDPOINT=http://localhost:9000",
        "GOPIE_DS_S3_BUCKET=downloads", "GOPIE_DS_MOTHERDUCK_DB_NAME=d", "GOPIE_DS_MOTHERDUCK_TOKEN=t",
        "GOPIE_DS_POSTGRES_HOST=localhost", "GOPIE_DS_POSTGRES_DB=g", "GOPIE_DS_POSTGRES_USER=p", NULL};
    assert_true(load("", environment));
    assert_int_equal(config.job_store, JOB_STORE_POSTGRES);
    assert_int_equal(config.object_store, OBJECT_STORE_S3);
    assert_int_equal(config.source, SOURCE_MOTHERDUCK);
    done();
}

static bool lease_ok(const char *lease, const char *renewal, uint64_t expect_ms)
{
    char a[64], b[64];
    snprintf(a, sizeof a, "GOPIE_DS_JOB_LEASE=%s", lease);
    snprintf(b, sizeof b, "GOPIE_DS_JOB_RENEWAL=%s", renewal);
    const char *const environment[] = {a, b, NULL};
    bool ok = load("GOPIE_DS_DUCKDB_PATH=x\n", environment);
    if (ok)
        assert_int_equal(config.job_renewal, expect_ms);
    else
        assert_non_null(strstr(problems.data, "GOPIE_DS_JOB_RENEWAL"));
    done();
    return ok;
}

static void a_lease_is_renewed_twice_in_its_time(void **state)
{
    (void)state;
    assert_true(lease_ok("", "", 5000));
    assert_true(lease_ok("2s", "", 500)); /* the default follows a short lease */
    assert_true(lease_ok("60s", "", 5000));
    assert_true(lease_ok("2s", "1s", 1000));
    assert_true(lease_ok("", "10s", 10000));
    assert_false(lease_ok("2s", "1001ms", 0));
    assert_false(lease_ok("", "11s", 0));
    assert_false(lease_ok("", "99ms", 0)); /* below its own limit */
}

static void the_queue_has_its_defaults_and_limits(void **state)
{
    (void)state;
    assert_true(load("GOPIE_DS_DUCKDB_PATH=x\n", nothing));
    assert_int_equal(config.job_lease, 20000);
    assert_int_equal(config.org_max_queued, 0);
    assert_int_equal(config.org_max_running, 0);
    assert_int_equal(config.max_attempts, 3);
    assert_int_equal(config.max_rescues, 10);
    assert_int_equal(config.retry_delay, 2000);
    assert_int_equal(config.stall_timeout, 300000);
    assert_int_equal(config.row_limit, 0);
    assert_int_equal(config.byte_limit, 0);
    done();
    static const char *const limits[] = {"GOPIE_DS_ROW_LIMIT=1000000000000000", "GOPIE_DS_BYTE_LIMIT=2GiB", NULL};
    assert_true(load("GOPIE_DS_DUCKDB_PATH=x\n", limits));
    assert_int_equal(config.row_limit, 1000000000000000);
    assert_int_equal(config.byte_limit, 2147483648);
    done();
    static const char *const bad[] = {"GOPIE_DS_ORG_MAX_QUEUED=0", "GOPIE_DS_MAX_ATTEMPTS=0", "GOPIE_DS_MAX_ATTEMPTS=101",
                                      "GOPIE_DS_MAX_RESCUES=0",    "GOPIE_DS_MAX_RESCUES=1001", "GOPIE_DS_RETRY_DELAY=61s",
                                      "GOPIE_DS_STALL_TIMEOUT=999ms", "GOPIE_DS_ORG_MAX_RUNNING=-1",
                                      "GOPIE_DS_ROW_LIMIT=1000000000000001", "GOPIE_DS_ROW_LIMIT=1k",
                                      "GOPIE_DS_BYTE_LIMIT=-1", "GOPIE_DS_BYTE_LIMIT=1025TiB"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *const environment[] = {bad[i], NULL};
        if (load("GOPIE_DS_DUCKDB_PATH=x\n", environment))
            fail_msg("%s was taken", bad[i]);
        assert_memory_equal(problems.data, bad[i], strcspn(bad[i], "="));
        done();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_reads_as_meant),
        cmocka_unit_test(all_that_is_wrong_is_said_at_once),
        cmocka_unit_test(a_lease_is_renewed_twice_in_its_time),
        cmocka_unit_test(the_queue_has_its_defaults_and_limits),
        cmocka_unit_test(the_services_of_the_seed_are_chosen_by_their_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
