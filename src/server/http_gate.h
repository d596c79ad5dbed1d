/* What evhttp lets through and no handler may see (pure).
 *
 * A request that two programs could read in two ways is how one client's bytes become another's request
 * behind a proxy (RFC 9112 section 11.2); so whatever is doubtful about a message's length, target or host is
 * refused and the connection closed. */
#ifndef SERVER_HTTP_GATE_H
#define SERVER_HTTP_GATE_H

#include <event2/keyvalq_struct.h>
#include <stdbool.h>

#define HTTP_TARGET_MAX (8 * 1024) /* RFC 9110 section 4.1 asks for 8,000 bytes at least */

struct http_gate_request {
    const struct evkeyvalq *headers;
    const char *target; /* as sent */
    int major, minor;   /* of the HTTP version */
    bool is_options;
    bool body_is_read; /* false: the parser takes no body with this method, and would read one as the next
                          request */
};

/* NULL: may pass. Else the reason, for the client. */
const char *http_gate_check(const struct http_gate_request *r);

#endif
