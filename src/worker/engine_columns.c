#include "worker/engine_columns.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine_types.h"

_Static_assert(sizeof(struct text_value) == sizeof(duckdb_string_t), "a text is the engine's own");
_Static_assert(TEXT_INLINE_MAX == sizeof(((duckdb_string_t *)0)->value.inlined.inlined), "short ones are inline");
_Static_assert(sizeof(struct value128) == sizeof(duckdb_hugeint) &&
                   offsetof(struct value128, upper) == offsetof(duckdb_hugeint, upper),
               "128 bits are the engine's own");
_Static_assert(sizeof(struct value_interval) == sizeof(duckdb_interval) &&
                   offsetof(struct value_interval, micros) == offsetof(duckdb_interval, micros),
               "an interval is the engine's own");

_Static_assert(sizeof(struct list_place) == sizeof(duckdb_list_entry) &&
                   offsetof(struct list_place, count) == offsetof(duckdb_list_entry, length),
               "a list's place is the engine's own");

/* --- types --- */

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

/* What is in it. */
static void release_type(const struct column_type *t)
{
    for (uint32_t i = 0; t->children && i < t->child_count; i++)
        release_type(&t->children[i]);
    free((void *)t->children);
    if (t->name.length > TEXT_INLINE_MAX)
        free((void *)t->name.outside.pointer);
}

void column_set_unref(struct column_set *s)
{
    if (!s || atomic_fetch_sub(&s->uses, 1) != 1)
        return;
    for (size_t i = 0; i < s->count; i++)
        release_type(&s->types[i]);
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

/* A type that has a name of its own in SQL. */
static bool take_simple(struct column_type *t, duckdb_type id)
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
    for (size_t k = 0; k < ARRAY_SIZE(known); k++)
        if (known[k].from == id) {
            t->type = known[k].to;
            return true;
        }
    return false;
}

static bool is_json(duckdb_logical_type type)
{
    char *alias = duckdb_get_type_id(type) == DUCKDB_TYPE_VARCHAR ? duckdb_logical_type_get_alias(type) : NULL;
    bool json = alias && strcmp(alias, "JSON") == 0;
    duckdb_free(alias);
    return json;
}

/* What is not nested. false: it is to be cast to text. */
static bool take_leaf(struct column_type *t, duckdb_logical_type type, const struct column_rules *rules)
{
    duckdb_type id = duckdb_get_type_id(type);
    if (id == DUCKDB_TYPE_TIMESTAMP_TZ && !rules->utc)
        return false;
    if (rules->nested && (id == DUCKDB_TYPE_BIGNUM || is_json(type)))
        t->text = id == DUCKDB_TYPE_BIGNUM ? TEXT_NUMBER : TEXT_JSON;
    return id == DUCKDB_TYPE_DECIMAL ? take_decimal(t, type) : take_simple(t, id);
}

static bool take_name(struct column_type *t, char *name)
{
    size_t length = name ? strlen(name) : 0;
    t->name = (struct text_value){.length = (uint32_t)length};
    if (length <= TEXT_INLINE_MAX) {
        memcpy(t->name.inlined, name ? name : "", length);
    } else if (!(t->name.outside.pointer = strdup(name))) {
        t->name.length = 0;
        return false;
    }
    return true;
}

static enum column_shape shape_of(duckdb_logical_type type)
{
    switch (duckdb_get_type_id(type)) {
    case DUCKDB_TYPE_LIST:
        return SHAPE_LIST;
    case DUCKDB_TYPE_ARRAY:
        return SHAPE_ARRAY;
    case DUCKDB_TYPE_MAP:
        return SHAPE_MAP;
    case DUCKDB_TYPE_STRUCT:
        return SHAPE_STRUCT;
    case DUCKDB_TYPE_UNION:
        return SHAPE_UNION;
    default:
        return SHAPE_VALUE;
    }
}

/* As the type has them: without a union's tag. */
static uint32_t count_children(duckdb_logical_type type, enum column_shape shape)
{
    switch (shape) {
    case SHAPE_MAP:
        return 2;
    case SHAPE_STRUCT:
        return (uint32_t)duckdb_struct_type_child_count(type);
    case SHAPE_UNION:
        return (uint32_t)duckdb_union_type_member_count(type);
    default:
        return 1;
    }
}

