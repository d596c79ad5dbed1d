#include "server/column_list.h"

#include <jansson.h>

#include "base/cleanup.h"
#include "base/json_values.h"

/* Of one column: two values. */
#define COMMAS_MAX (2 * COLUMN_LIST_MAX)

static bool is_column(const json_t *column)
{
    return json_object_size(column) == 2 && json_is_string(json_object_get(column, "name")) &&
           json_is_string(json_object_get(column, "type"));
}

static bool is_list(const json_t *all)
{
    const json_t *list = json_object_get(all, "columns"), *truncated = json_object_get(all, "columns_truncated");
    const json_t *column;
    size_t i;
    if (json_object_size(all) != (truncated ? 2 : 1) || (truncated && !json_is_true(truncated)))
        return false;
    if (!json_is_array(list) || (json_array_size(list) == 0 && !truncated))
        return false;
    json_array_foreach(list, i, column)
        if (!is_column(column))
            return false;
    return true;
}

bool column_list_read(const char *json, size_t length, char **ret_columns, bool *ret_truncated, struct error *e)
{
    if (json_has_more_commas(json, length, COMMAS_MAX))
        return error_set(e, ERROR_WORKER, "more than %d columns", COLUMN_LIST_MAX);
    json_t *all = json_loadb(json, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    bool ok = all && is_list(all);
    char *columns = ok ? json_dumps(json_object_get(all, "columns"), JSON_COMPACT) : NULL;
    bool truncated = json_object_get(all, "columns_truncated");
    json_decref(all);
    if (!ok)
        return error_set(e, ERROR_WORKER, "columns that cannot be read");
    if (!columns)
        return error_set(e, ERROR_MEMORY, "out of memory");
    *ret_columns = columns;
    *ret_truncated = truncated;
    return true;
}
