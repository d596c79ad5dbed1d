/* That a column within another is seen as it is, whatever kind of vector of the engine's it lies in. The C API can make
 * a dictionary of what a list or struct holds; to other parts of it that looks like any flat vector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "worker/engine_columns.h"

#define ROWS 3
#define ITEMS 6

static struct column_set *set_of(duckdb_logical_type type, enum column_fit expected, const char *cast)
{
    const struct column_rules rules = {.nested = true, .utc = true};
    struct column_set *s = column_set_new(1);
    struct buf text;
    buf_init(&text, 4096);
    assert_non_null(s);
    assert_int_equal(column_set_type(s, 0, type, &rules, &text), expected);
    if (cast)
        assert_string_equal(text.data, cast);
    buf_release(&text);
    return s;
}

static duckdb_selection_vector select_these(const sel_t *numbers, size_t count)
{
    duckdb_selection_vector sel = duckdb_create_selection_vector(count);
    memcpy(duckdb_selection_vector_get_data_ptr(sel), numbers, count * sizeof *numbers);
    return sel;
}

/* Three lists of two numbers each, whose items then are others: by their places, in a dictionary. */
static void items_of_a_list_may_be_a_dictionary(void **state)
{
    (void)state;
    static const sel_t order[ITEMS] = {5, 4, 3, 2, 1, 0};
    duckdb_logical_type integer = duckdb_create_logical_type(DUCKDB_TYPE_INTEGER), list = duckdb_create_list_type(integer);
    duckdb_data_chunk chunk = duckdb_create_data_chunk(&list, 1);
    duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, 0);
    duckdb_list_vector_reserve(vector, ITEMS);
    duckdb_list_vector_set_size(vector, ITEMS);
    duckdb_list_entry *lists = duckdb_vector_get_data(vector);
    duckdb_vector items = duckdb_list_vector_get_child(vector);
    for (int i = 0; i < ITEMS; i++)
        ((int32_t *)duckdb_vector_get_data(items))[i] = 10 * i;
    for (int i = 0; i < ROWS; i++)
        lists[i] = (duckdb_list_entry){.offset = (uint64_t)i * 2, .length = 2};
    duckdb_selection_vector sel = select_these(order, ITEMS);
    duckdb_slice_vector(items, sel, ITEMS);
    duckdb_data_chunk_set_size(chunk, ROWS);

    struct column_set *s = set_of(list, COLUMN_AS_IT_IS, "INTEGER[]");
    struct column_view view;
    assert_true(column_view_init(&view, s, chunk));
    const struct column *c = &view.columns[0];
    assert_int_equal(c->is.shape, SHAPE_LIST);
    assert_int_equal(c->children[0].is.type, VALUE_INT32);
    const struct list_place *places = c->values;
    for (size_t row = 0; row < ROWS; row++) {
        assert_int_equal(places[row].count, 2);
        const int32_t *seen = (const int32_t *)c->children[0].values + places[row].first;
        assert_int_equal(seen[0], 50 - 20 * (int)row);
        assert_int_equal(seen[1], 40 - 20 * (int)row);
    }
    column_view_release(&view);
    column_set_unref(s);
    duckdb_destroy_selection_vector(sel);
    duckdb_destroy_data_chunk(&chunk);
    duckdb_destroy_logical_type(&list);
    duckdb_destroy_logical_type(&integer);
}

/* The same of a struct's field, which is one value in all rows. */
static void a_field_may_be_a_dictionary(void **state)
{
    (void)state;
    static const sel_t same[ROWS] = {2, 2, 2};
    const char *name = "a name of more than twelve bytes";
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR), row_type = duckdb_create_struct_type(&text, &name, 1);
    duckdb_data_chunk chunk = duckdb_create_data_chunk(&row_type, 1);
    duckdb_vector field = duckdb_struct_vector_get_child(duckdb_data_chunk_get_vector(chunk, 0), 0);
    duckdb_vector_assign_string_element(field, 0, "zero");
    duckdb_vector_assign_string_element(field, 1, "one");
    duckdb_vector_assign_string_element(field, 2, "a text that is not inline");
    duckdb_selection_vector sel = select_these(same, ROWS);
    duckdb_slice_vector(field, sel, ROWS);
    duckdb_data_chunk_set_size(chunk, ROWS);

    struct column_set *s = set_of(row_type, COLUMN_AS_IT_IS, "STRUCT(\"a name of more than twelve bytes\" VARCHAR)");
    struct column_view view;
    assert_true(column_view_init(&view, s, chunk));
    const struct column *c = &view.columns[0].children[0];
    assert_int_equal(c->is.name.length, strlen(name));
    assert_memory_equal(text_value_data(&c->is.name), name, strlen(name));
    for (size_t i = 0; i < ROWS; i++) {
        const struct text_value *v = (const struct text_value *)c->values + i;
        assert_int_equal(v->length, 25);
        assert_memory_equal(text_value_data(v), "a text that is not inline", 25);
    }
    column_view_release(&view);
    column_set_unref(s);
    duckdb_destroy_selection_vector(sel);
    duckdb_destroy_data_chunk(&chunk);
    duckdb_destroy_logical_type(&row_type);
    duckdb_destroy_logical_type(&text);
}

