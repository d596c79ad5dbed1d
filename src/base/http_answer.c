#include "base/http_answer.h"

#include <string.h>
#include <strings.h>

#include "base/digest.h"

void http_answer_init(struct http_answer *a, size_t body_max)
{
    *a = (struct http_answer){0};
    buf_init(&a->body, body_max);
    buf_init(&a->line, HTTP_ANSWER_LINE_MAX);
    buf_init(&a->headers, HTTP_ANSWER_HEAD_MAX);
}

void http_answer_release(struct http_answer *a)
{
    buf_release(&a->body);
    buf_release(&a->line);
    buf_release(&a->headers);
}

const char *http_answer_header(const struct http_answer *a, const char *name)
{
    size_t length = strlen(name);
    const char *end = a->headers.data + a->headers.len;
    for (const char *line = a->headers.data; line < end; line += strlen(line) + 1)
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1;
    return NULL;
}

static bool is_token(const char *text, size_t length)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < length; i++) {
        char c = text[i], lower = (char)(c | 0x20);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && (c == '\0' || !strchr(others, c)))
            return false;
    }
    return length > 0;
}

static bool on_status(struct http_answer *a, const char *line)
{
    if (strncmp(line, "HTTP/1.", 7) != 0 || strspn(line + 7, "0123456789") != 1 || line[8] != ' ' ||
        strspn(line + 9, "0123456789") != 3 || (line[12] != ' ' && line[12] != '\0'))
        return false;
    a->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    a->last = line[7] == '0';
    a->at = AT_HEADER;
    return a->status >= 100 && a->status != 101;
}

static bool lists(const char *value, const char *word)
{
    size_t length = strlen(word);
    for (; *value; value += strcspn(value, ", \t"), value += strspn(value, ", \t"))
        if (strncasecmp(value, word, length) == 0 && (!value[length] || strchr(", \t", value[length])))
            return true;
    return false;
}

static bool on_length(struct http_answer *a, const char *value)
{
    uint64_t length = 0;
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || digits > 18 || value[digits])
        return false;
    for (; *value; value++)
        length = 10 * length + (uint64_t)(*value - '0');
    if (a->has_length && a->left != length)
        return false;
    a->has_length = true;
    a->left = length;
    return true;
}

/* Kept as "name:value". */
static bool on_header(struct http_answer *a, const char *line)
{
    const char *colon = strchr(line, ':');
    if (!colon || !is_token(line, (size_t)(colon - line)))
        return false;
    size_t name_length = (size_t)(colon - line) + 1;
    const char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t at = a->headers.len;
    buf_append(&a->headers, line, name_length);
    buf_append(&a->headers, value, (size_t)(end - value));
    buf_append(&a->headers, "", 1);
    if (!buf_ok(&a->headers))
        return false;
    value = a->headers.data + at + name_length;
    if (strncasecmp(line, "content-length:", name_length) == 0)
        return on_length(a, value);
    if (strncasecmp(line, "transfer-encoding:", name_length) == 0) {
        if (a->chunked || strcasecmp(value, "chunked") != 0)
            return false;
        a->chunked = true;
    } else if (strncasecmp(line, "connection:", name_length) == 0) {
        a->last = a->last || lists(value, "close");
    }
    return true;
}

static bool on_head_end(struct http_answer *a)
{
    if (a->status < 200) { /* the real one comes */
        buf_clear(&a->headers);
        a->status = 0;
        a->chunked = a->has_length = a->last = false;
        a->left = 0;
        a->at = AT_STATUS;
        return true;
    }
    if (a->status == 204 || a->status == 304) {
        a->state = HTTP_ANSWER_WHOLE;
        return true;
    }
    if (a->chunked) {
        a->last = a->last || a->has_length; /* RFC 9112, 6.3: somebody on the way may see another end */
        a->at = AT_CHUNK_SIZE;
    } else if (a->has_length) {
        a->at = AT_BODY;
        if (a->left == 0)
            a->state = HTTP_ANSWER_WHOLE;
        else if (a->left > a->body.max)
            a->state = HTTP_ANSWER_TOO_LONG;
    } else {
        a->last = true;
        a->at = UNTIL_CLOSE;
    }
    return true;
}

