/* A look at JSON from outside before it is read: a reader needs memory and time for every value, whatever its bytes. */
#ifndef BASE_JSON_VALUES_H
#define BASE_JSON_VALUES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether there are more than `most` commas between values, of which each parts two. Stops behind them. What is no JSON may give
 * either answer. */
bool json_has_more_commas(const char *json, size_t length, size_t most);

#endif
