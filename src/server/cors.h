/* Which web pages may use the API from a browser (Fetch standard, CORS protocol). With credentials, so the
 * origin is always echoed and never `*`. Immutable once made. */
#ifndef SERVER_CORS_H
#define SERVER_CORS_H

#include "base/error.h"
#include "server/http.h"

struct cors;

/* `list`: origins with commas between them; `*.` before a host is every sub-domain of it, of any depth,
 * but not the host itself. "" allows none. NULL: `e` says which one is no origin. */
struct cors *cors_new(const char *list, struct error *e);
void cors_free(struct cors *c); /* NULL is fine */

bool cors_allows(const struct cors *c, const char *origin);

/* Sets the headers of the answer, where the request comes from an origin that is allowed. */
void cors_apply(const struct cors *c, struct http_request *r);

#endif
