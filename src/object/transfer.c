#include "object/transfer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* A try may take so long, and a second more for each 64 KiB of its body. A store that completes a large
 * object sends white space meanwhile. */
#define TRY_MS 300000
#define SLOWEST_BYTES_A_MS 64

/* The thread looks at its calls at least so often; it is woken for all that is new. */
#define ROUND_MS 60000

struct bell;

struct call_list {
    struct s3_call *first, **end;
};

struct transfer {
    struct transfer_options options;
    struct http_transfers *http;
    pthread_t thread;
    struct bell *bell;

    /* The thread's. */
    struct s3_call *active;
    uint32_t random;

    struct {
        pthread_mutex_t lock;
        pthread_cond_t finished_some;
        struct call_list submitted, finished;
        bool bell_is_out; /* posted, and not yet drained */
        bool ending;
    } shared;
};

/* What is posted to the loop's mailbox: calls wait in `finished`. It outlives the transfer while it is out.
 */
struct bell {
    struct task task;
    struct transfer *transfer; /* the loop's; NULL when it has gone */
};

static void list_init(struct call_list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_append(struct call_list *l, struct s3_call *c)
{
    c->next = NULL;
    *l->end = c;
    l->end = &c->next;
}

static struct s3_call *list_take_all(struct call_list *l)
{
    struct s3_call *first = l->first;
    list_init(l);
    return first;
}

struct s3_call *s3_call_new(void)
{
    struct s3_call *c = calloc(1, sizeof *c);
    if (c) {
        c->content_length = -1;
        atomic_init(&c->stop_at, INT64_MAX);
    }
    return c;
}

void s3_call_free(struct s3_call *c)
{
    if (!c)
        return;
    buf_release(&c->answer);
    free(c);
}

/* On the thread */

static void finish(struct s3_call *c)
{
    struct transfer *t = c->transfer;
    pthread_mutex_lock(&t->shared.lock);
    list_append(&t->shared.finished, c);
    bool ring = !t->shared.bell_is_out;
    t->shared.bell_is_out = true;
    pthread_cond_signal(&t->shared.finished_some);
    pthread_mutex_unlock(&t->shared.lock);
    if (ring)
        mailbox_post(t->options.done, &t->bell->task);
}

/* Not active any more. */
static void over(struct s3_call *c, bool ok)
{
    for (struct s3_call **link = &c->transfer->active;; link = &(*link)->next)
        if (*link == c) {
            *link = c->next;
            break;
        }
    c->ok = ok;
    finish(c);
}

/* The try did not succeed, and `c->error` says why. */
static void again(struct s3_call *c, int64_t wait_ms, bool slow_down)
{
    struct transfer *t = c->transfer;
    t->random = t->random * 1664525 + 1013904223;
    int64_t backoff = s3_backoff_ms(c->tries, slow_down, t->random >> 8), now = clock_monotonic_ms();
    c->due = now + (backoff > wait_ms ? backoff : wait_ms);
    c->passing = true;
    if (c->due <= c->give_up_at)
        return;
    char why[512];
    snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, c->error.message);
    if (c->tries > 1)
        error_set(&c->error, c->error.code, "%s (tried %u times in %lld s)", why, c->tries,
                  (long long)((now - c->give_up_at + c->timeout_ms) / 1000));
    over(c, false);
}

static void keep_header(struct http_transfer *h, const char *name, char *to, size_t size)
{
    const char *value = http_transfer_header(h, name);
    bool fits = value && strlen(value) < size;
    memcpy(to, fits ? value : "", fits ? strlen(value) + 1 : 1);
}

static void keep_answer(struct s3_call *c, struct http_transfer *h)
{
    size_t length;
    const char *body = http_transfer_body(h, &length);
    buf_release(&c->answer);
    buf_init(&c->answer, length);
    buf_append(&c->answer, body, length);
    keep_header(h, "etag", c->etag, sizeof c->etag);
    keep_header(h, "content-range", c->content_range, sizeof c->content_range);
    const char *content_length = http_transfer_header(h, "content-length");
    c->content_length = -1;
    if (content_length && strspn(content_length, "0123456789") == strlen(content_length) &&
        strlen(content_length) < 19)
        c->content_length = strtoll(content_length, NULL, 10);
}

