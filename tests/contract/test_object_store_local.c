/* The suite for the local directory, and what only that has: modes, links, planted files, a full disk. */
#include "object_store_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/digest.h"

#define KEY "acme/0b4c2c1e-3f0e-4b7a-9a51-000000000001.csv"
#define SECOND INT64_C(1000000)

static char directory[64];
static struct mailbox *mailbox;
static struct object_store *store;

/* A directory of its own for each test */

static char *in_directory(const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
    return path;
}

static void make_directory(void)
{
    snprintf(directory, sizeof directory, "/tmp/test_object_store.XXXXXX");
    assert_non_null(mkdtemp(directory));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static struct object_store *open_in_directory(struct mailbox *done, struct error *e)
{
    _cleanup_free_ char *key_file = in_directory("link.key");
    return object_store_local_open(
        &(struct object_local_options){
            .directory = directory, .public_url = "http://files.example", .key_file = key_file, .done = done},
        e);
}

static unsigned count_entries(const char *name)
{
    _cleanup_free_ char *path = in_directory(name);
    _cleanup_closedir_ DIR *entries = opendir(path);
    assert_non_null(entries);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(entries));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    return count;
}

static unsigned count_temporary(void)
{
    return count_entries("tmp");
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    _cleanup_free_ char *path = in_directory(name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0 && fchmod(fd, mode) == 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static mode_t mode_of(const char *name)
{
    _cleanup_free_ char *path = in_directory(name);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* The suite's view */

static struct object_store *open_empty(struct mailbox *done)
{
    struct error e;
    make_directory();
    return open_in_directory(done, &e);
}

static bool fetch(const char *key, struct buf *ret)
{
    _cleanup_free_ char *name = NULL;
    assert_true(asprintf(&name, "files/%s", key) > 0);
    _cleanup_free_ char *path = in_directory(name);
    _cleanup_close_ int fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    static char chunk[1 << 20];
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) > 0;)
        buf_append(ret, chunk, (size_t)n);
    return buf_ok(ret);
}

static int open_store(void **state)
{
    (void)state;
    struct error e;
    mailbox = mailbox_new(&e);
    assert_non_null(mailbox);
    store = open_empty(mailbox);
    assert_non_null(store);
    return 0;
}

static int close_store(void **state)
{
    (void)state;
    store->api->close(store);
    mailbox_drain(mailbox);
    mailbox_free(mailbox);
    remove_directory();
    return 0;
}

static void reopen(void)
{
    struct error e;
    store->api->close(store);
    store = open_in_directory(mailbox, &e);
    assert_non_null(store);
}

static void assert_read(const char *key, const char *text)
{
    struct error e;
    struct object_local_file file;
    char got[64];
    if (!object_store_local_read(store, key, &file, &e))
        fail_msg("%s: %s", key, e.message);
    _cleanup_close_ int fd = file.fd;
    assert_int_equal(read(fd, got, sizeof got), strlen(text));
    assert_memory_equal(got, text, strlen(text));
    assert_int_equal(file.size, strlen(text));
}

static void assert_not_readable(const char *key)
{
    struct error e = {0};
    struct object_local_file file;
    assert_false(object_store_local_read(store, key, &file, &e));
    assert_int_equal(e.code, ERROR_NOT_FOUND);
}

/* Tests */

static void only_the_owner_may_read(void **state)
{
    (void)state;
    mode_t before = umask(0);
    put_object(store, mailbox, KEY, "abc");
    umask(before);
    assert_int_equal(mode_of("files"), 0700);
    assert_int_equal(mode_of("tmp"), 0700);
    assert_int_equal(mode_of("files/acme"), 0700);
    assert_int_equal(mode_of("files/" KEY), 0600);
    assert_int_equal(mode_of("link.key"), 0600);
}

static void a_key_that_is_there_is_not_replaced(void **state)
{
    (void)state;
    put_object(store, mailbox, KEY, "first");
    struct watched w;
    watched_begin(&w, store, KEY);
    send_part(store, w.upload, 0, "second", 6);
    store->api->finish(w.upload, 6);
    wait_for(mailbox, &w.failed);
    assert_int_equal(w.error.code, ERROR_STORAGE);
    assert_null(strchr(w.error.message, '/'));
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_read(KEY, "first");
    assert_int_equal(count_temporary(), 0);
}

static void read_tells_size_time_and_inode(void **state)
{
    (void)state;
    int64_t before = clock_wall_us() / SECOND - 1;
    put_object(store, mailbox, KEY, "abc");
    assert_read(KEY, "abc");
    struct error e;
    struct object_local_file file;
    assert_true(object_store_local_read(store, KEY, &file, &e));
    _cleanup_close_ int fd = file.fd;
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(file.inode, st.st_ino);
    assert_in_range(file.mtime_us / SECOND, before, clock_wall_us() / SECOND);
}

static void planted_files_are_not_followed(void **state)
{
    (void)state;
    write_file("secret", "secret", 0600);
    put_object(store, mailbox, "acme/good.csv", "good");
    _cleanup_free_ char *link_to_file = in_directory("files/acme/link.csv");
    _cleanup_free_ char *fifo = in_directory("files/acme/fifo.csv");
    _cleanup_free_ char *link_to_directory = in_directory("files/mallory");
    _cleanup_free_ char *inner = in_directory("files/acme/inner");
    assert_int_equal(symlink("../../secret", link_to_file), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("acme", link_to_directory), 0);
    assert_int_equal(mkdir(inner, 0700), 0);
    assert_not_readable("acme/link.csv");
    assert_not_readable("acme/fifo.csv");
    assert_not_readable("acme/inner");
    assert_not_readable("mallory/good.csv");
    assert_not_readable("../secret");
    assert_not_readable("acme/../secret");
    assert_not_readable("acme/../../secret");
    assert_not_readable("/etc/passwd");
    assert_not_readable("");
    assert_read("acme/good.csv", "good");

    struct watched w;
    watched_begin(&w, store, "mallory/new.csv");
    store->api->finish(w.upload, 0);
    wait_for(mailbox, &w.failed);
    assert_int_equal(w.error.code, ERROR_STORAGE);
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);

    remove_object(store, mailbox, "acme/link.csv"); /* the link, not what it points to */
    assert_int_equal(mode_of("secret"), 0600);
    assert_int_equal(count_temporary(), 0);
}

