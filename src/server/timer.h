/* One-shot timers of the event loop, in milliseconds. */
#ifndef SERVER_TIMER_H
#define SERVER_TIMER_H

#include <event2/event.h>
#include <stdint.h>

/* From now on; a timer that runs already is set anew. Loop only. */
static inline void timer_set(struct event *timer, uint64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(timer, &tv);
}

#endif
