/* The log: `dev` for people (coloured on a terminal), `prod` one JSON object a line, to stderr and to a file.
 *
 * Only the edges log: main, the request edge, the job edge; inner code returns errors. Secrets, tokens and
 * pre-signed links are never logged. Any thread may write; a line is one write(2) to each place. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_mode { LOG_MODE_DEV, LOG_MODE_PROD };

/* Until the first call lines go to stderr in `dev` mode from `info` on. `file` may be NULL or "": no file.
 * Not thread-safe: call it before threads start. */
MUST_CHECK bool log_open(enum log_level level, enum log_mode mode, const char *file, struct error *e);

/* Opens the file anew (after a rotation); on failure the old one stays in use. Only from the event loop. */
MUST_CHECK bool log_reopen(struct error *e);

bool log_enabled(enum log_level level);

/* What a line is about; either may be NULL. */
struct log_about {
    const char *request;  /* request id */
    const char *download; /* download id */
};

void log_write(enum log_level level, struct log_about about, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, (struct log_about){0}, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, (struct log_about){0}, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, (struct log_about){0}, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, (struct log_about){0}, __VA_ARGS__)
#define log_job(level, id, ...) log_write(level, (struct log_about){.download = (id)}, __VA_ARGS__)

#endif
