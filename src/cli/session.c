#include "cli/session.h"

#include <poll.h>
#include <signal.h>

#include "base/clock.h"
#include "base/digest.h"

#define FIRST_PAUSE_MS 200
#define LONGEST_PAUSE_MS 5000

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

void session_catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &(struct sigaction){.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND},
                  NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
}

bool session_tick(struct session *s)
{
    display_tick(&s->display);
    return !interrupted && (!s->deadline_ms || clock_monotonic_ms() < s->deadline_ms);
}

enum exit_code session_stopped(struct session *s)
{
    if (interrupted) {
        display_print(&s->display, "interrupted");
        return EXIT_INTERRUPTED;
    }
    display_print(&s->display, "the time given by --timeout is over");
    return EXIT_FAILED;
}

void retry_init(struct retry *r, struct session *s)
{
    *r = (struct retry){.session = s};
    retry_alive(r);
}

void retry_alive(struct retry *r)
{
    r->gives_up_ms = clock_monotonic_ms() + r->session->wait_ms;
}

void retry_progress(struct retry *r)
{
    retry_alive(r);
    r->attempt = 0;
}

/* Between 0 and `max`. Without random numbers: `max`. */
static int64_t jitter(int64_t max)
{
    struct error ignored;
    uint32_t random;
    return random_bytes(&random, sizeof random, &ignored) ? random % (max + 1) : max;
}

/* Retry-After of the last answer in milliseconds (RFC 9110, 10.2.3; its form as a date is passed over); 0:
 * none. */
static int64_t retry_after_ms(const struct session *s)
{
    const char *value = http_client_header(s->http, "Retry-After");
    char *end;
    long seconds = value ? strtol(value, &end, 10) : 0;
    return value && end != value && !*end && seconds > 0 && seconds < 86400 ? seconds * 1000 : 0;
}

bool retry_pause(struct retry *r)
{
    int64_t longest = FIRST_PAUSE_MS << (r->attempt < 10 ? r->attempt : 10);
    r->attempt++;
    int64_t now = clock_monotonic_ms();
    int64_t until =
        now + FIRST_PAUSE_MS / 4 + jitter(longest < LONGEST_PAUSE_MS ? longest : LONGEST_PAUSE_MS);
    int64_t asked = now + retry_after_ms(r->session);
    if (until < asked)
        until = asked;
    if (until > r->gives_up_ms)
        return false;
    while ((now = clock_monotonic_ms()) < until) {
        if (!session_tick(r->session))
            return false;
        poll(NULL, 0, until - now < HTTP_CLIENT_TICK_MS ? (int)(until - now) : HTTP_CLIENT_TICK_MS);
    }
    return true;
}

bool status_is_transient(int status)
{
    return status == 408 || status == 429 || status >= 500;
}

void session_append_refusal(const struct session *s, const struct buf *answer, struct buf *out)
{
    json_t *json = answer->len ? json_loadb(answer->data, answer->len, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(json, "error"));
    if (text)
        buf_append_text(out, text);
    else
        buf_printf(out, "status %d", http_client_status(s->http));
    json_decref(json);
}
