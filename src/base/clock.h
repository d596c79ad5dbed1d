/* Time. Wall-clock times are microseconds since 1970-01-01T00:00:00Z; durations are milliseconds unless named. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <stdbool.h>
#include <stddef.h>

int64_t clock_wall_us(void);
int64_t clock_monotonic_ms(void); /* never jumps; for deadlines */

/* Processor time so far, user and system, in nanoseconds: of the calling thread, of the process. */
int64_t clock_thread_cpu_ns(void);
int64_t clock_process_cpu_ns(void);

#define CLOCK_RFC3339_SIZE 32

/* "2024-02-29T12:34:56.789012Z" (RFC 3339, UTC, microseconds). `out` has CLOCK_RFC3339_SIZE bytes. */
void clock_format_rfc3339(int64_t wall_us, char *out);

#endif
