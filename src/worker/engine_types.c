#include "worker/engine_types.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "worker/sql_keywords.h"

static const struct {
    duckdb_type id;
    const char *name;
    bool free_text;
} simple[] = {
    {DUCKDB_TYPE_BOOLEAN, "BOOLEAN"},
    {DUCKDB_TYPE_TINYINT, "TINYINT"},
    {DUCKDB_TYPE_SMALLINT, "SMALLINT"},
    {DUCKDB_TYPE_INTEGER, "INTEGER"},
    {DUCKDB_TYPE_BIGINT, "BIGINT"},
    {DUCKDB_TYPE_HUGEINT, "HUGEINT"},
    {DUCKDB_TYPE_UTINYINT, "UTINYINT"},
    {DUCKDB_TYPE_USMALLINT, "USMALLINT"},
    {DUCKDB_TYPE_UINTEGER, "UINTEGER"},
    {DUCKDB_TYPE_UBIGINT, "UBIGINT"},
    {DUCKDB_TYPE_UHUGEINT, "UHUGEINT"},
    {DUCKDB_TYPE_BIGNUM, "BIGNUM"},
    {DUCKDB_TYPE_FLOAT, "FLOAT"},
    {DUCKDB_TYPE_DOUBLE, "DOUBLE"},
    {DUCKDB_TYPE_VARCHAR, "VARCHAR", .free_text = true},
    {DUCKDB_TYPE_BLOB, "BLOB", .free_text = true},
    {DUCKDB_TYPE_BIT, "BIT"},
    {DUCKDB_TYPE_UUID, "UUID"},
    {DUCKDB_TYPE_DATE, "DATE"},
    {DUCKDB_TYPE_TIME, "TIME"},
    {DUCKDB_TYPE_TIME_NS, "TIME_NS"},
    {DUCKDB_TYPE_TIME_TZ, "TIME WITH TIME ZONE"},
    {DUCKDB_TYPE_TIMESTAMP, "TIMESTAMP"},
    {DUCKDB_TYPE_TIMESTAMP_S, "TIMESTAMP_S"},
    {DUCKDB_TYPE_TIMESTAMP_MS, "TIMESTAMP_MS"},
    {DUCKDB_TYPE_TIMESTAMP_NS, "TIMESTAMP_NS"},
    {DUCKDB_TYPE_TIMESTAMP_TZ, "TIMESTAMP WITH TIME ZONE"},
    {DUCKDB_TYPE_INTERVAL, "INTERVAL"},
    {DUCKDB_TYPE_SQLNULL, "\"NULL\""},
};

bool engine_type_is_free_text(duckdb_logical_type type)
{
    duckdb_type id = duckdb_get_type_id(type);
    for (size_t i = 0; i < ARRAY_SIZE(simple); i++)
        if (simple[i].id == id)
            return simple[i].free_text;
    return id != DUCKDB_TYPE_DECIMAL; /* ENUM, lists and their like */
}

static void append_type(struct buf *out, duckdb_logical_type type);

void engine_append_quoted(struct buf *out, const char *text, char quote)
{
    buf_append(out, &quote, 1);
    for (const char *c = text; *c; c++) {
        if (*c == quote)
            buf_append(out, &quote, 1);
        buf_append(out, c, 1);
    }
    buf_append(out, &quote, 1);
}

static void append_name(struct buf *out, const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    if (name[strspn(name, letters)] || strspn(name, "0123456789") || sql_is_keyword(name))
        engine_append_quoted(out, name, '"');
    else
        buf_append_text(out, name);
}

/* "name TYPE" of each member; `i` is its number. */
static void append_members(struct buf *out, duckdb_logical_type type, idx_t count, char *(*name_of)(duckdb_logical_type, idx_t),
                           duckdb_logical_type (*type_of)(duckdb_logical_type, idx_t))
{
    for (idx_t i = 0; i < count && buf_ok(out); i++) {
        _cleanup_type_ duckdb_logical_type member = type_of(type, i);
        char *name = name_of(type, i);
        buf_append_text(out, i == 0 ? "(" : ", ");
        if (name && *name) {
            append_name(out, name);
            buf_append_text(out, " ");
        }
        append_type(out, member);
        duckdb_free(name);
    }
    buf_append_text(out, ")");
}

