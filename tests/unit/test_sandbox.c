/* The box at the level of system calls: what a worker may do when SQL runs in it, started by exec or made by a template. Each case is
 * a process of its own, which tells by its exit status the first promise that does not hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "worker/sandbox.h"
#include "worker/syscall_filter.h"

static char root[] = "/tmp/test-sandbox.XXXXXX", source[64], spill[64], mine[64], other[64], secret[80];

/* Without what sanitizers do at an exit, which the box refuses. */
static void leave(int status)
{
    syscall(SYS_exit_group, status);
}

/* In the process: what breaks first. */
#define HOLDS(promise)                                                                                                 \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if (!(promise)) {                                                                                              \
            dprintf(STDERR_FILENO, "line %d: %s (errno %d)\n", __LINE__, #promise, errno);                             \
            leave(1);                                                                                                 \
        }                                                                                                              \
    } while (0)

static bool refused(long result, int error)
{
    return result < 0 && errno == error;
}

static void make_file(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(root));
    snprintf(source, sizeof source, "%s/source", root);
    snprintf(spill, sizeof spill, "%s/spill", root);
    snprintf(mine, sizeof mine, "%s/spill/mine", root);
    snprintf(other, sizeof other, "%s/spill/other", root);
    snprintf(secret, sizeof secret, "%s/secret", other);
    assert_int_equal(chmod(root, 0755), 0);
    assert_int_equal(mkdir(spill, 0755), 0);
    assert_int_equal(mkdir(mine, 0777), 0);
    assert_int_equal(mkdir(other, 0777), 0);
    assert_int_equal(chmod(mine, 0777), 0);
    assert_int_equal(chmod(other, 0777), 0);
    make_file(source);
    make_file(secret);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char file[80];
    snprintf(file, sizeof file, "%s/file", mine);
    unlink(file);
    unlink(secret);
    unlink(source);
    rmdir(mine);
    rmdir(other);
    rmdir(spill);
    rmdir(root);
    return 0;
}

static long copy_as_template(void)
{
    static int number;
    return syscall(SYS_clone, TEMPLATE_CLONE_FLAGS, NULL, NULL, &number, NULL);
}

static void wants_nothing_else(void)
{
    HOLDS(refused(open(source, O_RDONLY | O_CLOEXEC), EACCES));
    HOLDS(refused(open("/etc/passwd", O_RDONLY | O_CLOEXEC), EACCES));
    HOLDS(refused(open("/proc/self/maps", O_RDONLY | O_CLOEXEC), EACCES));
    HOLDS(refused(socket(AF_INET, SOCK_STREAM, 0), EPERM));
    HOLDS(refused(socket(AF_UNIX, SOCK_STREAM, 0), EPERM));
    HOLDS(refused(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL), EPERM));
    HOLDS(refused(syscall(SYS_clone, CLONE_VM | SIGCHLD, NULL, NULL, NULL, NULL), EPERM));
    HOLDS(refused(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL), EPERM));
    HOLDS(refused(syscall(SYS_execve, "/bin/true", NULL, NULL), EPERM));
    HOLDS(refused(kill(getpid(), 0), EPERM));
    HOLDS(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM);
}

static void is_a_closed_box(void)
{
    wants_nothing_else();
    HOLDS(refused(open(secret, O_RDONLY | O_CLOEXEC), EACCES));
    HOLDS(refused(open("../other/secret", O_RDONLY | O_CLOEXEC), EACCES));
    HOLDS(refused(open("../other/new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600), EACCES));
    HOLDS(open("file", O_CREAT | O_RDWR | O_CLOEXEC, 0600) >= 0);
    HOLDS(refused(copy_as_template(), EPERM));
    HOLDS(refused(dup3(2, 7, O_CLOEXEC), EPERM));
    HOLDS(refused(fchdir(0), EPERM));
    HOLDS(refused(prctl(PR_SET_DUMPABLE, 1), EPERM));
    HOLDS(refused(syscall(SYS_seccomp, 0, 0, NULL), EPERM));
    HOLDS(refused(syscall(SYS_landlock_create_ruleset, NULL, 0, 1), EPERM));
    HOLDS(refused(syscall(SYS_setresuid, 0, 0, 0), EPERM));
    HOLDS(refused(syscall(SYS_capset, NULL, NULL), EPERM));
    HOLDS(syscall(SYS_tgkill, getpid(), gettid(), 0) == 0);
    HOLDS(refused(syscall(SYS_tgkill, 1, 1, 0), EPERM));
    HOLDS(refused(syscall(SYS_tgkill, getpid() + 1, gettid(), 0), EPERM));
}

static bool enter(bool is_template, struct worker_spec *ret)
{
    struct error e;
    *ret = (struct worker_spec){.memory_limit = 1ull << 46 /* room for sanitizers */, .spill_limit = 1 << 20, .is_template = is_template};
    if (geteuid() == 0)
        ret->uid = ret->gid = 65534;
    return chdir(mine) == 0 && sandbox_enter(ret, source, "/nonexistent", &e);
}

static void worker(void)
{
    struct worker_spec spec;
    struct error e;
    HOLDS(enter(false, &spec));
    HOLDS(refused(copy_as_template(), EPERM));
    HOLDS(sandbox_close(&spec, &e));
    is_a_closed_box();
}

static void template(void)
{
    struct worker_spec spec;
    struct error e;
    int directory = open(mine, O_PATH | O_DIRECTORY | O_CLOEXEC);
    HOLDS(chdir(other) == 0 && enter(true, &spec));
    HOLDS(sandbox_park(&spec, &e));
    wants_nothing_else();
    HOLDS(open("../other/secret", O_RDONLY | O_CLOEXEC) >= 0); /* what belongs to its jobs it can reach */
    HOLDS(dup3(2, 7, O_CLOEXEC) == 7);
    long pid = copy_as_template();
    HOLDS(pid >= 0);
    if (pid == 0) {
        HOLDS(fchdir(directory) == 0 && sandbox_close(&spec, &e));
        is_a_closed_box();
        leave(0);
    }
    dprintf(7, " "); /* the copy is our parent's to wait for */
}

/* The process and the copies that it makes of itself all end with 0. */
static void expect_to_hold(void (*run)(void), int processes)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run();
        leave(0);
    }
    for (int status; processes > 0; processes--) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(wait(NULL), -1);
}

static void skip_where_it_cannot_be_had(void)
{
    FILE *null = fopen("/dev/null", "w");
    bool had = sandbox_describe(null);
    fclose(null);
    if (!had)
        skip();
}

static void a_worker_is_in_a_closed_box(void **state)
{
    (void)state;
    skip_where_it_cannot_be_had();
    expect_to_hold(worker, 1);
}

static void a_template_can_make_workers_and_they_are_in_the_same_box(void **state)
{
    (void)state;
    skip_where_it_cannot_be_had();
    expect_to_hold(template, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_is_in_a_closed_box),
        cmocka_unit_test(a_template_can_make_workers_and_they_are_in_the_same_box),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