static void on_answer(struct s3_call *c, struct http_transfer *h)
{
    c->status = http_transfer_status(h);
    keep_answer(c, h);
    const struct s3_answer answer = {.status = c->status,
                                     .body = c->answer.data ? c->answer.data : "",
                                     .body_len = c->answer.len,
                                     .may_hide_error = c->may_hide_error,
                                     .retry_after = http_transfer_header(h, "retry-after"),
                                     .region = http_transfer_header(h, "x-amz-bucket-region"),
                                     .date = http_transfer_header(h, "date")};
    struct s3_judgement judgement;
    s3_answer_judge(&answer, clock_wall_us() / 1000000, &judgement, &c->error);
    memcpy(c->code, judgement.code, sizeof c->code);
    c->passing = false;
    switch (judgement.verdict) {
    case S3_DONE:
        over(c, true);
        break;
    case S3_AGAIN:
        c->unclear = c->unclear || (c->status != 429 && c->status != 408);
        again(c, judgement.wait_ms, judgement.slow_down);
        break;
    case S3_GIVE_UP:
        over(c, false);
        break;
    }
}

static void on_done(void *context, struct http_transfer *h, enum http_outcome outcome, const struct error *e)
{
    struct s3_call *c = context;
    c->http = NULL;
    switch (outcome) {
    case HTTP_ANSWERED:
        on_answer(c, h);
        break;
    case HTTP_BROKEN:
        c->unclear = true;
        /* fall through */
    case HTTP_UNREACHABLE:
        c->status = 0;
        error_set(&c->error, ERROR_STORAGE, "the S3 store does not answer: %s", e->message);
        again(c, 0, false);
        break;
    case HTTP_STOPPED:
        c->unclear = true;
        c->status = http_transfer_status(h);
        error_set(&c->error, ERROR_STORAGE, "the S3 store's answer is too long");
        over(c, false);
        break;
    case HTTP_IMPOSSIBLE:
        if (e->code == ERROR_CONFIG) {
            error_set(&c->error, ERROR_CONFIG,
                      "the S3 store's certificate is not trusted: check GOPIE_DS_S3_CA_FILE");
            snprintf(c->detail, sizeof c->detail, "%s", http_transfer_detail(h));
        } else
            error_set(&c->error, ERROR_STORAGE, "the request to the S3 store cannot be made: %s", e->message);
        over(c, false);
        break;
    }
}

static const uint8_t sha256_of_nothing[SHA256_BYTES] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};

static void start_try(struct s3_call *c)
{
    struct transfer *t = c->transfer;
    int64_t now = clock_monotonic_ms();
    if (c->body_len == 0)
        c->ask.sha256 = sha256_of_nothing;
    if (c->tries++ == 0)
        c->give_up_at = now + c->timeout_ms;
    struct s3_signed request; /* anew for each try: a signature holds for 15 minutes */
    if (!s3_request_sign(t->options.site, &c->ask, clock_wall_us() / 1000000, &request))
        error_set(&c->error, ERROR_INTERNAL, "out of memory");
    else {
        int64_t silence_s = t->options.silence_s * (c->patience ? c->patience : 1);
        if (c->timeout_ms < silence_s * 1000)
            silence_s = c->timeout_ms / 1000 > 0 ? c->timeout_ms / 1000 : 1;
        c->http = http_transfer_start(t->http,
                                      &(struct http_transfer_options){
                                          .method = c->ask.method,
                                          .url = request.url.data,
                                          .headers = request.lines,
                                          .body = c->body,
                                          .body_len = c->body_len,
                                          .once = c->once,
                                          .connect_ms = t->options.connect_ms,
                                          .deadline_ms = TRY_MS + (int64_t)(c->body_len / SLOWEST_BYTES_A_MS),
                                          .silence_s = silence_s,
                                          .answer_max = c->answer_max ? c->answer_max : S3_ANSWER_MAX,
                                          .done = on_done,
                                          .context = c,
                                      },
                                      &c->error);
    }
    s3_signed_release(&request);
    if (!c->http)
        over(c, false);
}

static void stop(struct s3_call *c)
{
    if (c->http) {
        http_transfer_cancel(c->http);
        c->http = NULL;
        c->unclear = true;
    }
    c->stopped = true;
    if (c->tries == 0 || c->error.code == ERROR_NONE)
        error_set(&c->error, ERROR_STORAGE, "the S3 store did not answer before it was given up");
    over(c, false);
}

/* Starts and stops what is due; the time until the next is. */
static int64_t look_at_calls(struct transfer *t, bool ending)
{
    int64_t now = clock_monotonic_ms(), next = now + ROUND_MS;
    for (struct s3_call *c = t->active, *following; c; c = following) {
        following = c->next;
        int64_t stop_at = atomic_load(&c->stop_at);
        if (ending || stop_at <= now) {
            stop(c);
            continue;
        }
        if (stop_at < next)
            next = stop_at;
        if (c->http)
            continue;
        if (c->due <= now)
            start_try(c);
        else if (c->due < next)
            next = c->due;
    }
    return next - now;
}

