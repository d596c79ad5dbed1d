/* The time zones that a request may name. */
#ifndef FORMAT_TIMEZONES_H
#define FORMAT_TIMEZONES_H

#include <stddef.h>

/* In the order of strcmp(). */
extern const char *const timezone_names[];
extern const size_t timezone_count;

#endif