/* `ret_name` is NULL where it has none; duckdb_free() it. */
static duckdb_logical_type child_of(duckdb_logical_type type, enum column_shape shape, uint32_t i, char **ret_name)
{
    *ret_name = NULL;
    switch (shape) {
    case SHAPE_LIST:
        return duckdb_list_type_child_type(type);
    case SHAPE_ARRAY:
        return duckdb_array_type_child_type(type);
    case SHAPE_MAP:
        return i == 0 ? duckdb_map_type_key_type(type) : duckdb_map_type_value_type(type);
    case SHAPE_STRUCT:
        *ret_name = duckdb_struct_type_child_name(type, i);
        return duckdb_struct_type_child_type(type, i);
    case SHAPE_UNION:
        *ret_name = duckdb_union_type_member_name(type, i);
        return duckdb_union_type_member_type(type, i);
    case SHAPE_VALUE:
        break;
    }
    return NULL;
}

/* --- a column's type, and what it is to be cast to --- */

/* One walk makes both: how the values will come, and the text of that type, needed only where some are cast. */
struct walk {
    const struct column_rules *rules;
    struct buf *cast;
    size_t nodes;
    bool casts, too_deep, no_memory;
};

static void take(struct walk *w, struct column_type *t, duckdb_logical_type type, unsigned depth);

static void take_as_text(struct walk *w, struct column_type *t)
{
    t->type = VALUE_TEXT;
    w->casts = true;
    buf_append_text(w->cast, "VARCHAR");
}

/* Keys are texts. */
static void take_key(struct walk *w, struct column_type *t, duckdb_logical_type type)
{
    if (duckdb_get_type_id(type) == DUCKDB_TYPE_VARCHAR)
        buf_append_text(w->cast, "VARCHAR");
    else
        take_as_text(w, t);
}

/* A field without a name has one in the type that it is cast to: fields are cast by their place then. */
static void append_member_name(struct walk *w, const char *name, uint32_t i)
{
    if (name && *name)
        engine_append_quoted(w->cast, name, '"');
    else
        buf_printf(w->cast, "f%" PRIu32, i + 1);
    buf_append_text(w->cast, " ");
}

static void take_child(struct walk *w, struct column_type *t, const struct column_type *parent,
                       duckdb_logical_type type, uint32_t i, unsigned depth)
{
    char *name;
    _cleanup_type_ duckdb_logical_type child = child_of(type, parent->shape, i, &name);
    if (!child || !take_name(t, name))
        w->no_memory = true;
    if (parent->shape == SHAPE_STRUCT || parent->shape == SHAPE_UNION)
        append_member_name(w, name, i);
    duckdb_free(name);
    if (w->no_memory)
        return;
    if (parent->shape == SHAPE_MAP && i == 0)
        take_key(w, t, child);
    else
        take(w, t, child, depth + 1);
}

static void take_children(struct walk *w, struct column_type *t, duckdb_logical_type type, unsigned depth)
{
    static const char *const before[] = {
        [SHAPE_LIST] = "",           [SHAPE_ARRAY] = "",        [SHAPE_MAP] = "MAP(",
        [SHAPE_STRUCT] = "STRUCT(", [SHAPE_UNION] = "UNION("};
    uint32_t tags = t->shape == SHAPE_UNION, count = count_children(type, t->shape);
    struct column_type *children = calloc(count + tags, sizeof *children);
    t->children = children;
    t->child_count = count + tags;
    w->nodes += count + tags;
    if (!children || depth == COLUMN_DEPTH_MAX) {
        w->no_memory |= !children;
        w->too_deep |= depth == COLUMN_DEPTH_MAX;
        return;
    }
    if (tags)
        children[0].type = VALUE_UINT8;
    buf_append_text(w->cast, before[t->shape]);
    for (uint32_t i = 0; i < count && !w->no_memory && !w->too_deep; i++) {
        buf_append_text(w->cast, i == 0 ? "" : ", ");
        take_child(w, &children[tags + i], t, type, i, depth);
    }
    if (t->shape == SHAPE_LIST)
        buf_append_text(w->cast, "[]");
    else if (t->shape == SHAPE_ARRAY)
        buf_printf(w->cast, "[%" PRIu32 "]", t->array_size = (uint32_t)duckdb_array_type_array_size(type));
    else
        buf_append_text(w->cast, ")");
}

static void take(struct walk *w, struct column_type *t, duckdb_logical_type type, unsigned depth)
{
    t->shape = w->rules->nested ? shape_of(type) : SHAPE_VALUE;
    if (t->shape != SHAPE_VALUE)
        take_children(w, t, type, depth);
    else if (!take_leaf(t, type, w->rules))
        take_as_text(w, t);
    else
        engine_append_leaf(w->cast, type);
}

enum column_fit column_set_type(struct column_set *s, size_t i, duckdb_logical_type type,
                                const struct column_rules *rules, struct buf *ret_cast)
{
    struct walk w = {.rules = rules, .cast = ret_cast};
    take(&w, &s->types[i], type, 0);
    s->nodes += w.nodes;
    s->nested_count += s->types[i].shape != SHAPE_VALUE;
    return w.too_deep                         ? COLUMN_TOO_DEEP
           : w.no_memory || !buf_ok(ret_cast) ? COLUMN_NO_MEMORY
           : w.casts                          ? COLUMN_CAST
                                              : COLUMN_AS_IT_IS;
}

