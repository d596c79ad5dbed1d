#include "worker/engine_widths.h"

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
