/* Shared by value_float.c and the tables that value_tables.py makes for it. */
#ifndef WORKER_VALUE_FLOAT_H
#define WORKER_VALUE_FLOAT_H

#include <stdint.h>

/* 10^k is upper:lower times a power of two, with the highest bit set; rounded up where 128 bits do not do. */
struct value_significand {
    uint64_t upper, lower;
};

#define VALUE_SIGNIFICANDS_FIRST (-292) /* k of the first */

extern const struct value_significand value_significands[]; /* up to k = 324 */

#endif