static bool adopt(struct column_type *t, const struct column_type *plan)
{
    if (t->shape != plan->shape || t->child_count != plan->child_count)
        return false;
    t->text = t->type == VALUE_TEXT && plan->type == VALUE_TEXT ? plan->text : TEXT_PLAIN;
    struct column_type *children = (struct column_type *)t->children;
    for (uint32_t i = 0; i < t->child_count; i++) {
        struct text_value name = children[i].name;
        children[i].name = (struct text_value){0};
        if (name.length > TEXT_INLINE_MAX)
            free((void *)name.outside.pointer);
        const struct text_value *planned = &plan->children[i].name;
        if (planned->length <= TEXT_INLINE_MAX)
            children[i].name = *planned;
        else if (!take_name(&children[i], (char *)planned->outside.pointer))
            return false;
        if (!adopt(&children[i], &plan->children[i]))
            return false;
    }
    return true;
}

bool column_set_adopt(struct column_set *s, const struct column_set *plan)
{
    bool same = s->count == plan->count;
    for (size_t i = 0; i < s->count && same; i++)
        same = adopt(&s->types[i], &plan->types[i]);
    return same;
}

/* --- vectors --- */

static duckdb_vector child_vector(duckdb_vector vector, enum column_shape shape, uint32_t i)
{
    switch (shape) {
    case SHAPE_LIST:
        return duckdb_list_vector_get_child(vector);
    case SHAPE_ARRAY:
        return duckdb_array_vector_get_child(vector);
    case SHAPE_MAP:
        return duckdb_struct_vector_get_child(duckdb_list_vector_get_child(vector), i);
    default:
        return duckdb_struct_vector_get_child(vector, i);
    }
}

static void look_at(struct column *c, const struct column_type *t, duckdb_vector vector, struct column **next)
{
    *c = (struct column){.is = *t,
                         .values = duckdb_vector_get_data(vector),
                         .validity = duckdb_vector_get_validity(vector),
                         .children = *next};
    struct column *children = *next;
    *next += t->child_count;
    for (uint32_t i = 0; i < t->child_count; i++)
        look_at(&children[i], &t->children[i], child_vector(vector, t->shape, i), next);
}

/* The C API shows every vector as if it was flat. Those of a chunk are, but not always what lies within nested ones: a
 * list that is the same in all rows may hold a part of another one's elements, by their numbers. A copy is flat all
 * through. */
static duckdb_vector copy_flat(duckdb_vector vector, idx_t rows, duckdb_selection_vector all)
{
    _cleanup_type_ duckdb_logical_type type = duckdb_vector_get_column_type(vector);
    duckdb_vector copy = duckdb_create_vector(type, rows);
    if (copy)
        duckdb_vector_copy_sel(vector, copy, all, rows, 0, 0);
    return copy;
}

static duckdb_selection_vector select_all(idx_t rows)
{
    duckdb_selection_vector all = duckdb_create_selection_vector(rows);
    sel_t *numbers = all ? duckdb_selection_vector_get_data_ptr(all) : NULL;
    for (idx_t i = 0; i < rows && numbers; i++)
        numbers[i] = (sel_t)i;
    return all;
}

bool column_view_init(struct column_view *v, const struct column_set *s, duckdb_data_chunk chunk)
{
    idx_t rows = duckdb_data_chunk_get_size(chunk);
    bool ok = true;
    *v = (struct column_view){.columns = malloc((s->count + s->nodes) * sizeof *v->columns),
                              .copies = calloc(s->nested_count + 1, sizeof *v->copies)};
    struct column *next = v->columns ? v->columns + s->count : NULL;
    duckdb_selection_vector all = s->nested_count > 0 ? select_all(rows) : NULL;
    ok = v->columns && v->copies && (all || s->nested_count == 0);
    for (size_t i = 0; i < s->count && ok; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, i);
        if (s->types[i].shape != SHAPE_VALUE) {
            vector = copy_flat(vector, rows, all);
            ok = vector != NULL;
            if (ok)
                v->copies[v->copy_count++] = vector;
        }
        if (ok)
            look_at(&v->columns[i], &s->types[i], vector, &next);
    }
    if (all)
        duckdb_destroy_selection_vector(all);
    return ok;
}

void column_view_release(struct column_view *v)
{
    for (size_t i = 0; i < v->copy_count; i++)
        duckdb_destroy_vector(&v->copies[i]);
    free(v->copies);
    free(v->columns);
}