static void a_planted_link_for_a_directory_is_refused(void **state)
{
    (void)state;
    struct error e = {0};
    store->api->close(store);
    _cleanup_free_ char *tmp = in_directory("tmp");
    assert_int_equal(rmdir(tmp), 0);
    assert_int_equal(symlink("files", tmp), 0);
    assert_null(open_in_directory(mailbox, &e));
    assert_int_equal(e.code, ERROR_CONFIG);
    assert_int_equal(unlink(tmp), 0);
    store = open_in_directory(mailbox, &e);
    assert_non_null(store);
}

static void what_a_dead_process_left_is_cleared(void **state)
{
    (void)state;
    put_object(store, mailbox, KEY, "abc");
    write_file("tmp/0123456789abcdef0123456789abcdef", "half", 0600);
    reopen();
    assert_int_equal(count_temporary(), 0);
    assert_read(KEY, "abc");
}

/* Uploads parts of 1 MiB until the store fails; then nothing of them is left. */
static void fill_until_failure(void)
{
    static char part[1 << 20];
    struct watched w;
    watched_begin(&w, store, KEY);
    for (uint32_t i = 0; i < 8; i++)
        send_part(store, w.upload, i, part, sizeof part);
    store->api->finish(w.upload, 8 * sizeof part);
    wait_for(mailbox, &w.failed);
    assert_in_range(w.parts_done, 1, 7);
    assert_int_equal(w.error.code, ERROR_STORAGE);
    assert_null(strchr(w.error.message, '/'));
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_not_readable(KEY);
    assert_int_equal(count_temporary(), 0);
}

static void a_write_that_is_refused_fails(void **state)
{
    (void)state;
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 2500000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    fill_until_failure();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    put_object(store, mailbox, KEY, "after");
}

