/* The query of a request target: name=value&name=value, percent-encoded, `+` for a blank (pure). */
#ifndef SERVER_HTTP_QUERY_H
#define SERVER_HTTP_QUERY_H

#include "base/cleanup.h"

struct http_query;

/* `text` is what follows the `?`, without encoded NULs (the gate refuses them). NULL: out of memory. */
struct http_query *http_query_new(const char *text);
void http_query_free(struct http_query *q); /* NULL is fine */

/* The value, decoded ("" where there is no `=`); NULL: none, or more than one of that name. */
const char *http_query_get(const struct http_query *q, const char *name);

#endif
