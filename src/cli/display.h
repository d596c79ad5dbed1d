/* What `get` shows while it waits, on standard error: a bar on a terminal, plain lines elsewhere, nothing if
 * quiet. One thread. The terminal's cursor is hidden while a bar stands, and shown again by
 * display_release(), by SIGTSTP, and before any other text. */
#ifndef CLI_DISPLAY_H
#define CLI_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/progress_bar.h"

enum display_mode { DISPLAY_QUIET, DISPLAY_LINES, DISPLAY_BAR };

struct display {
    enum display_mode mode;
    bool utf8, colour;
    bool bar_stands; /* the cursor is hidden and its line is ours */
    char state[256]; /* what `progress.state` points to */
    struct progress progress;
    int64_t started_ms, drawn_ms;
    int64_t rate_at_ms, rate_bytes; /* the last sample */
};

/* A terminal that can be drawn on: DISPLAY_BAR; colours unless NO_COLOR is set (no-color.org). */
void display_init(struct display *d, bool quiet);
void display_release(struct display *d);

/* A new state begins: what was known of the last one's progress no longer holds. The same again changes
 * nothing. */
void display_state(struct display *d, const char *state);

/* Below 0: unknown. */
void display_progress(struct display *d, double percent, int64_t rows, int64_t bytes);

/* Draws if it is time to. Call it often. */
void display_tick(struct display *d);

/* A line for people, also when quiet; what a peer sent is made safe. */
void display_print(struct display *d, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
