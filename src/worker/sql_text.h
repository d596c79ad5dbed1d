/* Where a statement ends: the lexical rules of DuckDB's parser (PostgreSQL's, but for "#1" and "?1"), and no
 * more.
 *
 * The engine has parsed the text before; this only finds what to put into parentheses, and words for a
 * refusal. Pure; any thread. https://www.postgresql.org/docs/15/sql-syntax-lexical.html */
#ifndef WORKER_SQL_TEXT_H
#define WORKER_SQL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct sql_text {
    size_t begin, end;     /* the first statement: from its first token to behind its last one, no ';' */
    size_t keyword_length; /* of the word that the first statement begins with, at `begin`; 0: no word */
    size_t statements;     /* separated by ';'; empty ones do not count */
};

/* Never fails: text that does not end well (an open quote or comment) is taken to end there. */
struct sql_text sql_text_scan(const char *sql, size_t length);

/* Where a statement that begins with this word yields no rows, or none that can be taken as a subquery: what
 * it is, with its article ("an INSERT"). Else NULL. The result lives for ever. */
const char *sql_text_other_statement(const char *keyword, size_t length);

/* The name of the first function in `json`, which is what DuckDB's json_serialize_sql() gives, that reads
 * files or touches the whole instance (read_text, enable_logging, ...); with `has_token` also of the first that
 * shows settings, the source's token among them. NULL: there is none. The result lives for ever. */
const char *sql_text_refused_function(const char *json, size_t length, bool has_token);

#endif
