/* Reads an HTTP/1.1 answer as it comes (RFC 9112). Pure.
 *
 * What is not clear is refused, never guessed: a header line that is folded or has no name, lengths that contradict each
 * other, a transfer coding other than "chunked". Interim answers (1xx) are skipped; 101 is refused. */
#ifndef BASE_HTTP_ANSWER_H
#define BASE_HTTP_ANSWER_H

#include <stdint.h>

#include "base/buf.h"

/* Bytes of all headers, and of one line. */
#define HTTP_ANSWER_HEAD_MAX ((size_t)64 * 1024)
#define HTTP_ANSWER_LINE_MAX ((size_t)16 * 1024)

enum http_answer_state {
    HTTP_ANSWER_MORE,     /* it is not over */
    HTTP_ANSWER_WHOLE,    /* it is over */
    HTTP_ANSWER_BAD,      /* it is no HTTP, or too long a head */
    HTTP_ANSWER_TOO_LONG, /* its body is longer than allowed */
};

struct http_answer {
    int status;      /* 0 until it is known */
    bool begun;      /* some byte has come */
    bool last;       /* the connection is of no use for another request, once this is whole */
    struct buf body; /* NUL behind it */

    /* Its own. */
    enum http_answer_state state;
    enum { AT_STATUS, AT_HEADER, AT_BODY, AT_CHUNK_SIZE, AT_CHUNK, AT_CHUNK_END, AT_TRAILER, UNTIL_CLOSE } at;
    struct buf line, headers; /* the line that is coming; "name: value" and a NUL, each */
    bool chunked, has_length;
    uint64_t left; /* bytes of the body or of the chunk */
};

/* Of a request other than HEAD and CONNECT. */
void http_answer_init(struct http_answer *a, size_t body_max);
void http_answer_release(struct http_answer *a);

/* The next bytes. Once it is not HTTP_ANSWER_MORE any more, the state stays. */
enum http_answer_state http_answer_feed(struct http_answer *a, const char *data, size_t length);

/* The peer has closed the connection: that ends some answers, and makes others bad. */
enum http_answer_state http_answer_end(struct http_answer *a);

/* NULL: absent (so far). The first where there are several. */
const char *http_answer_header(const struct http_answer *a, const char *name);

#endif