static void append_enum(struct buf *out, duckdb_logical_type type)
{
    uint32_t count = duckdb_enum_dictionary_size(type);
    buf_append_text(out, "ENUM(");
    for (uint32_t i = 0; i < count && buf_ok(out); i++) {
        char *value = duckdb_enum_dictionary_value(type, i);
        buf_append_text(out, i == 0 ? "" : ", ");
        engine_append_quoted(out, value ? value : "", '\'');
        duckdb_free(value);
    }
    buf_append_text(out, ")");
}

static void append_list(struct buf *out, duckdb_logical_type type)
{
    _cleanup_type_ duckdb_logical_type child = duckdb_list_type_child_type(type);
    append_type(out, child);
    buf_append_text(out, "[]");
}

static void append_array(struct buf *out, duckdb_logical_type type)
{
    _cleanup_type_ duckdb_logical_type child = duckdb_array_type_child_type(type);
    append_type(out, child);
    buf_printf(out, "[%" PRIu64 "]", (uint64_t)duckdb_array_type_array_size(type));
}

static void append_map(struct buf *out, duckdb_logical_type type)
{
    _cleanup_type_ duckdb_logical_type key = duckdb_map_type_key_type(type), value = duckdb_map_type_value_type(type);
    buf_append_text(out, "MAP(");
    append_type(out, key);
    buf_append_text(out, ", ");
    append_type(out, value);
    buf_append_text(out, ")");
}

static void append_plain(struct buf *out, duckdb_type id)
{
    for (size_t i = 0; i < ARRAY_SIZE(simple); i++)
        if (simple[i].id == id) {
            buf_append_text(out, simple[i].name);
            return;
        }
    buf_append_text(out, ENGINE_TYPE_UNKNOWN);
}

void engine_append_leaf(struct buf *out, duckdb_logical_type type)
{
    duckdb_type id = duckdb_get_type_id(type);
    if (id == DUCKDB_TYPE_DECIMAL)
        buf_printf(out, "DECIMAL(%d,%d)", duckdb_decimal_width(type), duckdb_decimal_scale(type));
    else
        append_plain(out, id);
}

static void append_type(struct buf *out, duckdb_logical_type type)
{
    char *alias = duckdb_logical_type_get_alias(type);
    duckdb_type id = duckdb_get_type_id(type);
    if (alias && *alias)
        buf_append_text(out, alias);
    else if (id == DUCKDB_TYPE_LIST)
        append_list(out, type);
    else if (id == DUCKDB_TYPE_ARRAY)
        append_array(out, type);
    else if (id == DUCKDB_TYPE_MAP)
        append_map(out, type);
    else if (id == DUCKDB_TYPE_ENUM)
        append_enum(out, type);
    else if (id == DUCKDB_TYPE_STRUCT) {
        buf_append_text(out, "STRUCT");
        append_members(out, type, duckdb_struct_type_child_count(type), duckdb_struct_type_child_name, duckdb_struct_type_child_type);
    } else if (id == DUCKDB_TYPE_UNION) {
        buf_append_text(out, "UNION");
        append_members(out, type, duckdb_union_type_member_count(type), duckdb_union_type_member_name, duckdb_union_type_member_type);
    } else
        engine_append_leaf(out, type);
    duckdb_free(alias);
}

/* Takes it. */
static char *cut(struct buf *out)
{
    if (!buf_ok(out) && out->len > 0) { /* the ceiling, or no memory: both show what there is */
        size_t keep = utf8_prefix(out->data, out->len, ENGINE_TYPE_TEXT_MAX - 3);
        out->data[keep] = '\0';
        out->len = keep;
        out->failed = false;
        out->max = ENGINE_TYPE_TEXT_MAX + 8;
        buf_append_text(out, "...");
    }
    return buf_take(out);
}

char *engine_type_text(duckdb_logical_type type)
{
    struct buf out;
    buf_init(&out, ENGINE_TYPE_TEXT_MAX);
    append_type(&out, type);
    return cut(&out);
}

char *engine_type_text_cut(const char *text, size_t length)
{
    size_t keep = length <= ENGINE_TYPE_TEXT_MAX ? length : utf8_prefix(text, length, ENGINE_TYPE_TEXT_MAX - 3);
    struct buf out;
    buf_init(&out, ENGINE_TYPE_TEXT_MAX);
    buf_append(&out, text, keep);
    buf_append_text(&out, keep < length ? "..." : "");
    return buf_take(&out);
}
