#include "random_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define MAX_DEPTH 3
#define MAX_CHILDREN 3

enum kind {
    KIND_BOOLEAN,
    KIND_TINYINT,
    KIND_SMALLINT,
    KIND_INTEGER,
    KIND_BIGINT,
    KIND_HUGEINT,
    KIND_UTINYINT,
    KIND_USMALLINT,
    KIND_UINTEGER,
    KIND_UBIGINT,
    KIND_UHUGEINT,
    KIND_FLOAT,
    KIND_DOUBLE,
    KIND_DECIMAL,
    KIND_VARCHAR,
    KIND_BLOB,
    KIND_BIT,
    KIND_UUID,
    KIND_DATE,
    KIND_TIME,
    KIND_TIME_NS,
    KIND_TIMETZ,
    KIND_TIMESTAMP,
    KIND_TIMESTAMP_S,
    KIND_TIMESTAMP_MS,
    KIND_TIMESTAMP_NS,
    KIND_TIMESTAMPTZ,
    KIND_INTERVAL,
    KIND_ENUM,
    KIND_JSON,
    KIND_BIGNUM,
    KIND_GEOMETRY,
    KIND_VARIANT,
    KIND_LIST,
    KIND_ARRAY,
    KIND_STRUCT,
    KIND_MAP,
    KIND_UNION, /* nested, from here on */
    KIND_COUNT
};

static const char *const names[KIND_COUNT] = {
    "BOOLEAN",   "TINYINT",   "SMALLINT",    "INTEGER",      "BIGINT",       "HUGEINT",     "UTINYINT",
    "USMALLINT", "UINTEGER",  "UBIGINT",     "UHUGEINT",     "FLOAT",        "DOUBLE",      NULL,
    "VARCHAR",   "BLOB",      "BIT",         "UUID",         "DATE",         "TIME",        "TIME_NS",
    "TIMETZ",    "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ", "INTERVAL",
    NULL,        "JSON",      "BIGNUM",      "GEOMETRY",     "VARIANT",
};

struct type {
    enum kind kind;
    uint32_t width, scale; /* DECIMAL; ARRAY: width is its length */
    uint32_t child_count;
    struct type *children[MAX_CHILDREN];
};

/* splitmix64: https://prng.di.unimi.it/splitmix64.c describes it */
uint64_t random_next(struct random_source *r)
{
    uint64_t z = (r->state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

uint64_t random_below(struct random_source *r, uint64_t n)
{
    return random_next(r) % n;
}

#define PICK(r, list) ((list)[random_below(r, ARRAY_SIZE(list))])

/* --- types --- */

static struct type *random_type(struct random_source *r, int depth)
{
    struct type *t = calloc(1, sizeof *t);
    t->kind = (enum kind)random_below(r, depth < MAX_DEPTH ? KIND_COUNT : KIND_LIST);
    switch (t->kind) {
    case KIND_DECIMAL:
        t->width = 1 + (uint32_t)random_below(r, 38);
        t->scale = (uint32_t)random_below(r, t->width + 1);
        break;
    case KIND_LIST:
    case KIND_ARRAY:
        t->width = 1 + (uint32_t)random_below(r, 4);
        t->child_count = 1;
        break;
    case KIND_MAP:
        t->child_count = 1; /* the values; keys are text */
        break;
    case KIND_STRUCT:
    case KIND_UNION:
        t->child_count = 1 + (uint32_t)random_below(r, MAX_CHILDREN);
        break;
    default:
        break;
    }
    for (uint32_t i = 0; i < t->child_count; i++)
        t->children[i] = random_type(r, depth + 1);
    return t;
}

static void free_type(struct type *t)
{
    for (uint32_t i = 0; i < t->child_count; i++)
        free_type(t->children[i]);
    free(t);
}

static const char *const fields[MAX_CHILDREN] = {"a", "b c", "D'\"e,"};
static const char *const enum_values[] = {"plain",     "",  "with,comma", "with \"quotes\"",
                                          "line\nend", "#", "NULL",       "ü"};

static void put_quoted(struct buf *b, const char *text, size_t length, char quote)
{
    buf_append(b, &quote, 1);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == quote)
            buf_append(b, &quote, 1);
        buf_append(b, text + i, 1);
    }
    buf_append(b, &quote, 1);
}

