#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int http_status;
    bool retryable;
} codes[] = {
#define ERROR_ROW(id, name, status, retryable) [id] = {name, status, retryable},
    ERROR_CODES(ERROR_ROW)
#undef ERROR_ROW
};

const char *error_code_name(enum error_code code)
{
    return codes[code].name;
}

int error_code_http_status(enum error_code code)
{
    return codes[code].http_status;
}

bool error_code_retryable(enum error_code code)
{
    return codes[code].retryable;
}

size_t utf8_prefix(const char *text, size_t length, size_t max)
{
    if (length <= max)
        return length;
    size_t end = max;
    while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    return end;
}

PRINTF_LIKE(4, 0)
static void set(struct error *e, enum error_code code, const char *suffix, const char *format, va_list args)
{
    static const char mark[] = "...";
    int length = vsnprintf(e->message, sizeof e->message, format, args);
    if (length < 0)
        length = 0;
    e->code = code;
    if ((size_t)length >= sizeof e->message) {
        size_t keep = utf8_prefix(e->message, sizeof e->message - 1, sizeof e->message - sizeof mark);
        memcpy(e->message + keep, mark, sizeof mark);
    } else if (suffix) {
        snprintf(e->message + length, sizeof e->message - (size_t)length, ": %s", suffix);
    }
}

bool error_set(struct error *e, enum error_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(e, code, NULL, format, args);
    va_end(args);
    return false;
}

bool error_set_errno(struct error *e, enum error_code code, int errnum, const char *format, ...)
{
    char text[128];
    va_list args;
    va_start(args, format);
    set(e, code, strerror_r(errnum, text, sizeof text), format, args);
    va_end(args);
    return false;
}
