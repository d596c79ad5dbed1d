/* One line of progress, as text. Pure: what the terminal is and can do is told by the caller.
 *
 *     Streaming data     [#########         ]  52 %   3.1 M rows   412 MB   88 MB/s   0:12
 *
 * It never takes more columns than it is given: the least important part goes first. */
#ifndef CLI_PROGRESS_BAR_H
#define CLI_PROGRESS_BAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct progress {
    const char *state;  /* what is being done, from the server: any bytes */
    double percent;     /* 0 to 100; below 0: unknown */
    int64_t rows;       /* below 0: unknown */
    int64_t bytes;      /* below 0: unknown */
    double rate;        /* bytes per second; 0: unknown */
    int64_t elapsed_ms; /* since the beginning */
};

struct progress_style {
    unsigned columns; /* of the terminal; the last one stays empty, since some terminals wrap there */
    bool utf8;        /* else ASCII only */
    bool colour;
};

/* Appends the line, without control of the cursor and without a newline. */
void progress_bar_render(struct buf *out, const struct progress_style *style, const struct progress *p);

/* The same for a log: all that is known, in words. */
void progress_line_render(struct buf *out, const struct progress *p);

/* "999 B", "1.23 MB" (powers of 1,000); "0:07", "1:02:03"; "12,345". */
void format_bytes(struct buf *out, double bytes);
void format_elapsed(struct buf *out, int64_t ms);
void format_count(struct buf *out, int64_t count);

/* Appends text from a peer for a terminal: control characters (escape sequences among them) and what is not
 * UTF-8 become '?', and so does everything beyond ASCII unless `utf8`; newlines and tabs stay if `lines`,
 * else become spaces. At most `columns` columns, where a character beyond U+10FF counts as two: some are that
 * wide. Returns the columns taken. */
unsigned append_safe_text(struct buf *out, const char *text, bool utf8, bool lines, unsigned columns);

#endif