static void put_text(struct buf *b, const char *text)
{
    put_quoted(b, text, strlen(text), '\'');
}

static void put_type(const struct type *t, struct buf *b)
{
    switch (t->kind) {
    case KIND_DECIMAL:
        buf_printf(b, "DECIMAL(%u,%u)", t->width, t->scale);
        return;
    case KIND_ENUM:
        buf_append_text(b, "ENUM(");
        for (size_t i = 0; i < ARRAY_SIZE(enum_values); i++) {
            buf_append_text(b, i ? "," : "");
            put_text(b, enum_values[i]);
        }
        buf_append_text(b, ")");
        return;
    case KIND_LIST:
    case KIND_ARRAY:
        put_type(t->children[0], b);
        if (t->kind == KIND_LIST)
            buf_append_text(b, "[]");
        else
            buf_printf(b, "[%u]", t->width);
        return;
    case KIND_MAP:
        buf_append_text(b, "MAP(VARCHAR,");
        put_type(t->children[0], b);
        buf_append_text(b, ")");
        return;
    case KIND_STRUCT:
    case KIND_UNION:
        buf_append_text(b, t->kind == KIND_STRUCT ? "STRUCT(" : "UNION(");
        for (uint32_t i = 0; i < t->child_count; i++) {
            buf_append_text(b, i ? "," : "");
            put_quoted(b, fields[i], strlen(fields[i]), '"');
            buf_append_text(b, " ");
            put_type(t->children[i], b);
        }
        buf_append_text(b, ")");
        return;
    default:
        buf_append_text(b, names[t->kind]);
    }
}

/* --- values, each an expression of its type --- */

static void put_digits(struct random_source *r, uint32_t count, struct buf *b)
{
    for (uint32_t i = 0; i < count; i++)
        buf_printf(b, "%u", (unsigned)random_below(r, 10));
}

static void put_integer(struct random_source *r, enum kind kind, struct buf *b)
{
    static const struct {
        const char *min, *max;
        uint32_t digits; /* of a number that surely fits */
    } limits[] = {
        [KIND_TINYINT] = {"-128", "127", 2},
        [KIND_SMALLINT] = {"-32768", "32767", 4},
        [KIND_INTEGER] = {"-2147483648", "2147483647", 9},
        [KIND_BIGINT] = {"-9223372036854775808", "9223372036854775807", 18},
        [KIND_HUGEINT] = {"-170141183460469231731687303715884105728",
                          "170141183460469231731687303715884105727", 38},
        [KIND_UTINYINT] = {"0", "255", 2},
        [KIND_USMALLINT] = {"0", "65535", 4},
        [KIND_UINTEGER] = {"0", "4294967295", 9},
        [KIND_UBIGINT] = {"0", "18446744073709551615", 19},
        [KIND_UHUGEINT] = {"0", "340282366920938463463374607431768211455", 38},
    };
    switch (random_below(r, 8)) {
    case 0:
        buf_append_text(b, limits[kind].min);
        return;
    case 1:
        buf_append_text(b, limits[kind].max);
        return;
    case 2:
        buf_append_text(b, "0");
        return;
    default:
        if (limits[kind].min[0] == '-' && random_below(r, 2))
            buf_append_text(b, "-");
        put_digits(r, 1 + (uint32_t)random_below(r, limits[kind].digits), b);
    }
}

static void put_float(struct random_source *r, enum kind kind, struct buf *b)
{
    static const char *const special[] = {
        "nan",  "inf",    "-inf", "-0.0",     "0",    "1",      "1e16",          "1e15", "123456789012345678",
        "1e-5", "0.0001", "0.1",  "16777216", "-2.5", "3.4e38", "1.17549435e-38"};
    if (random_below(r, 3) == 0) {
        buf_append_text(b, PICK(r, special));
        return;
    }
    if (kind == KIND_FLOAT) {
        uint32_t bits = (uint32_t)random_next(r);
        float value;
        memcpy(&value, &bits, sizeof value);
        buf_printf(b, "%.9g", isfinite(value) ? (double)value : 0.5);
    } else {
        uint64_t bits = random_next(r);
        double value;
        memcpy(&value, &bits, sizeof value);
        buf_printf(b, "%.17g", isfinite(value) ? value : 0.5);
    }
}

