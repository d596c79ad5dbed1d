#include "job/retry.h"

uint64_t retry_delay_ms(uint32_t failures_before, uint64_t base_ms, uint64_t random)
{
    uint64_t delay = base_ms < RETRY_DELAY_MAX_MS ? base_ms : RETRY_DELAY_MAX_MS;
    for (; failures_before > 0 && delay > 0 && delay < RETRY_DELAY_MAX_MS; failures_before--)
        delay *= 4;
    if (delay > RETRY_DELAY_MAX_MS)
        delay = RETRY_DELAY_MAX_MS;
    return delay - random % (delay / 2 + 1);
}