static bool on_chunk_size(struct http_answer *a, const char *line)
{
    uint64_t size = 0;
    size_t digits = 0;
    for (int value; (value = hex_digit_value(line[digits])) >= 0; digits++) {
        if (digits == 15)
            return false;
        size = 16 * size + (uint64_t)value;
    }
    const char *behind = line + digits + strspn(line + digits, " \t");
    if (digits == 0 || (*behind && *behind != ';'))
        return false;
    a->left = size;
    a->at = size > 0 ? AT_CHUNK : AT_TRAILER;
    return true;
}

/* Without its end, and without a NUL inside. */
static bool on_line(struct http_answer *a, const char *line)
{
    switch (a->at) {
    case AT_STATUS:
        return on_status(a, line);
    case AT_HEADER:
        return *line ? on_header(a, line) : on_head_end(a);
    case AT_CHUNK_SIZE:
        return on_chunk_size(a, line);
    case AT_CHUNK_END:
        a->at = AT_CHUNK_SIZE;
        return !*line;
    default: /* AT_TRAILER: what is in it is of no interest */
        if (!*line)
            a->state = HTTP_ANSWER_WHOLE;
        return true;
    }
}

/* How many of the bytes it took. */
static size_t take_line(struct http_answer *a, const char *data, size_t length)
{
    const char *end = memchr(data, '\n', length);
    size_t used = end ? (size_t)(end - data) + 1 : length;
    buf_append(&a->line, data, end ? used - 1 : used);
    if (!buf_ok(&a->line)) {
        a->state = HTTP_ANSWER_BAD;
        return used;
    }
    if (!end)
        return used;
    buf_append(&a->line, "", 0); /* an empty line has a NUL behind it, too */
    if (a->line.len > 0 && a->line.data[a->line.len - 1] == '\r')
        a->line.data[--a->line.len] = '\0';
    bool ok = (a->line.len == 0 || !memchr(a->line.data, '\0', a->line.len)) && on_line(a, a->line.len ? a->line.data : "");
    if (!ok)
        a->state = HTTP_ANSWER_BAD;
    buf_clear(&a->line);
    return used;
}

static size_t take_body(struct http_answer *a, const char *data, size_t length)
{
    size_t n = a->at != UNTIL_CLOSE && length > a->left ? (size_t)a->left : length;
    buf_append(&a->body, data, n);
    if (!buf_ok(&a->body)) {
        a->state = HTTP_ANSWER_TOO_LONG;
        return n;
    }
    if (a->at == UNTIL_CLOSE)
        return n;
    a->left -= n;
    if (a->left == 0 && a->at == AT_CHUNK)
        a->at = AT_CHUNK_END;
    else if (a->left == 0)
        a->state = HTTP_ANSWER_WHOLE;
    return n;
}

enum http_answer_state http_answer_feed(struct http_answer *a, const char *data, size_t length)
{
    a->begun = a->begun || length > 0;
    while (length > 0 && a->state == HTTP_ANSWER_MORE) {
        bool is_body = a->at == AT_BODY || a->at == AT_CHUNK || a->at == UNTIL_CLOSE;
        size_t n = is_body ? take_body(a, data, length) : take_line(a, data, length);
        data += n;
        length -= n;
    }
    if (length > 0)
        a->last = true; /* nobody asked for more */
    return a->state;
}

enum http_answer_state http_answer_end(struct http_answer *a)
{
    a->last = true;
    if (a->state == HTTP_ANSWER_MORE)
        a->state = a->at == UNTIL_CLOSE ? HTTP_ANSWER_WHOLE : HTTP_ANSWER_BAD;
    return a->state;
}
