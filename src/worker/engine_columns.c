#include "worker/engine_columns.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct text_value) == sizeof(duckdb_string_t), "a text is the engine's own");
_Static_assert(TEXT_INLINE_MAX == sizeof(((duckdb_string_t *)0)->value.inlined.inlined), "short ones are inline");
_Static_assert(sizeof(struct value128) == sizeof(duckdb_hugeint) &&
                   offsetof(struct value128, upper) == offsetof(duckdb_hugeint, upper),
               "128 bits are the engine's own");
_Static_assert(sizeof(struct value_interval) == sizeof(duckdb_interval) &&
                   offsetof(struct value_interval, micros) == offsetof(duckdb_interval, micros),
               "an interval is the engine's own");

struct column_set *column_set_new(size_t count)
{
    struct column_set *s = calloc(1, sizeof *s + count * sizeof s->types[0]);
    if (s) {
        s->uses = 1;
        s->count = count;
    }
    return s;
}

struct column_set *column_set_ref(struct column_set *s)
{
    atomic_fetch_add(&s->uses, 1);
    return s;
}

void column_set_unref(struct column_set *s)
{
    if (s && atomic_fetch_sub(&s->uses, 1) == 1)
        free(s);
}

static bool take_decimal(struct column_type *t, duckdb_logical_type type)
{
    t->width = duckdb_decimal_width(type);
    t->scale = duckdb_decimal_scale(type);
    switch (duckdb_decimal_internal_type(type)) {
    case DUCKDB_TYPE_SMALLINT:
        t->type = VALUE_DECIMAL16;
        return true;
    case DUCKDB_TYPE_INTEGER:
        t->type = VALUE_DECIMAL32;
        return true;
    case DUCKDB_TYPE_BIGINT:
        t->type = VALUE_DECIMAL64;
        return true;
    case DUCKDB_TYPE_HUGEINT:
        t->type = VALUE_DECIMAL128;
        return true;
    default:
        return false;
    }
}

bool column_set_type(struct column_set *s, size_t i, duckdb_logical_type type)
{
    static const struct {
        duckdb_type from;
        enum value_type to;
    } known[] = {
        {DUCKDB_TYPE_VARCHAR, VALUE_TEXT},
        {DUCKDB_TYPE_BOOLEAN, VALUE_BOOL},
        {DUCKDB_TYPE_SQLNULL, VALUE_BOOL}, /* SELECT NULL: has no other value */
        {DUCKDB_TYPE_TINYINT, VALUE_INT8},
        {DUCKDB_TYPE_SMALLINT, VALUE_INT16},
        {DUCKDB_TYPE_INTEGER, VALUE_INT32},
        {DUCKDB_TYPE_BIGINT, VALUE_INT64},
        {DUCKDB_TYPE_HUGEINT, VALUE_INT128},
        {DUCKDB_TYPE_UTINYINT, VALUE_UINT8},
        {DUCKDB_TYPE_USMALLINT, VALUE_UINT16},
        {DUCKDB_TYPE_UINTEGER, VALUE_UINT32},
        {DUCKDB_TYPE_UBIGINT, VALUE_UINT64},
        {DUCKDB_TYPE_UHUGEINT, VALUE_UINT128},
        {DUCKDB_TYPE_FLOAT, VALUE_FLOAT},
        {DUCKDB_TYPE_DOUBLE, VALUE_DOUBLE},
        {DUCKDB_TYPE_DATE, VALUE_DATE},
        {DUCKDB_TYPE_TIME, VALUE_TIME},
        {DUCKDB_TYPE_TIME_NS, VALUE_TIME_NS},
        {DUCKDB_TYPE_TIME_TZ, VALUE_TIME_TZ},
        {DUCKDB_TYPE_TIMESTAMP, VALUE_TIMESTAMP},
        {DUCKDB_TYPE_TIMESTAMP_S, VALUE_TIMESTAMP_S},
        {DUCKDB_TYPE_TIMESTAMP_MS, VALUE_TIMESTAMP_MS},
        {DUCKDB_TYPE_TIMESTAMP_NS, VALUE_TIMESTAMP_NS},
        {DUCKDB_TYPE_TIMESTAMP_TZ, VALUE_TIMESTAMP_TZ},
        {DUCKDB_TYPE_INTERVAL, VALUE_INTERVAL},
        {DUCKDB_TYPE_UUID, VALUE_UUID},
    };
    struct column_type *t = &s->types[i];
    duckdb_type id = duckdb_get_type_id(type);
    if (id == DUCKDB_TYPE_DECIMAL)
        return take_decimal(t, type);
    for (size_t k = 0; k < ARRAY_SIZE(known); k++)
        if (known[k].from == id) {
            t->type = known[k].to;
            return true;
        }
    return false;
}

void columns_of_chunk(const struct column_set *s, duckdb_data_chunk chunk, struct column *columns)
{
    for (size_t i = 0; i < s->count; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, i);
        columns[i] = (struct column){.is = s->types[i],
                                     .values = duckdb_vector_get_data(vector),
                                     .validity = duckdb_vector_get_validity(vector)};
    }
}