static void put_words(struct random_source *r, struct buf *b)
{
    static const char *const pieces[] = {
        "a",    "word", " ",        "  ",   "\t",   ",",  ";",    "\"",           "\"\"",
        "'",    "#",    "\n",       "\r",   "\r\n", "\\", "NULL", "null",         "é",
        "漢字", "🙂", "0",        "-1.5", "{",    "]",  "=",    "twelve bytes", "thirteen byte",
        "\x01", "\x7f", "/* -- */", "$1",   "?"};
    _cleanup_buf_ struct buf text;
    buf_init(&text, 1 << 20);
    uint64_t count = random_below(r, 6);
    if (random_below(r, 40) == 0)
        count = 500 + random_below(r, 3000);
    for (uint64_t i = 0; i < count; i++)
        buf_append_text(&text, PICK(r, pieces));
    put_quoted(b, text.data ? text.data : "", text.len, '\'');
}

static void put_date(struct random_source *r, uint32_t first_year, uint32_t last_year, struct buf *b)
{
    buf_printf(b, "%04u-%02u-%02u", first_year + (uint32_t)random_below(r, last_year - first_year),
               1 + (uint32_t)random_below(r, 12), 1 + (uint32_t)random_below(r, 28));
}

static void put_time(struct random_source *r, uint32_t digits, struct buf *b)
{
    buf_printf(b, "%02u:%02u:%02u", (unsigned)random_below(r, 24), (unsigned)random_below(r, 60),
               (unsigned)random_below(r, 60));
    uint32_t fraction = (uint32_t)random_below(r, digits + 1);
    if (fraction) {
        buf_append_text(b, ".");
        put_digits(r, fraction, b);
    }
}

static void put_timestamp(struct random_source *r, enum kind kind, struct buf *b)
{
    bool nanoseconds = kind == KIND_TIMESTAMP_NS;
    uint64_t choice = random_below(r, 12);
    if (choice < 2) {
        buf_append_text(b, choice ? "infinity" : "-infinity");
        return;
    }
    bool wide = !nanoseconds && random_below(r, 4) == 0;
    put_date(r, nanoseconds ? 1700 : wide ? 1 : 1900, nanoseconds ? 2200 : wide ? 99999 : 2100, b);
    buf_append_text(b, wide && random_below(r, 2) ? " (BC) " : " ");
    put_time(r, kind == KIND_TIMESTAMP_S ? 0 : kind == KIND_TIMESTAMP_MS ? 3 : nanoseconds ? 9 : 6, b);
    if (kind == KIND_TIMESTAMPTZ)
        buf_printf(b, "%c%02u:%02u", random_below(r, 2) ? '+' : '-', (unsigned)random_below(r, 13),
                   (unsigned)random_below(r, 4) * 15);
}

static void put_json(struct random_source *r, struct buf *b)
{
    static const char *const documents[] = {"{\"a\": [1, 2.5, null]}",
                                            "\"text, with \\\"quotes\\\"\"",
                                            "null",
                                            "[]",
                                            "{\"k\":{\"n\":true},  \"k2\" : \"#\"}",
                                            "12345678901234567890",
                                            "{ }"};
    put_text(b, PICK(r, documents));
}

static void put_hex(struct random_source *r, size_t count, struct buf *b)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(b, "%x", (unsigned)random_below(r, 16));
}

