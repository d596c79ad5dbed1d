#include "cli/display.h"

#include <langinfo.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

#define FRAME_MS 100
#define LINE_MS 5000
#define RATE_MS 500

#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"
#define CLEAR_LINE "\r\033[K"

/* One write, so that a frame is not torn. What standard error does not take is lost: there is nobody to tell.
 */
static void put(const struct buf *b)
{
    if (buf_ok(b) && b->len && write(STDERR_FILENO, b->data, b->len) < 0)
        return;
}

/* Ctrl-Z: the shell gets its cursor; the next frame hides it again. */
static void on_stop(int signal)
{
    (void)signal;
    if (write(STDERR_FILENO, SHOW_CURSOR, sizeof SHOW_CURSOR - 1) >= 0 || true)
        raise(SIGSTOP);
}

static bool can_draw(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && term[0] && strcmp(term, "dumb") != 0;
}

void display_init(struct display *d, bool quiet)
{
    const char *no_color = getenv("NO_COLOR");
    *d = (struct display){.mode = quiet        ? DISPLAY_QUIET
                                  : can_draw() ? DISPLAY_BAR
                                               : DISPLAY_LINES,
                          .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
                          .colour = !no_color || !no_color[0],
                          .started_ms = clock_monotonic_ms()};
    d->progress = (struct progress){.state = d->state, .percent = -1, .rows = -1, .bytes = -1};
    if (d->mode == DISPLAY_BAR)
        sigaction(SIGTSTP, &(struct sigaction){.sa_handler = on_stop, .sa_flags = SA_RESTART}, NULL);
}

/* Takes the bar away; what is printed next stands in its place. */
static void clear_bar(struct display *d, struct buf *out)
{
    if (d->bar_stands)
        buf_append_text(out, CLEAR_LINE SHOW_CURSOR);
    d->bar_stands = false;
}

void display_release(struct display *d)
{
    _cleanup_buf_ struct buf out;
    buf_init(&out, 64);
    clear_bar(d, &out);
    put(&out);
}

static unsigned terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void draw(struct display *d, int64_t now)
{
    _cleanup_buf_ struct buf out;
    buf_init(&out, 16 * 1024);
    d->progress.elapsed_ms = now - d->started_ms;
    if (d->mode == DISPLAY_BAR) {
        struct progress_style style = {.columns = terminal_columns(), .utf8 = d->utf8, .colour = d->colour};
        buf_append_text(&out, HIDE_CURSOR "\r");
        progress_bar_render(&out, &style, &d->progress);
        buf_append_text(&out, "\033[K");
        d->bar_stands = true;
    } else {
        _cleanup_buf_ struct buf line;
        buf_init(&line, 1024);
        progress_line_render(&line, &d->progress);
        buf_printf(&out, "  %s\n", line.data);
    }
    put(&out);
    d->drawn_ms = now;
}

void display_state(struct display *d, const char *state)
{
    if (strncmp(state, d->state, sizeof d->state - 1) == 0)
        return;
    snprintf(d->state, sizeof d->state, "%s", state);
    d->progress = (struct progress){.state = d->state, .percent = -1, .rows = -1, .bytes = -1};
    d->rate_at_ms = 0;
    if (d->mode == DISPLAY_LINES) {
        display_print(d, "%s", d->state);
        d->drawn_ms = clock_monotonic_ms();
    } else if (d->mode == DISPLAY_BAR) {
        draw(d, clock_monotonic_ms());
    }
}

/* Smoothed over a few samples, at least RATE_MS apart. */
static void sample_rate(struct display *d, int64_t bytes)
{
    int64_t now = clock_monotonic_ms();
    if (bytes < 0 || (d->rate_at_ms && now - d->rate_at_ms < RATE_MS))
        return;
    if (d->rate_at_ms && bytes >= d->rate_bytes) {
        double newest = (double)(bytes - d->rate_bytes) * 1000 / (double)(now - d->rate_at_ms);
        double old = d->progress.rate;
        d->progress.rate = old > 0 ? 0.6 * old + 0.4 * newest : newest;
    }
    d->rate_at_ms = now;
    d->rate_bytes = bytes;
}

void display_progress(struct display *d, double percent, int64_t rows, int64_t bytes)
{
    sample_rate(d, bytes);
    d->progress.percent = percent;
    d->progress.rows = rows;
    d->progress.bytes = bytes;
}

void display_tick(struct display *d)
{
    int64_t now = clock_monotonic_ms();
    if (d->mode == DISPLAY_QUIET || !d->state[0] ||
        now - d->drawn_ms < (d->mode == DISPLAY_BAR ? FRAME_MS : LINE_MS))
        return;
    draw(d, now);
}

void display_print(struct display *d, const char *format, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0) {
        text = NULL;
        return;
    }
    _cleanup_buf_ struct buf out;
    buf_init(&out, 2 * 1024 * 1024);
    clear_bar(d, &out);
    append_safe_text(&out, text, d->utf8, true, UINT_MAX);
    buf_append_text(&out, "\n");
    put(&out);
}
