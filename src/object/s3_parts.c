#include "object/s3_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 16

void s3_parts_release(struct s3_parts *p)
{
    for (uint32_t i = 0; i < p->room; i++)
        free(p->etags[i]);
    free(p->etags);
}

bool s3_etag_ok(const char *etag)
{
    size_t length = strlen(etag);
    if (length >= 2 && etag[0] == '"' && etag[length - 1] == '"') {
        etag++;
        length -= 2;
    }
    return length > 0 &&
           strspn(etag, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:+/=") == length;
}

bool s3_parts_set(struct s3_parts *p, uint32_t number, const char *etag)
{
    assert(number >= 1);
    if (number > p->room) {
        uint32_t room = p->room ? p->room : FIRST_ROOM;
        while (room < number)
            room *= 2;
        char **larger = realloc(p->etags, room * sizeof *larger);
        if (!larger)
            return false;
        memset(larger + p->room, 0, (room - p->room) * sizeof *larger);
        p->etags = larger;
        p->room = room;
    }
    char *copy = strdup(etag);
    if (!copy)
        return false;
    free(p->etags[number - 1]);
    p->etags[number - 1] = copy;
    return true;
}

void s3_parts_append_complete(const struct s3_parts *p, uint32_t count, struct buf *b)
{
    buf_append_text(b, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (uint32_t i = 0; i < count; i++) {
        const char *etag = p->etags[i];
        bool quoted = etag[0] == '"';
        const char *quote = quoted ? "&quot;" : "";
        buf_printf(b, "<Part><PartNumber>%" PRIu32 "</PartNumber><ETag>%s%.*s%s</ETag></Part>", i + 1, quote,
                   (int)strlen(etag) - 2 * quoted, etag + quoted, quote);
    }
    buf_append_text(b, "</CompleteMultipartUpload>");
}
