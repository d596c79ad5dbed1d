#include "worker/sql_text.h"

#include <string.h>

struct cursor {
    const char *at, *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_word_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_word_start(c) || is_digit(c) || c == '$';
}

static bool looking_at(const struct cursor *c, const char *two)
{
    return c->end - c->at >= 2 && c->at[0] == two[0] && c->at[1] == two[1];
}

static void skip_line_comment(struct cursor *c)
{
    while (c->at < c->end && *c->at != '\n' && *c->at != '\r')
        c->at++;
}

static void skip_block_comment(struct cursor *c)
{
    size_t depth = 0;
    do {
        if (looking_at(c, "/*")) {
            depth++;
            c->at += 2;
        } else if (looking_at(c, "*/")) {
            depth--;
            c->at += 2;
        } else {
            c->at++;
        }
    } while (depth > 0 && c->at < c->end);
}

/* Skips blanks and comments; true if there were any. */
static bool skip_blank(struct cursor *c)
{
    const char *start = c->at;
    while (c->at < c->end) {
        if (is_space(*c->at))
            c->at++;
        else if (looking_at(c, "--"))
            skip_line_comment(c);
        else if (looking_at(c, "/*"))
            skip_block_comment(c);
        else
            break;
    }
    return c->at > start;
}

/* A quote inside is written twice, and is then taken for the end of one run and the start of the next. */
static void skip_quoted(struct cursor *c, char quote)
{
    const char *close = memchr(c->at + 1, quote, (size_t)(c->end - c->at - 1));
    c->at = close ? close + 1 : c->end;
}

/* True if a string goes on here: blanks and line comments with a line end among them, then a quote
 * (SQL:1999 5.3). */
static bool string_continues(const struct cursor *from, struct cursor *ret_quote)
{
    struct cursor c = *from;
    bool line_end = false;
    for (; c.at < c.end; c.at++) {
        if (looking_at(&c, "--")) {
            skip_line_comment(&c);
            if (c.at == c.end)
                return false;
        }
        if (!is_space(*c.at))
            break;
        line_end = line_end || *c.at == '\n' || *c.at == '\r';
    }
    if (!line_end || c.at == c.end || *c.at != '\'')
        return false;
    *ret_quote = c;
    return true;
}

/* E'it\'s': a backslash takes the next byte with it, in every piece of the string. */
static void skip_escaped(struct cursor *c)
{
    do {
        c->at++;
        while (c->at < c->end && *c->at != '\'')
            c->at += *c->at == '\\' && c->end - c->at > 1 ? 2 : 1;
        if (c->at < c->end)
            c->at++;
    } while (c->at < c->end && (*c->at == '\'' || string_continues(c, c)));
}

/* $tag$ ... $tag$; a lone dollar or a parameter ($1) is one byte to skip. */
static void skip_dollar(struct cursor *c)
{
    const char *tag = c->at++;
    if (c->at < c->end && is_digit(*c->at))
        return;
    const char *p = c->at;
    while (p < c->end && *p != '$' && is_word(*p))
        p++;
    if (p == c->end || *p != '$')
        return;
    size_t length = (size_t)(p + 1 - tag);
    const char *close = memmem(p + 1, (size_t)(c->end - p - 1), tag, length);
    c->at = close ? close + length : c->end;
}

static void skip_word(struct cursor *c)
{
    const char *start = c->at;
    while (c->at < c->end && is_word(*c->at))
        c->at++;
    if (c->at - start == 1 && (*start == 'e' || *start == 'E') && c->at < c->end && *c->at == '\'')
        skip_escaped(c);
}

static void skip_token(struct cursor *c)
{
    char first = *c->at;
    if (first == '\'' || first == '"')
        skip_quoted(c, first);
    else if (first == '$')
        skip_dollar(c);
    else if (is_word_start(first))
        skip_word(c);
    else if (is_digit(first))
        while (c->at < c->end && (is_digit(*c->at) || *c->at == '_' || *c->at == '.'))
            c->at++;
    else
        c->at++;
}

static size_t word_length(const char *from, const char *end)
{
    const char *p = from;
    while (p < end && is_word_start(*p))
        p++;
    return (size_t)(p - from);
}

