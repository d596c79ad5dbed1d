#include "worker/engine_widths.h"

#define GUESSED_TEXT 32 /* sixteen of them are always there */
#define GUESSED_ELEMENTS 4
#define LIST_ENTRY sizeof(duckdb_list_entry)

static const struct {
    duckdb_type id;
    size_t width;
} fixed[] = {
    {DUCKDB_TYPE_BOOLEAN, 1},
    {DUCKDB_TYPE_TINYINT, 1},
    {DUCKDB_TYPE_UTINYINT, 1},
    {DUCKDB_TYPE_SMALLINT, 2},
    {DUCKDB_TYPE_USMALLINT, 2},
    {DUCKDB_TYPE_INTEGER, 4},
    {DUCKDB_TYPE_UINTEGER, 4},
    {DUCKDB_TYPE_BIGINT, 8},
    {DUCKDB_TYPE_UBIGINT, 8},
    {DUCKDB_TYPE_HUGEINT, 16},
    {DUCKDB_TYPE_UHUGEINT, 16},
    {DUCKDB_TYPE_FLOAT, 4},
    {DUCKDB_TYPE_DOUBLE, 8},
    {DUCKDB_TYPE_DATE, 4},
    {DUCKDB_TYPE_TIME, 8},
    {DUCKDB_TYPE_TIME_NS, 8},
    {DUCKDB_TYPE_TIME_TZ, 8},
    {DUCKDB_TYPE_TIMESTAMP, 8},
    {DUCKDB_TYPE_TIMESTAMP_S, 8},
    {DUCKDB_TYPE_TIMESTAMP_MS, 8},
    {DUCKDB_TYPE_TIMESTAMP_NS, 8},
    {DUCKDB_TYPE_TIMESTAMP_TZ, 8},
    {DUCKDB_TYPE_INTERVAL, 16},
    {DUCKDB_TYPE_UUID, 16},
    {DUCKDB_TYPE_SQLNULL, 4}, /* becomes an INTEGER */
};

size_t engine_fixed_width(duckdb_logical_type type)
{
    duckdb_type id = duckdb_get_type_id(type);
    if (id == DUCKDB_TYPE_DECIMAL)
        id = duckdb_decimal_internal_type(type);
    if (id == DUCKDB_TYPE_ENUM)
        id = duckdb_enum_internal_type(type);
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        if (fixed[i].id == id)
            return fixed[i].width;
    return 0;
}

/* Of the members of a struct or union. */
static size_t guess_members(duckdb_logical_type type, idx_t count, duckdb_logical_type (*type_of)(duckdb_logical_type, idx_t))
{
    size_t width = 0;
    for (idx_t i = 0; i < count; i++) {
        _cleanup_type_ duckdb_logical_type member = type_of(type, i);
        width += engine_guessed_width(member);
    }
    return width;
}

static size_t guess_child(duckdb_logical_type child, size_t elements)
{
    size_t width = elements * engine_guessed_width(child);
    duckdb_destroy_logical_type(&child);
    return width;
}

size_t engine_guessed_width(duckdb_logical_type type)
{
    switch (duckdb_get_type_id(type)) {
    case DUCKDB_TYPE_STRUCT:
        return guess_members(type, duckdb_struct_type_child_count(type), duckdb_struct_type_child_type);
    case DUCKDB_TYPE_UNION:
        return 1 + guess_members(type, duckdb_union_type_member_count(type), duckdb_union_type_member_type);
    case DUCKDB_TYPE_LIST:
        return LIST_ENTRY + guess_child(duckdb_list_type_child_type(type), GUESSED_ELEMENTS);
    case DUCKDB_TYPE_MAP:
        return LIST_ENTRY + guess_child(duckdb_map_type_key_type(type), GUESSED_ELEMENTS) +
               guess_child(duckdb_map_type_value_type(type), GUESSED_ELEMENTS);
    case DUCKDB_TYPE_ARRAY:
        return guess_child(duckdb_array_type_child_type(type), duckdb_array_type_array_size(type));
    default: {
        size_t width = engine_fixed_width(type);
        return width ? width : GUESSED_TEXT;
    }
    }
}