/* What stands between the quotes of '...'::TYPE. */
static void put_literal(struct random_source *r, const struct type *t, struct buf *b)
{
    switch (t->kind) {
    case KIND_BOOLEAN:
        buf_append_text(b, random_below(r, 2) ? "true" : "false");
        return;
    case KIND_FLOAT:
    case KIND_DOUBLE:
        put_float(r, t->kind, b);
        return;
    case KIND_DECIMAL:
        if (random_below(r, 2))
            buf_append_text(b, "-");
        put_digits(r, t->width - t->scale, b);
        buf_append_text(b, t->width == t->scale ? "0." : ".");
        put_digits(r, t->scale, b);
        return;
    case KIND_BIT:
        for (uint64_t i = 0, n = 1 + random_below(r, 40); i < n; i++)
            buf_append_text(b, random_below(r, 2) ? "1" : "0");
        return;
    case KIND_BLOB:
        for (uint64_t i = 0, n = random_below(r, 30); i < n; i++) {
            buf_append_text(b, "\\x");
            put_hex(r, 2, b);
        }
        return;
    case KIND_UUID:
        for (size_t i = 0; i < 8; i++) {
            buf_append_text(b, i >= 2 && i <= 5 ? "-" : "");
            put_hex(r, 4, b);
        }
        return;
    case KIND_DATE:
        if (random_below(r, 10) == 0) {
            buf_append_text(b, random_below(r, 2) ? "infinity" : "-infinity");
            return;
        }
        put_date(r, 1, random_below(r, 4) ? 3000 : 99999, b);
        if (random_below(r, 5) == 0)
            buf_append_text(b, " (BC)");
        return;
    case KIND_TIME:
    case KIND_TIME_NS:
        put_time(r, t->kind == KIND_TIME ? 6 : 9, b);
        return;
    case KIND_TIMETZ:
        put_time(r, 6, b);
        buf_printf(b, "%c%02u:%02u", random_below(r, 2) ? '+' : '-', (unsigned)random_below(r, 15),
                   (unsigned)random_below(r, 60));
        return;
    case KIND_INTERVAL:
        buf_printf(b, "%d months %d days %d microseconds", (int)random_below(r, 100) - 50,
                   (int)random_below(r, 2000) - 1000, (int)random_below(r, 2000000000) - 1000000000);
        return;
    case KIND_BIGNUM:
        buf_append_text(b, random_below(r, 2) ? "-1" : "1");
        put_digits(r, (uint32_t)random_below(r, 120), b);
        return;
    case KIND_GEOMETRY:
        buf_printf(b, "LINESTRING(%d %d.5, %d 7)", (int)random_below(r, 300) - 150, (int)random_below(r, 90),
                   (int)random_below(r, 50));
        return;
    default:
        put_integer(r, t->kind, b);
    }
}

static void put_value(struct random_source *r, const struct type *t, struct buf *b);

static void put_nested(struct random_source *r, const struct type *t, struct buf *b)
{
    uint64_t count = t->kind == KIND_ARRAY ? t->width : random_below(r, 4);
    uint32_t member = (uint32_t)random_below(r, t->child_count);
    switch (t->kind) {
    case KIND_LIST:
    case KIND_ARRAY:
        buf_append_text(b, "[");
        for (uint64_t i = 0; i < count; i++) {
            buf_append_text(b, i ? "," : "");
            put_value(r, t->children[0], b);
        }
        buf_append_text(b, "]");
        return;
    case KIND_MAP:
        buf_append_text(b, "MAP {");
        for (uint64_t i = 0; i < count; i++) {
            buf_printf(b, "%s'%s%" PRIu64 "':", i ? "," : "", random_below(r, 2) ? "key " : "k=,", i);
            put_value(r, t->children[0], b);
        }
        buf_append_text(b, "}");
        return;
    case KIND_STRUCT:
        buf_append_text(b, "{");
        for (uint32_t i = 0; i < t->child_count; i++) {
            buf_append_text(b, i ? "," : "");
            put_text(b, fields[i]);
            buf_append_text(b, ":");
            put_value(r, t->children[i], b);
        }
        buf_append_text(b, "}");
        return;
    default: /* UNION */
        buf_append_text(b, "union_value(");
        put_quoted(b, fields[member], strlen(fields[member]), '"');
        buf_append_text(b, " := ");
        put_value(r, t->children[member], b);
        buf_append_text(b, ")");
    }
}

