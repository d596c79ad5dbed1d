/* How fast the queue drains: the ends of this instance's jobs in the last minute. For the Retry-After of a full queue.
 *
 * An estimate for clients. Where several instances share a queue, each knows its own ends only, and tells its clients to
 * wait longer than they had to. On the event loop. */
#ifndef SERVER_DRAIN_RATE_H
#define SERVER_DRAIN_RATE_H

#include <stdint.h>

#define DRAIN_RATE_WINDOW_MS 60000
#define DRAIN_RATE_ENDS 1024 /* at most; of a faster queue the newest */
#define DRAIN_RATE_MIN_S 1
#define DRAIN_RATE_MAX_S 300
#define DRAIN_RATE_UNKNOWN_S 10 /* no job has ended in the last minute */

struct drain_rate;

struct drain_rate *drain_rate_new(void); /* NULL: out of memory */
void drain_rate_free(struct drain_rate *r);

/* A job of that organisation has ended and will not run again. `now_ms`: clock_monotonic_ms(). */
void drain_rate_note(struct drain_rate *r, int64_t now_ms, const char *org);

/* In how many seconds so many places are free: at the rate of that organisation's jobs, where any ended in the last minute,
 * else (or with NULL) at that of all. */
unsigned drain_rate_retry_after_s(const struct drain_rate *r, int64_t now_ms, const char *org, uint64_t places);

#endif