/* In a mount namespace of its own, where this process may have one. */
static void a_full_disk_fails(void **state)
{
    (void)state;
    struct error e;
    store->api->close(store);
    bool mounted = unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
                   mount("none", directory, "tmpfs", 0, "size=4m") == 0;
    store = open_in_directory(mailbox, &e);
    assert_non_null(store);
    if (!mounted)
        skip();
    struct error check;
    assert_true(store->api->check(store, &check));
    fill_until_failure();
    put_object(store, mailbox, KEY, "after");
    store->api->close(store);
    assert_int_equal(umount(directory), 0);
    store = open_in_directory(mailbox, &e);
    assert_non_null(store);
}

/* The two parameters of a link, taken from it. */
static void take_parameters(const char *link, char expires[32], char signature[SHA256_HEX_SIZE])
{
    const char *rest = strstr(link, "?expires=");
    assert_non_null(rest);
    assert_int_equal(sscanf(rest, "?expires=%31[0-9]&signature=%64[0-9a-f]", expires, signature), 2);
}

static void assert_refused(const char *key, const char *expires, const char *signature, int64_t now)
{
    struct error e = {0};
    assert_false(object_store_local_verify(store, key, expires, signature, now, &e));
    assert_int_equal(e.code, ERROR_FORBIDDEN);
}

static void links_are_verified(void **state)
{
    (void)state;
    struct error e;
    char expires[32], signature[SHA256_HEX_SIZE];
    const int64_t now = 1700000000 * SECOND;
    int64_t expires_at;
    _cleanup_free_ char *link =
        store->api->link(store, KEY, "a.csv", "text/csv", now + 3600 * SECOND + 7, &expires_at, &e);
    assert_non_null(link);
    assert_int_equal(expires_at, now + 3600 * SECOND);
    assert_memory_equal(link, "http://files.example/files/" KEY "?",
                        strlen("http://files.example/files/" KEY "?"));
    take_parameters(link, expires, signature);
    assert_true(object_store_local_verify(store, KEY, expires, signature, now, &e));
    assert_true(object_store_local_verify(store, KEY, expires, signature, expires_at - 1, &e));
    assert_refused(KEY, expires, signature, expires_at);
    assert_refused("acme/other.csv", expires, signature, now);
    assert_refused(KEY, "1800000000", signature, now);
    assert_refused(KEY, NULL, signature, now);
    assert_refused(KEY, expires, NULL, now);

    reopen(); /* the key file is kept: links hold */
    assert_true(object_store_local_verify(store, KEY, expires, signature, now, &e));
    _cleanup_free_ char *key_file = in_directory("link.key");
    assert_int_equal(unlink(key_file), 0);
    reopen();
    assert_refused(KEY, expires, signature, now);
}

static void a_bad_key_file_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mode_t mode;
        bool ok;
    } cases[] = {
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n", 0600, true},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 0400, true},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", 0640, false},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeef", 0600, false},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00", 0600, false},
        {"00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg", 0600, false},
        {"", 0600, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error e = {0};
        write_file("link.key", cases[i].text, 0600);
        write_file("link.key", cases[i].text, cases[i].mode);
        struct object_store *s = open_in_directory(mailbox, &e);
        assert_int_equal(s != NULL, cases[i].ok);
        if (s)
            s->api->close(s);
        else
            assert_int_equal(e.code, ERROR_CONFIG);
        _cleanup_free_ char *path = in_directory("link.key");
        assert_int_equal(unlink(path), 0);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)

int main(void)
{
    static const struct object_store_backend local = {.name = "object store: local",
                                                      .open = open_empty,
                                                      .closed = remove_directory,
                                                      .fetch = fetch,
                                                      .unfinished = count_temporary};
    const struct CMUnitTest tests[] = {
        TEST(only_the_owner_may_read),
        TEST(a_key_that_is_there_is_not_replaced),
        TEST(read_tells_size_time_and_inode),
        TEST(planted_files_are_not_followed),
        TEST(a_planted_link_for_a_directory_is_refused),
        TEST(what_a_dead_process_left_is_cleared),
        TEST(a_write_that_is_refused_fails),
        TEST(a_full_disk_fails),
        TEST(links_are_verified),
        TEST(a_bad_key_file_is_refused),
    };
    int failed = object_store_suite_run(&local);
    return failed + cmocka_run_group_tests_name("local directory", tests, NULL, NULL);
}
