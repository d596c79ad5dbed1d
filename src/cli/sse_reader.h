/* Server-Sent Events out of bytes, as they come: the "Interpreting an event stream" rules of the WHATWG HTML
 * standard. Pure: no input or output, one thread. Lines end in LF, CR or CRLF, wherever the pieces are cut.
 */
#ifndef CLI_SSE_READER_H
#define CLI_SSE_READER_H

#include "base/buf.h"
#include "base/error.h"

/* Ceiling of a line, and of an event's data and id, in bytes: ours; the server's lines stay below 64 KiB. */
#define SSE_LINE_MAX (1024 * 1024)

/* Valid during the callback only. Texts end in a NUL, but may hold one too: `data_len` tells. */
struct sse_event {
    const char *type; /* "" where the stream named none */
    const char *data;
    size_t data_len;
};

struct sse_reader {
    struct buf line, type, data, id, last_id;
    bool first_line; /* of the stream: may begin with a byte order mark */
    bool after_cr;   /* an LF now is the second half of a CRLF */
    bool has_data;
    bool (*event)(void *context, const struct sse_event *event); /* false: take no more */
    void *context;
};

void sse_reader_init(struct sse_reader *r, bool (*event)(void *context, const struct sse_event *event),
                     void *context);
void sse_reader_release(struct sse_reader *r);

/* A new stream begins: what was half read is dropped, the last event id stays. */
void sse_reader_restart(struct sse_reader *r);

/* False with ERROR_NONE in `e` when the callback wants no more, and with ERROR_TOO_LARGE past the ceiling;
 * the reader then takes nothing more until a restart. */
MUST_CHECK bool sse_reader_feed(struct sse_reader *r, const char *bytes, size_t len, struct error *e);

/* The id to resume after; "" for none. */
const char *sse_reader_last_id(const struct sse_reader *r);

#endif
