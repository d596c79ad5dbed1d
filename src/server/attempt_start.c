/* From the job to a worker: a spare, one that the template makes, or one that is started by exec. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/attempt_internal.h"
#include "server/spill.h"
#include "server/timer.h"

#define SPILL_CHECK_MS 2000

/* A newer version may have taken the job on. */
static bool read_form(const struct job *job, struct file_form *ret, struct error *e)
{
    struct error why = {.message = "it cannot be read"};
    json_t *o = job->form ? json_loads(job->form, 0, NULL) : json_pack("{s:s}", "format", job->format);
    bool ok = json_is_object(o) && file_form_read(o, ret, &why);
    json_decref(o);
    return ok || error_set(e, ERROR_NOT_IMPLEMENTED, "this version does not know what the file is to look like: %s",
                           why.message);
}

/* What the worker is told when it is ready, and where it writes. */
static bool describe_job(struct attempt *a, const struct job *job, struct error *e)
{
    struct job_spec spec = a->env->spec;
    spec.sql = job->sql;
    if (!read_form(job, &a->form, e))
        return false;
    spec.form = a->form;
    spec.part_count = a->env->objects->parts_a_job;
    spec.part_size = a->env->objects->part_size;
    spec.hash_parts = a->env->objects->sign_parts;
    a->buffers.first = parts_new(spec.part_count, spec.part_size, e);
    if (!a->buffers.first)
        return false;
    a->spec_fd = job_spec_seal(&spec, e);
    return a->spec_fd >= 0;
}

static bool make_directory(struct attempt *a, struct error *e)
{
    a->spill_dir = spill_make(a->env->spill_root, a->id, a->number, a->env->worker.uid, a->env->worker.gid, e);
    return a->spill_dir != NULL;
}

static struct worker_process_options describe_worker(struct attempt *a)
{
    return (struct worker_process_options){.base = a->env->base,
                                           .program = a->env->worker_program,
                                           .job = a->id,
                                           .spec_fd = -1,
                                           .secrets = a->env->secrets,
                                           .events = &attempt_worker_events,
                                           .context = a};
}

static bool execute_worker(struct attempt *a, struct error *e)
{
    struct worker_spec spec = a->env->worker;
    struct worker_process_options options = describe_worker(a);
    spec.spill_dir = a->spill_dir;
    _cleanup_close_ int spec_fd = worker_spec_seal(&spec, e);
    if (spec_fd < 0)
        return false;
    options.spec_fd = spec_fd;
    a->worker = worker_process_start(&options, e);
    return a->worker != NULL;
}

/* The template has gone: a worker that opens the file by itself. */
void attempt_not_made(void *context)
{
    struct attempt *a = context;
    struct error e;
    a->worker = NULL;
    if (a->phase == FAILING)
        attempt_conclude(a);
    else if (!execute_worker(a, &e))
        attempt_fail(a, &e);
}

/* On a thread: the file system of the source may be slow, or gone. */
static void prepare_start(struct task *task, void *context)
{
    (void)context;
    struct attempt *a = CONTAINER_OF(CONTAINER_OF(task, struct chore, task), struct attempt, chore);
    a->chore.ok = make_directory(a, &a->chore.error);
    if (a->chore.ok)
        a->chore.look = source_look_at(a->env->worker.source_path);
}

static void start_prepared(struct task *task)
{
    struct attempt *a = CONTAINER_OF(CONTAINER_OF(task, struct chore, task), struct attempt, chore);
    const struct worker_process_options options = describe_worker(a);
    a->chore_busy = false;
    if (!a->chore.ok)
        attempt_fail(a, &a->chore.error);
    if (a->phase == FAILING) {
        attempt_conclude(a);
        return;
    }
    a->worker = worker_template_fork(a->env->template, &a->chore.look, a->spill_dir, &options);
    if (!a->worker && !execute_worker(a, &a->chore.error))
        attempt_fail(a, &a->chore.error);
}

/* A spare, where there is one. */
static bool take_spare(struct attempt *a)
{
    struct pooled_worker spare;
    if (!a->env->spares || !worker_pool_take(a->env->spares, &spare))
        return false;
    log_job(LOG_LEVEL_DEBUG, a->id, "takes a spare worker%s", spare.ready ? "" : " that is about to be ready");
    a->worker = spare.process;
    a->spill_dir = spare.spill_dir;
    worker_process_hand_over(a->worker, a->id, &attempt_worker_events, a);
    if (spare.ready)
        attempt_begin_job(a);
    return true;
}

struct attempt *attempt_start(const struct attempt_environment *env, const struct job *job, const char *key,
                              const struct attempt_events *events, void *context, struct error *e)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (!a) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    a->env = env;
    a->events = events;
    a->context = context;
    a->spec_fd = -1;
    buf_init(&a->columns, LINK_COLUMNS_MAX);
    memcpy(a->id, job->id, sizeof a->id);
    a->key = strdup(key);
    a->number = job->attempt;
    bool ok = ((a->key && attempt_make_timers(a)) || error_set(e, ERROR_INTERNAL, "out of memory")) && describe_job(a, job, e);
    if (ok && env->template)
        attempt_start_chore(a, env->starts, prepare_start, start_prepared);
    else
        ok = ok && (take_spare(a) || (make_directory(a, e) && execute_worker(a, e)));
    if (!ok) {
        struct error ignored;
        if (a->spill_dir && !spill_remove(a->spill_dir, &ignored))
            log_job(LOG_LEVEL_WARN, a->id, "%s", ignored.message);
        attempt_free(a);
        return NULL;
    }
    if (a->phase == OPENING)
        timer_set(a->open_timer, attempt_open_limit_ms(env));
    timer_set(a->timeout_timer, env->job_timeout_ms);
    timer_set(a->spill_timer, SPILL_CHECK_MS);
    return a;
}
