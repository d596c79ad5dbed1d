#include "cli/sse_reader.h"

#include <string.h>

void sse_reader_init(struct sse_reader *r, bool (*event)(void *context, const struct sse_event *event),
                     void *context)
{
    *r = (struct sse_reader){.first_line = true, .event = event, .context = context};
    struct buf *all[] = {&r->line, &r->type, &r->data, &r->id, &r->last_id};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        buf_init(all[i], SSE_LINE_MAX);
}

void sse_reader_release(struct sse_reader *r)
{
    struct buf *all[] = {&r->line, &r->type, &r->data, &r->id, &r->last_id};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        buf_release(all[i]);
}

static void set(struct buf *b, const char *data, size_t len)
{
    buf_clear(b);
    buf_append(b, data, len);
}

static void clear_event(struct sse_reader *r)
{
    buf_clear(&r->type);
    buf_clear(&r->data);
    r->has_data = false;
}

void sse_reader_restart(struct sse_reader *r)
{
    buf_clear(&r->line);
    set(&r->id, r->last_id.data, r->last_id.len);
    clear_event(r);
    r->first_line = true;
    r->after_cr = false;
}

const char *sse_reader_last_id(const struct sse_reader *r)
{
    return r->last_id.data ? r->last_id.data : "";
}

/* A blank line: the event is whole. One without data only moves the id. */
static bool dispatch(struct sse_reader *r)
{
    set(&r->last_id, r->id.data, r->id.len);
    if (!r->has_data) {
        clear_event(r);
        return true;
    }
    bool more = r->event(r->context, &(struct sse_event){.type = r->type.data ? r->type.data : "",
                                                         .data = r->data.data,
                                                         .data_len = r->data.len});
    clear_event(r);
    return more;
}

static bool is_field(const char *name, size_t name_len, const char *wanted)
{
    return name_len == strlen(wanted) && memcmp(name, wanted, name_len) == 0;
}

/* `retry` and unknown fields are passed over: the client has a back-off of its own. A comment has an empty
 * name. */
static void take_field(struct sse_reader *r, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : len;
    const char *value = colon ? colon + 1 : line + len;
    size_t value_len = (size_t)(line + len - value);
    if (value_len && value[0] == ' ') {
        value++;
        value_len--;
    }
    if (is_field(line, name_len, "data")) {
        if (r->has_data)
            buf_append(&r->data, "\n", 1);
        buf_append(&r->data, value, value_len);
        r->has_data = true;
    } else if (is_field(line, name_len, "event")) {
        set(&r->type, value, value_len);
    } else if (is_field(line, name_len, "id") && !memchr(value, '\0', value_len)) {
        set(&r->id, value, value_len);
    }
}

static bool end_line(struct sse_reader *r)
{
    const char *line = r->line.data ? r->line.data : "";
    size_t len = r->line.len;
    if (r->first_line && len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
        len -= 3;
    }
    r->first_line = false;
    bool more = true;
    if (len)
        take_field(r, line, len);
    else
        more = dispatch(r);
    buf_clear(&r->line);
    return more;
}

bool sse_reader_feed(struct sse_reader *r, const char *bytes, size_t len, struct error *e)
{
    const char *end = bytes + len;
    while (bytes < end) {
        if (r->after_cr && *bytes == '\n') {
            r->after_cr = false;
            bytes++;
            continue;
        }
        r->after_cr = false;
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        buf_append(&r->line, bytes, (size_t)(stop - bytes));
        if (!buf_ok(&r->line) || !buf_ok(&r->data))
            return error_set(e, ERROR_TOO_LARGE, "the server sent an event longer than %d bytes",
                             SSE_LINE_MAX);
        bytes = stop;
        if (stop == end)
            break;
        r->after_cr = *stop == '\r';
        bytes++;
        if (!end_line(r)) {
            e->code = ERROR_NONE;
            return false;
        }
    }
    return true;
}