static void put_value(struct random_source *r, const struct type *t, struct buf *b)
{
    if (random_below(r, 7) == 0) {
        buf_append_text(b, "NULL::");
        put_type(t, b);
        return;
    }
    buf_append_text(b, "(");
    if (t->kind >= KIND_LIST) {
        put_nested(r, t, b);
    } else if (t->kind == KIND_VARCHAR || t->kind == KIND_VARIANT) {
        put_words(r, b);
    } else if (t->kind == KIND_JSON) {
        put_json(r, b);
    } else if (t->kind == KIND_ENUM) {
        put_text(b, PICK(r, enum_values));
    } else {
        buf_append_text(b, "'");
        if (t->kind >= KIND_TIMESTAMP && t->kind <= KIND_TIMESTAMPTZ)
            put_timestamp(r, t->kind, b);
        else
            put_literal(r, t, b);
        buf_append_text(b, "'");
    }
    buf_append_text(b, ")::");
    put_type(t, b);
}

void random_table(struct random_source *r, const char *name, struct buf *sql, uint32_t *ret_columns)
{
    uint32_t columns = random_below(r, 6) == 0 ? 1 : 1 + (uint32_t)random_below(r, 10);
    if (random_below(r, 150) == 0)
        columns = 200 + (uint32_t)random_below(r, 200);
    uint64_t rows = random_below(r, 12) == 0 ? 0 : 1 + random_below(r, columns > 100 ? 3 : 20);
    struct type **types = calloc(columns, sizeof(struct type *));

    buf_printf(sql, "CREATE TABLE %s (", name);
    for (uint32_t i = 0; i < columns; i++) {
        types[i] = random_type(r, 0);
        buf_printf(sql, "%sc%u ", i ? ", " : "", i);
        put_type(types[i], sql);
    }
    buf_append_text(sql, ");\n");
    for (uint64_t row = 0; row < rows; row++) {
        buf_printf(sql, row ? ", (" : "INSERT INTO %s VALUES (", name);
        for (uint32_t i = 0; i < columns; i++) {
            buf_append_text(sql, i ? ", " : "");
            put_value(r, types[i], sql);
        }
        buf_append_text(sql, ")");
    }
    if (rows)
        buf_append_text(sql, ";\n");
    /* Several chunks of the engine, and parts, now and then. */
    if (rows && random_below(r, 10) == 0)
        buf_printf(sql, "INSERT INTO %s SELECT t.* FROM %s t, range(%u);\n", name, name,
                   1 + (unsigned)random_below(r, columns > 100 ? 20 : 400));
    for (uint32_t i = 0; i < columns; i++)
        free_type(types[i]);
    free(types);
    *ret_columns = columns;
}

void random_query(struct random_source *r, const char *name, uint32_t columns, struct buf *sql)
{
    static const char *const odd_names[] = {"x",
                                            "X",
                                            "x_1",
                                            "a,b",
                                            "say \"hi\"",
                                            "#",
                                            "line\nend",
                                            " ",
                                            "é",
                                            "x_1_1",
                                            "select",
                                            "NULL",
                                            "a very long name, longer than most",
                                            "1"};
    switch (random_below(r, 8)) {
    case 0:
        buf_printf(sql, "SELECT * FROM %s WHERE c0 IS NULL AND c0 IS NOT NULL", name);
        return;
    case 1:
        buf_printf(sql, "FROM %s ORDER BY rowid DESC LIMIT 7", name);
        return;
    case 2:
        buf_printf(sql, "WITH q AS (SELECT * FROM %s) SELECT * FROM q UNION ALL SELECT * FROM q -- twice",
                   name);
        return;
    case 3:
        buf_printf(sql, "SELECT *, NULL, 1, 'x', count(*) OVER (), c0 FROM %s", name);
        return;
    case 4:
        buf_printf(sql, "SELECT [c0] AS l, {'s': c0} AS s, c0::VARCHAR AS v FROM %s", name);
        return;
    case 5:
    case 6:
        for (uint32_t i = 0; i < columns; i++) {
            const char *alias = PICK(r, odd_names);
            buf_printf(sql, "%sc%u AS ", i ? ", " : "SELECT ", i);
            put_quoted(sql, alias, strlen(alias), '"');
        }
        buf_printf(sql, " FROM %s", name);
        return;
    default:
        buf_printf(sql, "SELECT * FROM %s", name);
    }
}
