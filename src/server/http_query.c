#include "server/http_query.h"

#include <string.h>

#include "base/digest.h"

struct http_query {
    char *text; /* what names and values point into */
    size_t count;
    struct {
        const char *name, *value;
    } parameters[];
};

/* In place; a `%` without two digits behind it stands for itself. */
static char *decode(char *text)
{
    char *out = text;
    for (const char *p = text; *p; p++) {
        int high = *p == '%' ? hex_digit_value(p[1]) : -1, low = high < 0 ? -1 : hex_digit_value(p[2]);
        if (low >= 0) {
            *out++ = (char)(high << 4 | low);
            p += 2;
        } else
            *out++ = *p == '+' ? ' ' : *p;
    }
    *out = '\0';
    return text;
}

struct http_query *http_query_new(const char *text)
{
    size_t most = 1;
    for (const char *p = text; *p; p++)
        most += *p == '&';
    struct http_query *q = calloc(1, sizeof *q + most * sizeof q->parameters[0]);
    if (q)
        q->text = strdup(text);
    if (!q || !q->text) {
        free(q);
        return NULL;
    }
    for (char *rest = q->text, *name; (name = strsep(&rest, "&"));) {
        if (!*name)
            continue;
        char *value = strchr(name, '=');
        if (value)
            *value++ = '\0';
        q->parameters[q->count].name = decode(name);
        q->parameters[q->count++].value = value ? decode(value) : "";
    }
    return q;
}

void http_query_free(struct http_query *q)
{
    if (q)
        free(q->text);
    free(q);
}

const char *http_query_get(const struct http_query *q, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < q->count; i++) {
        if (strcmp(q->parameters[i].name, name) != 0)
            continue;
        if (value)
            return NULL;
        value = q->parameters[i].value;
    }
    return value;
}