static void fail_all(struct transfer *t, const struct error *e)
{
    while (t->active) {
        t->active->error = *e;
        stop(t->active);
    }
}

static void *run(void *arg)
{
    struct transfer *t = arg;
    for (bool ending = false; !ending;) {
        pthread_mutex_lock(&t->shared.lock);
        struct s3_call *submitted = list_take_all(&t->shared.submitted);
        ending = t->shared.ending;
        pthread_mutex_unlock(&t->shared.lock);
        for (struct s3_call *following; submitted; submitted = following) {
            following = submitted->next;
            submitted->next = t->active;
            t->active = submitted;
        }
        int64_t wait_ms = look_at_calls(t, ending);
        struct error e;
        if (!ending && !http_transfers_run(t->http, wait_ms, &e)) {
            fail_all(t, &e);
            usleep(100000); /* it does not work any more: at least it does not spin */
        }
    }
    return NULL;
}

/* On the loop */

static void collect(struct transfer *t)
{
    pthread_mutex_lock(&t->shared.lock);
    struct s3_call *c = list_take_all(&t->shared.finished);
    pthread_mutex_unlock(&t->shared.lock);
    for (struct s3_call *following; c; c = following) {
        following = c->next;
        c->done(c);
    }
}

static void on_bell(struct task *task)
{
    struct bell *bell = CONTAINER_OF(task, struct bell, task);
    struct transfer *t = bell->transfer;
    if (!t) {
        free(bell);
        return;
    }
    pthread_mutex_lock(&t->shared.lock);
    t->shared.bell_is_out = false;
    pthread_mutex_unlock(&t->shared.lock);
    collect(t);
}

void transfer_submit(struct transfer *t, struct s3_call *c)
{
    c->transfer = t;
    pthread_mutex_lock(&t->shared.lock);
    list_append(&t->shared.submitted, c);
    pthread_mutex_unlock(&t->shared.lock);
    http_transfers_wake(t->http);
}

void transfer_stop(struct transfer *t, struct s3_call *c, int64_t in_ms)
{
    int64_t at = clock_monotonic_ms() + in_ms;
    if (at < atomic_load(&c->stop_at))
        atomic_store(&c->stop_at, at);
    http_transfers_wake(t->http);
}

void transfer_wait(struct transfer *t, int64_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(wait_ms / 1000);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&t->shared.lock);
    while (!t->shared.finished.first &&
           pthread_cond_timedwait(&t->shared.finished_some, &t->shared.lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&t->shared.lock);
    collect(t);
}

static void init_shared(struct transfer *t)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->shared.lock, NULL);
    pthread_cond_init(&t->shared.finished_some, &attributes);
    pthread_condattr_destroy(&attributes);
    list_init(&t->shared.submitted);
    list_init(&t->shared.finished);
}

static void release(struct transfer *t)
{
    http_transfers_free(t->http);
    pthread_cond_destroy(&t->shared.finished_some);
    pthread_mutex_destroy(&t->shared.lock);
    free(t->bell);
    free(t);
}

/* Signals are the loop's. */
static bool start_thread(struct transfer *t)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&t->thread, NULL, run, t) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ok)
        pthread_setname_np(t->thread, "transfer");
    return ok;
}

struct transfer *transfer_new(const struct transfer_options *o, struct error *e)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    t->options = *o;
    init_shared(t);
    t->bell = calloc(1, sizeof *t->bell);
    t->http = http_transfers_new(
        &(struct http_transfers_options){.ca_file = o->ca_file, .connections_max = o->connections}, e);
    if (!t->http || !random_bytes(&t->random, sizeof t->random, e)) {
        release(t);
        return NULL;
    }
    if (t->bell)
        *t->bell = (struct bell){.task = {.done = on_bell}, .transfer = t};
    if (!t->bell || !start_thread(t)) {
        error_set(e, ERROR_INTERNAL, "the transfer thread does not start");
        release(t);
        return NULL;
    }
    return t;
}

void transfer_free(struct transfer *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->shared.lock);
    t->shared.ending = true;
    pthread_mutex_unlock(&t->shared.lock);
    http_transfers_wake(t->http);
    pthread_join(t->thread, NULL);
    collect(t);
    t->bell->transfer = NULL;
    if (t->shared.bell_is_out)
        t->bell = NULL; /* frees itself when it is drained */
    release(t);
}
