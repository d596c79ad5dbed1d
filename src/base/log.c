#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#define MESSAGE_MAX (ERROR_MESSAGE_MAX + 1024)
#define LINE_MAX_BYTES (8 * MESSAGE_MAX)

static struct {
    enum log_level level;
    enum log_mode mode;
    char *path;
    int file; /* -1: none. Replaced by dup3, so that other threads always hold a valid number. */
    bool colour;
} state = {.level = LOG_LEVEL_INFO, .file = -1};

static const char *const names[] = {"debug", "info", "warn", "error"};
static const char *const colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};

static int open_file(const char *path, struct error *e)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        error_set_errno(e, ERROR_CONFIG, errno, "cannot open the log file '%s'", path);
    return fd;
}

bool log_open(enum log_level level, enum log_mode mode, const char *file, struct error *e)
{
    int fd = -1;
    if (file && *file) {
        fd = open_file(file, e);
        if (fd < 0)
            return false;
        state.path = strdup(file);
    }
    state.level = level;
    state.mode = mode;
    state.file = fd;
    state.colour = mode == LOG_MODE_DEV && isatty(STDERR_FILENO) && !getenv("NO_COLOR");
    return true;
}

bool log_reopen(struct error *e)
{
    if (!state.path)
        return true;
    _cleanup_close_ int fd = open_file(state.path, e);
    if (fd < 0)
        return false;
    if (dup3(fd, state.file, O_CLOEXEC) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot change to the new log file");
    return true;
}

bool log_enabled(enum log_level level)
{
    return level >= state.level;
}

static void append_json_text(struct buf *b, const char *text)
{
    buf_append(b, "\"", 1);
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_append_text(b, "\\n");
        else if (c < 0x20 || c == 0x7F)
            buf_printf(b, "\\u%04x", c);
        else
            buf_append(b, p, 1);
    }
    buf_append(b, "\"", 1);
}

/* One line stays one line, and no terminal is steered from a message. */
static void append_plain_text(struct buf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '\n')
            buf_append_text(b, " | ");
        else if (c < 0x20 || c == 0x7F)
            buf_printf(b, "\\x%02x", c);
        else
            buf_append(b, p, 1);
    }
}

static void render_prod(struct buf *b, enum log_level level, const struct log_about *about, const char *time,
                        const char *message)
{
    buf_printf(b, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", time, names[level]);
    append_json_text(b, message);
    if (about->request) {
        buf_append_text(b, ",\"request\":");
        append_json_text(b, about->request);
    }
    if (about->download) {
        buf_append_text(b, ",\"download\":");
        append_json_text(b, about->download);
    }
    buf_append_text(b, "}\n");
}

static void render_dev(struct buf *b, enum log_level level, const struct log_about *about, const char *time,
                       const char *message, bool colour)
{
    buf_printf(b, "%.23s %s%-5s%s ", time, colour ? colours[level] : "", names[level], colour ? "\033[0m" : "");
    append_plain_text(b, message);
    if (about->request)
        buf_printf(b, " request=%s", about->request);
    if (about->download)
        buf_printf(b, " download=%s", about->download);
    buf_append(b, "\n", 1);
}

/* A log that cannot be written must not stop the service: the result is looked at by nobody. */
static void put(int fd, const struct buf *b)
{
    ssize_t n = write(fd, b->data, b->len);
    (void)n;
}

void log_write(enum log_level level, struct log_about about, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char message[MESSAGE_MAX], time[CLOCK_RFC3339_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    clock_format_rfc3339(clock_wall_us(), time);

    struct buf line;
    buf_init(&line, LINE_MAX_BYTES);
    if (state.mode == LOG_MODE_PROD)
        render_prod(&line, level, &about, time, message);
    else
        render_dev(&line, level, &about, time, message, state.colour);
    if (buf_ok(&line)) {
        put(STDERR_FILENO, &line);
        if (state.file >= 0 && state.colour) {
            buf_clear(&line);
            render_dev(&line, level, &about, time, message, false);
        }
        if (state.file >= 0)
            put(state.file, &line);
    }
    buf_release(&line);
    errno = saved_errno;
}
