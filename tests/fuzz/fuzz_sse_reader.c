/* An event stream, from whoever answers as a server.
 *
 * Input: a byte, the length of the pieces; then the stream. Read in one piece and in many, it holds the same
 * events. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cli/sse_reader.h"
#include "fuzz.h"

struct reading {
    struct buf events;
    bool ended;
    struct error error;
    char last_id[256];
};

static bool note_event(void *context, const struct sse_event *event)
{
    struct reading *reading = context;
    assert(event->data[event->data_len] == '\0');
    buf_printf(&reading->events, "%s %zu ", event->type, event->data_len);
    buf_append(&reading->events, event->data, event->data_len);
    return strcmp(event->type, "stop") != 0;
}

static void read_stream(struct reading *ret, const char *stream, size_t length, size_t step)
{
    struct sse_reader r;
    buf_init(&ret->events, 4 * SSE_LINE_MAX);
    sse_reader_init(&r, note_event, ret);
    for (size_t at = 0; at < length && !ret->ended; at += step) {
        size_t piece = length - at < step ? length - at : step;
        ret->ended = !sse_reader_feed(&r, stream + at, piece, &ret->error);
    }
    snprintf(ret->last_id, sizeof ret->last_id, "%s", sse_reader_last_id(&r));
    sse_reader_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    if (length < 2)
        return 0;
    static struct reading whole, pieces;
    memset(&whole, 0, sizeof whole);
    memset(&pieces, 0, sizeof pieces);
    const char *stream = (const char *)data + 1;
    read_stream(&whole, stream, length - 1, length - 1);
    read_stream(&pieces, stream, length - 1, data[0] ? data[0] : 1);
    assert(whole.ended == pieces.ended && whole.error.code == pieces.error.code);
    assert(whole.events.len == pieces.events.len);
    assert(!whole.events.len || memcmp(whole.events.data, pieces.events.data, whole.events.len) == 0);
    assert(strcmp(whole.last_id, pieces.last_id) == 0);
    buf_release(&whole.events);
    buf_release(&pieces.events);
    return 0;
}
