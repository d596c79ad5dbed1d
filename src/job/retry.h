/* How long a job that failed waits for its next attempt: backoff with jitter. Pure. */
#ifndef JOB_RETRY_H
#define JOB_RETRY_H

#include <stdint.h>

#define RETRY_DELAY_MAX_MS UINT64_C(60000)

/* base_ms * 4^failures_before, at most RETRY_DELAY_MAX_MS, and of that a part between the half and the whole, which
 * `random` (uniform) picks: jobs that failed together, with their store, do not come back together.
 * `failures_before`: how often the job had failed before this time; 0 for its first failure. */
uint64_t retry_delay_ms(uint32_t failures_before, uint64_t base_ms, uint64_t random);

#endif
