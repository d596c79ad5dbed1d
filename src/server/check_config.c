#include "server/check_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/machine.h"
#include "server/spill.h"
#include "server/stores.h"

#define ASK_TIMEOUT_MS 10000

static bool report(const char *what, bool ok, const char *text)
{
    printf("%-12s %s: %s\n", what, ok ? "ok" : "FAILED", text);
    return ok;
}

/* A data directory that is not made yet is left so. */
static bool check_stores(const struct settings *s)
{
    struct data_dir d = {.lock = -1};
    struct error e;
    const char *path = s->config.data_dir;
    if (access(path, F_OK) != 0)
        return report("data", true, "to be made at the first start") & stores_check(s, NULL, report);
    if (!data_dir_open(&d, path, &e)) {
        bool ok = e.code == ERROR_UNAVAILABLE;
        bool embedded = s->config.job_store == JOB_STORE_SQLITE && s->config.object_store == OBJECT_STORE_LOCAL;
        report("data", ok, e.message);
        return embedded ? ok : ok & stores_check(s, NULL, report);
    }
    bool ok = report("data", true, d.path) & stores_check(s, &d, report);
    data_dir_release(&d);
    return ok;
}

static bool check_file(const struct settings *s)
{
    _cleanup_buf_ struct buf answer;
    buf_init(&answer, 64 * 1024);
    struct error e;
    const char *path = s->config.duckdb_path;
    bool ok = machine_ask_worker(s->worker_program, "--check-source", path, -1, ASK_TIMEOUT_MS, &answer, &e);
    return report("source", ok, ok ? path : e.message);
}

/* A temporary directory where those of jobs are, if that is there already. NULL: none can be made. */
static char *make_check_directory(const struct settings *s)
{
    const char *const places[] = {s->config.data_dir, "/tmp"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        char *path = NULL, *absolute = NULL;
        if (asprintf(&path, "%s/check.XXXXXX", places[i]) < 0)
            return NULL;
        if (mkdtemp(path) && (absolute = realpath(path, NULL)) == NULL)
            rmdir(path);
        free(path);
        if (absolute)
            return absolute;
    }
    return NULL;
}

/* Signs in as a job does: in the box, with a directory of its own. */
static bool ask_motherduck(const struct settings *s, char *spill_dir, struct error *e)
{
    _cleanup_buf_ struct buf answer;
    buf_init(&answer, 64 * 1024);
    struct worker_spec spec;
    settings_describe_worker(s, &spec);
    spec.spill_dir = spill_dir;
    if (spec.uid && chown(spill_dir, spec.uid, spec.gid) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a directory for temporary files");
    _cleanup_close_ int fd = worker_spec_seal(&spec, e);
    return fd >= 0 && machine_ask_worker(s->worker_program, "--check-source", "-", fd,
                                         (int)s->config.motherduck_timeout + ASK_TIMEOUT_MS, &answer, e);
}

static bool check_motherduck(const struct settings *s)
{
    _cleanup_buf_ struct buf answer;
    buf_init(&answer, 64 * 1024);
    struct error e;
    if (!machine_ask_worker(s->worker_program, "--check-extension", s->extension_dir, -1, ASK_TIMEOUT_MS, &answer, &e))
        return report("extension", false, e.message);
    report("extension", true, answer.data);
    _cleanup_free_ char *spill_dir = make_check_directory(s);
    if (!spill_dir)
        return report("source", false, "cannot make a directory for temporary files");
    bool ok = ask_motherduck(s, spill_dir, &e);
    struct error ignored;
    if (!spill_remove(spill_dir, &ignored))
        report("source", false, ignored.message);
    _cleanup_free_ char *name = NULL;
    if (asprintf(&name, "md:%s", s->config.motherduck_db_name) < 0)
        name = NULL;
    return report("source", ok, ok && name ? name : e.message);
}

int check_config(const struct settings *s)
{
    _cleanup_buf_ struct buf answer;
    buf_init(&answer, 64 * 1024);
    struct error e;
    bool ok = check_stores(s);
    ok &= s->config.source == SOURCE_MOTHERDUCK ? check_motherduck(s) : check_file(s);
    bool box = machine_ask_worker(s->worker_program, "--check-sandbox", NULL, -1, ASK_TIMEOUT_MS, &answer, &e);
    printf("%-12s %s\n%s\n", "sandbox", box ? "ok" : "not complete", box ? answer.data : e.message);
    if (s->notes.len > 0)
        fputs(s->notes.data, stdout);
    return ok ? 0 : 1;
}
