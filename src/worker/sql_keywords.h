/* The engine's keywords, of all kinds: names that it writes in quotes. Pure. */
#ifndef WORKER_SQL_KEYWORDS_H
#define WORKER_SQL_KEYWORDS_H

#include <stdbool.h>

/* In capitals or not. */
bool sql_is_keyword(const char *word);

#endif
