/* Random tables over every type of the engine, as SQL text; the same seed gives the same text. For the
 * differential test. Values are chosen for what a CSV writer can get wrong: quotes, line ends, limits,
 * infinities, NULL. */
#ifndef TESTS_RANDOM_TABLE_H
#define TESTS_RANDOM_TABLE_H

#include <stdint.h>

#include "base/buf.h"

struct random_source {
    uint64_t state;
};

uint64_t random_next(struct random_source *r);
uint64_t random_below(struct random_source *r, uint64_t n);

/* Statements, each ended by ";\n", that make the table `name` with columns c0, c1, ... and fill it; and in
 * `ret_columns` how many there are. */
void random_table(struct random_source *r, const char *name, struct buf *sql, uint32_t *ret_columns);

/* A query over such a table, without a ';'. */
void random_query(struct random_source *r, const char *name, uint32_t columns, struct buf *sql);

#endif