struct sql_text sql_text_scan(const char *sql, size_t length)
{
    struct sql_text t = {0};
    struct cursor c = {.at = sql, .end = sql + length};
    bool in_statement = false;
    while (skip_blank(&c), c.at < c.end) {
        if (*c.at == ';') {
            in_statement = false;
            c.at++;
            continue;
        }
        if (!in_statement) {
            in_statement = true;
            t.statements++;
            if (t.statements == 1) {
                t.begin = (size_t)(c.at - sql);
                t.keyword_length = word_length(c.at, c.end);
            }
        }
        skip_token(&c);
        if (t.statements == 1)
            t.end = (size_t)(c.at - sql);
    }
    return t;
}

static const char *const others[] = {
    "an ALTER",   "an ANALYZE", "an ATTACH",  "a BEGIN",      "a CALL",    "a CHECKPOINT", "a COMMENT",
    "a COMMIT",   "a COPY",     "a CREATE",   "a DEALLOCATE", "a DELETE",  "a DETACH",     "a DROP",
    "an END",     "an EXECUTE", "an EXPLAIN", "an EXPORT",    "a FORCE",   "an IMPORT",    "an INSERT",
    "an INSTALL", "a LOAD",     "a MERGE",    "a PRAGMA",     "a PREPARE", "a RESET",      "a ROLLBACK",
    "a SET",      "a START",    "a TRUNCATE", "an UPDATE",    "a USE",     "a VACUUM",     "an ABORT",
};

const char *sql_text_other_statement(const char *keyword, size_t length)
{
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        const char *word = strchr(others[i], ' ') + 1;
        if (strlen(word) == length && strncasecmp(word, keyword, length) == 0)
            return others[i];
    }
    return NULL;
}

/* Refused as a courtesy, with a reason, where the box or the engine's lock would refuse or silence them
 * anyway. */
static const char *const refused[] = {
    "checkpoint",
    "disable_logging",
    "disable_profile",
    "disable_profiling",
    "duckdb_logs",
    "duckdb_logs_parsed",
    "duckdb_log_contexts",
    "duckdb_secrets",
    "enable_logging",
    "enable_profile",
    "enable_profiling",
    "force_checkpoint",
    "getenv",
    "glob",
    "iceberg_scan",
    "parquet_bloom_probe",
    "parquet_file_metadata",
    "parquet_full_metadata",
    "parquet_kv_metadata",
    "parquet_metadata",
    "parquet_scan",
    "parquet_schema",
    "read_blob",
    "read_csv",
    "read_csv_auto",
    "read_duckdb",
    "read_json",
    "read_json_auto",
    "read_json_objects",
    "read_json_objects_auto",
    "read_ndjson",
    "read_ndjson_auto",
    "read_ndjson_objects",
    "read_parquet",
    "read_text",
    "read_xlsx",
    "sniff_csv",
    "truncate_duckdb_logs",
    "which_secret",
    "write_log",
};

/* What shows the token of a source that has one. */
static const char *const showing[] = {"current_setting", "duckdb_settings", "print_md_token"};

static const char *find_name(const char *const *names, size_t count, const char *name, size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == length && strncasecmp(names[i], name, length) == 0)
            return names[i];
    return NULL;
}

const char *sql_text_refused_function(const char *json, size_t length, bool has_token)
{
    /* Inside a JSON string a quote is written \", so these bytes are a key and nothing else. */
    static const char key[] = "\"function_name\":\"";
    const char *end = json + length, *p = json;
    while ((p = memmem(p, (size_t)(end - p), key, sizeof key - 1)) != NULL) {
        p += sizeof key - 1;
        const char *close = memchr(p, '"', (size_t)(end - p));
        if (!close)
            return NULL;
        size_t name_length = (size_t)(close - p);
        const char *name = find_name(refused, sizeof refused / sizeof refused[0], p, name_length);
        if (!name && has_token)
            name = find_name(showing, sizeof showing / sizeof showing[0], p, name_length);
        if (name)
            return name;
        p = close;
    }
    return NULL;
}
