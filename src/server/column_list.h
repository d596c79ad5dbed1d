/* The columns of a result as a worker tells them: one JSON object, {"columns":[{"name":"a","type":"INTEGER"},...]}
 * and, where some are left out, "columns_truncated":true (worker/export.h). Pure. */
#ifndef SERVER_COLUMN_LIST_H
#define SERVER_COLUMN_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Objects in the list: a worker has room for some 20,000 (EXPORT_COLUMNS_MAX). A list of two million would hold the
 * event loop for a second. */
#define COLUMN_LIST_MAX 50000

/* `*ret_columns` is the list alone, written anew: JSON without a line end, in UTF-8; a NUL in a name is an escape, so
 * that any store can hold it. free() it. ERROR_WORKER: anything else than such an object. */
MUST_CHECK bool column_list_read(const char *json, size_t length, char **ret_columns, bool *ret_truncated,
                                 struct error *e);

#endif
