#include "worker/export.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

bool export_fail_cancelled(struct error *e)
{
    return error_set(e, ERROR_CANCELLED, "the download was cancelled");
}

static json_t *column_json(const struct engine_columns *columns, size_t i)
{
    return json_pack("{s:s, s:s}", "name", columns->names[i], "type", columns->types[i]);
}

/* Bytes of a text in JSON, at most. */
static size_t json_length(const char *text)
{
    size_t length = 0;
    for (; *text; text++)
        length += (unsigned char)*text < ' ' ? sizeof "\\u0000" - 1 : *text == '"' || *text == '\\' ? 2 : 1;
    return length;
}

static size_t room_for(const struct engine_columns *columns, size_t i)
{
    return json_length(columns->names[i]) + json_length(columns->types[i]) + sizeof "{\"name\":\"\",\"type\":\"\"}";
}

bool export_tell_columns(struct export *x, const struct engine_columns *columns, struct error *e)
{
    json_t *list = json_array(), *all = json_pack("{s:o}", "columns", list);
    size_t room = EXPORT_COLUMNS_MAX, i = 0;
    bool ok = all != NULL;
    for (; ok && i < columns->count && room_for(columns, i) < room; i++) {
        room -= room_for(columns, i);
        ok = json_array_append_new(list, column_json(columns, i)) == 0;
    }
    if (ok && i < columns->count)
        ok = json_object_set_new(all, "columns_truncated", json_true()) == 0;
    _cleanup_free_ char *text = ok ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    if (!text)
        return error_set(e, ERROR_MEMORY, "out of memory");
    x->tell_columns(x->context, text, strlen(text));
    return true;
}
