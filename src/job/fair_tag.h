/* Fairness between organisations: start-time fair queueing with jobs of equal weight. Pure.
 *
 * A job gets its tag when it is stored, and the waiting job with the smallest tag (the oldest among equals)
 * runs next: an organisation with 1,000 waiting jobs delays another's first by the jobs that already run and
 * one more, not by 1,000. First in, first out within one. */
#ifndef JOB_FAIR_TAG_H
#define JOB_FAIR_TAG_H

#include <stdint.h>

/* The tag of a new job, 1 at least. `last_of_org`: the largest tag of the organisation's jobs in the queue,
 * waiting or running (0: none). `now`: the smallest tag that is ready, or, where none is, the largest that
 * runs or waits for its delay (0: the queue is empty). */
int64_t fair_tag(int64_t last_of_org, int64_t now);

#endif