static void only_what_no_encoder_knows_is_cast(void **state)
{
    (void)state;
    duckdb_logical_type blob = duckdb_create_logical_type(DUCKDB_TYPE_BLOB), number = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT),
                        money = duckdb_create_decimal_type(18, 3), list = duckdb_create_list_type(blob), map = duckdb_create_map_type(number, list),
                        array = duckdb_create_array_type(number, 4);
    duckdb_logical_type members[] = {map, money, array};
    const char *names[] = {"select", "say \"hi\"", "c"};
    duckdb_logical_type whole = duckdb_create_struct_type(members, names, 3), either = duckdb_create_union_type(members, names, 3);
    column_set_unref(set_of(whole, COLUMN_CAST, "STRUCT(\"select\" MAP(VARCHAR, VARCHAR[]), \"say \"\"hi\"\"\" DECIMAL(18,3), \"c\" BIGINT[4])"));
    struct column_set *s =
        set_of(either, COLUMN_CAST, "UNION(\"select\" MAP(VARCHAR, VARCHAR[]), \"say \"\"hi\"\"\" DECIMAL(18,3), \"c\" BIGINT[4])");
    assert_int_equal(s->types[0].child_count, 4); /* with the tag */
    assert_int_equal(s->nodes, 4 + 2 + 1 + 1);
    column_set_unref(s);
    column_set_unref(set_of(array, COLUMN_AS_IT_IS, "BIGINT[4]"));
    duckdb_logical_type *all[] = {&either, &whole, &array, &map, &list, &money, &number, &blob};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        duckdb_destroy_logical_type(all[i]);
}

static void types_can_be_too_deep(void **state)
{
    (void)state;
    duckdb_logical_type types[COLUMN_DEPTH_MAX + 2] = {duckdb_create_logical_type(DUCKDB_TYPE_INTEGER)};
    for (size_t i = 1; i < ARRAY_SIZE(types); i++)
        types[i] = duckdb_create_list_type(types[i - 1]);
    column_set_unref(set_of(types[COLUMN_DEPTH_MAX], COLUMN_AS_IT_IS, NULL));
    column_set_unref(set_of(types[COLUMN_DEPTH_MAX + 1], COLUMN_TOO_DEEP, NULL));
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        duckdb_destroy_logical_type(&types[i]);
}

/* After a cast of fields that have no names the names are those before it: none. */
static void names_are_those_before_the_cast(void **state)
{
    (void)state;
    duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT), text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    const char *made_up = "f1 and more than twelve bytes", *planned = "the planned name, not inline";
    duckdb_logical_type before = duckdb_create_struct_type(&text, &planned, 1), after = duckdb_create_struct_type(&text, &made_up, 1),
                        other = duckdb_create_struct_type(&number, &made_up, 1), list = duckdb_create_list_type(text);
    struct column_set *plan = set_of(before, COLUMN_AS_IT_IS, NULL), *came = set_of(after, COLUMN_AS_IT_IS, NULL);
    assert_true(column_set_adopt(came, plan));
    const struct text_value *name = &came->types[0].children[0].name;
    assert_int_equal(name->length, strlen(planned));
    assert_memory_equal(text_value_data(name), planned, strlen(planned));
    column_set_unref(came);
    came = set_of(other, COLUMN_AS_IT_IS, NULL);
    assert_true(column_set_adopt(came, plan));
    assert_int_equal(came->types[0].children[0].type, VALUE_INT64); /* memory is what it is */
    column_set_unref(came);
    came = set_of(list, COLUMN_AS_IT_IS, NULL);
    assert_false(column_set_adopt(came, plan));
    column_set_unref(came);
    column_set_unref(plan);
    duckdb_logical_type *all[] = {&list, &other, &after, &before, &text, &number};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        duckdb_destroy_logical_type(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_of_a_list_may_be_a_dictionary), cmocka_unit_test(a_field_may_be_a_dictionary),
        cmocka_unit_test(only_what_no_encoder_knows_is_cast),  cmocka_unit_test(types_can_be_too_deep),
        cmocka_unit_test(names_are_those_before_the_cast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
