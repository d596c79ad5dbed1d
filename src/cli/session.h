/* What all parts of `get` share: the connection, the display, the user's patience. One thread. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <jansson.h>

#include "base/buf.h"
#include "base/http_client.h"
#include "cli/display.h"
#include "cli/exit_code.h"

#define SESSION_CONNECT_MS (10 * 1000)
#define SESSION_SILENCE_MS (60 * 1000) /* the server's heartbeat comes every 15 s */
#define SESSION_ANSWER_MAX \
    (8 * 1024 * 1024) /* of an answer kept whole: a record holds its SQL, up to 4 MiB */

struct session {
    struct http_client *http;
    struct display display;
    int64_t wait_ms;     /* how long a server may stay busy or unreachable */
    int64_t deadline_ms; /* on the monotonic clock; 0: none */
};

/* SIGINT, SIGTERM and SIGHUP stop what is under way, within HTTP_CLIENT_TICK_MS; a second one ends the
 * program. */
void session_catch_signals(void);

/* Draws; false when interrupted, or past the deadline. Called by the `tick` of every request. */
bool session_tick(struct session *s);

/* Why session_tick() was false, said to the user: EXIT_INTERRUPTED, or EXIT_FAILED for the deadline. */
enum exit_code session_stopped(struct session *s);

/* Tries again: with full jitter, 200 ms doubling to 5 s, until `wait_ms` have passed without a sign of life.
 */
struct retry {
    struct session *session;
    int64_t gives_up_ms;
    unsigned attempt;
};
void retry_init(struct retry *r, struct session *s);
void retry_alive(struct retry *r);    /* the other side answers: patience starts anew */
void retry_progress(struct retry *r); /* and gets on: so does the pace */

/* Waits, and at least as long as the last answer's Retry-After asks; false when patience is over, or at once
 * when session_tick() says no. */
bool retry_pause(struct retry *r);

/* Whether a status is worth another attempt. */
bool status_is_transient(int status);

/* What an answer other than the wanted one says: its {"error": "..."}, else its status. */
void session_append_refusal(const struct session *s, const struct buf *answer, struct buf *out);

#endif
