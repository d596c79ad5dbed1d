/* JSON: that every way of writing a text, by its length and place, writes the same; values within values; and what
 * becomes of values of the type JSON. What typed values look like is held against the engine by
 * worker/test_differential.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "worker/encoder.h"
#include "worker/json_value.h"
#include "text_values.h"

static void append_list(struct buf *out, struct block_pool *pool, struct block *list)
{
    for (const struct block *b = list; b; b = b->next)
        buf_append(out, b->data, b->length);
    block_pool_give_back(pool, list);
    assert_true(buf_ok(out));
}

/* The file of one chunk, its first separator included. false: refused, `ret_why` says why. */
static bool encode(const struct file_form *form, const char *const *names, const struct chunk *chunk, struct buf *out,
                   struct error *ret_why)
{
    const struct encoder *encoder = form->format == FILE_JSON ? &json_encoder : &ndjson_encoder;
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    struct error e;
    assert_non_null(pool);
    assert_true(block_writer_begin(&w, pool, 0));
    void *plan = encoder->prepare(form, &(struct encoder_columns){.names = names, .count = chunk->column_count}, &e);
    assert_non_null(plan);
    assert_true(encoder->begin(plan, &w));
    bool ok = encoder->chunk(plan, &w, chunk);
    if (ok) {
        assert_true(encoder->end(plan, &w));
        append_list(out, pool, block_writer_end(&w, chunk->rows));
    } else {
        *ret_why = w.refused ? *w.refused : (struct error){ERROR_MEMORY, ""};
        block_writer_discard(&w);
    }
    encoder->release(plan);
    block_pool_free(pool);
    return ok;
}

static void expect_file(const struct file_form *form, const char *const *names, const struct chunk *chunk, const char *expected,
                        size_t length)
{
    struct buf out;
    struct error e;
    buf_init(&out, 256 << 20);
    assert_true(encode(form, names, chunk, &out, &e));
    assert_int_equal(out.len, length);
    assert_memory_equal(out.data, expected, length);
    buf_release(&out);
}

static void rows_become_objects(void **state)
{
    (void)state;
    const char *const names[] = {"plain", "say \"hi\"\n", "n, under a name that is longer than what is copied at once"};
    const struct text_value left[] = {text("twelve bytes"), text("thirteen byte"), text("")};
    const struct text_value right[] = {text("1"), text("with \"quotes\", long\\"), text("x")};
    const int32_t numbers[] = {0, -1, INT32_MIN};
    const uint64_t not_third = ~4ull;
    const struct column columns[] = {{.values = left},
                                     {.values = right, .validity = &not_third},
                                     {.is.type = VALUE_INT32, .values = numbers, .validity = &not_third}};
    const struct chunk chunk = {.rows = 3, .column_count = 3, .columns = columns};
#define N "\"n, under a name that is longer than what is copied at once\":"
    static const char lines[] = "{\"plain\":\"twelve bytes\",\"say \\\"hi\\\"\\n\":\"1\"," N "0}\n"
                                "{\"plain\":\"thirteen byte\",\"say \\\"hi\\\"\\n\":\"with \\\"quotes\\\", long\\\\\"," N "-1}\n"
                                "{\"plain\":\"\",\"say \\\"hi\\\"\\n\":null," N "null}\n";
    static const char array[] = "[\n\t,\n\t{\"plain\":\"twelve bytes\",\"say \\\"hi\\\"\\n\":\"1\"," N "0},"
                                "\n\t{\"plain\":\"thirteen byte\",\"say \\\"hi\\\"\\n\":\"with \\\"quotes\\\", long\\\\\"," N "-1},"
                                "\n\t{\"plain\":\"\",\"say \\\"hi\\\"\\n\":null," N "null}\n]\n";
    struct file_form form = file_form_default(FILE_NDJSON);
    expect_file(&form, names, &chunk, lines, sizeof lines - 1);
    form = file_form_default(FILE_JSON);
    assert_int_equal(json_encoder.separator, 3);
    expect_file(&form, names, &chunk, array, sizeof array - 1);
}

/* The rule in its simplest form, a byte at a time. */
static void append_expected(struct buf *out, const char *data, size_t length)
{
    buf_append(out, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)data[i];
        const char *letter = c == '\0' ? NULL : strchr("\bb\tt\nn\ff\rr\"\"\\\\", c);
        if (c < 0x20 || c == '"' || c == '\\') {
            if (letter && (letter - "\bb\tt\nn\ff\rr\"\"\\\\") % 2 == 0)
                buf_printf(out, "\\%c", letter[1]);
            else
                buf_printf(out, "\\u%04X", c);
        } else {
            buf_append(out, data + i, 1);
        }
    }
    buf_append(out, "\"", 1);
}

#define LENGTH_MAX 80

/* Every byte at every place of every length; in inline texts nothing but zeros is behind them. */
static void every_byte_at_every_place_is_seen(void **state)
{
    (void)state;
    static const char *const names[] = {"x"};
    static char texts[LENGTH_MAX * 256][LENGTH_MAX];
    static struct text_value values[LENGTH_MAX * 256];
    const struct file_form form = file_form_default(FILE_NDJSON);
    struct buf expected;
    buf_init(&expected, 64 << 20);
    for (size_t length = 1; length <= LENGTH_MAX; length++) {
        size_t rows = length * 256;
        buf_clear(&expected);
        for (size_t row = 0; row < rows; row++) {
            memset(texts[row], 'x', length);
            texts[row][row / 256] = (char)(row % 256);
            values[row] = value(texts[row], length);
            buf_append_text(&expected, "{\"x\":");
            append_expected(&expected, texts[row], length);
            buf_append_text(&expected, "}\n");
        }
        assert_true(buf_ok(&expected));
        expect_file(&form, names, &(struct chunk){.rows = rows, .column_count = 1, .columns = &(struct column){.values = values}},
                    expected.data, expected.len);
    }
    buf_release(&expected);
}

/* Full of escapes, here and there one, or none, across the ends of blocks; some are longer than blocks. */
static void texts_of_any_length_are_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b"};
    enum { LONGEST = 300 << 10, ROWS = 300 };
    static char bytes[4][LONGEST];
    struct text_value left[ROWS], right[ROWS];
    struct buf expected;
    for (size_t i = 0; i < LONGEST; i++) {
        bytes[0][i] = (char)('a' + i % 26);
        bytes[1][i] = i % 997 == 996 ? '\\' : (char)('a' + i % 26);
        bytes[2][i] = i % 5 == 0 || i % 7 == 0 ? '"' : (char)('a' + i % 26);
        bytes[3][i] = (char)(i % 32);
    }
    buf_init(&expected, 256 << 20);
    for (size_t row = 0; row < ROWS; row++) {
        size_t length = row % 50 == 49 ? LONGEST : row * 131 % 5000, other = row * 17 % 1200;
        left[row] = value(bytes[row % 4], length);
        right[row] = value(bytes[row / 4 % 4] + row % 50, other);
        buf_append_text(&expected, "{\"a\":");
        append_expected(&expected, bytes[row % 4], length);
        buf_append_text(&expected, ",\"b\":");
        append_expected(&expected, bytes[row / 4 % 4] + row % 50, other);
        buf_append_text(&expected, "}\n");
    }
    assert_true(buf_ok(&expected));
    const struct column columns[] = {{.values = left}, {.values = right}};
    const struct file_form form = file_form_default(FILE_NDJSON);
    expect_file(&form, names, &(struct chunk){.rows = ROWS, .column_count = 2, .columns = columns}, expected.data, expected.len);
    buf_release(&expected);
}

static void numbers_are_texts_where_asked(void **state)
{
    (void)state;
    static const char *const names[] = {"i", "h", "d", "e", "f", "n"};
    const int64_t integers[] = {INT64_MIN};
    const struct value128 huge[] = {{.lower = 7}};
    const int64_t decimals[] = {-150}, wide[] = {5};
    const double infinite[] = {-__builtin_inf()};
    const struct text_value number[] = {text("123456789012345678901234567890")};
    const struct column columns[] = {{.is.type = VALUE_INT64, .values = integers},
                                     {.is.type = VALUE_INT128, .values = huge},
                                     {.is = {.type = VALUE_DECIMAL64, .width = 15, .scale = 2}, .values = decimals},
                                     {.is = {.type = VALUE_DECIMAL64, .width = 18, .scale = 18}, .values = wide},
                                     {.is.type = VALUE_DOUBLE, .values = infinite},
                                     {.is.text = TEXT_NUMBER, .values = number}};
    const struct chunk chunk = {.rows = 1, .column_count = 6, .columns = columns};
    static const char usual[] = "{\"i\":-9223372036854775808,\"h\":7,\"d\":-1.5,\"e\":0.000000000000000005,\"f\":null,"
                                "\"n\":123456789012345678901234567890}\n";
    static const char texts[] = "{\"i\":\"-9223372036854775808\",\"h\":\"7\",\"d\":\"-1.50\",\"e\":\"0.000000000000000005\","
                                "\"f\":\"-Infinity\",\"n\":\"123456789012345678901234567890\"}\n";
    struct file_form form = file_form_default(FILE_NDJSON);
    expect_file(&form, names, &chunk, usual, sizeof usual - 1);
    form.integers_as_text = form.decimals_as_text = form.non_finite_as_text = true;
    expect_file(&form, names, &chunk, texts, sizeof texts - 1);
}

/* A list of structs of a map and a union, by hand. */
static void values_lie_within_values(void **state)
{
    (void)state;
    static const char *const names[] = {"v"};
    const struct text_value keys[] = {text("k"), text("a key, not inline"), text("\"")};
    const int16_t numbers[] = {1, 2, 3};
    const uint64_t not_second = ~2ull;
    const struct column map_children[] = {{.values = keys},
                                          {.is.type = VALUE_INT16, .values = numbers, .validity = &not_second}};
    const struct list_place maps[] = {{0, 2}, {2, 0}, {2, 1}};
    const uint8_t tags[] = {1, 0, 1};
    const struct text_value words[] = {text("one"), text(""), text("three")};
    const bool truths[] = {false, true, false};
    const struct column members[] = {{.is.type = VALUE_UINT8, .values = tags},
                                     {.is = {.type = VALUE_BOOL, .name = text("truth")}, .values = truths},
                                     {.is.name = text("word"), .values = words}};
    const struct column fields[] = {
        {.is = {.shape = SHAPE_MAP, .child_count = 2, .name = text("m")}, .values = maps, .children = map_children},
        {.is = {.shape = SHAPE_UNION, .child_count = 3, .name = text("a name, not inline")}, .children = members}};
    const struct column item = {.is = {.shape = SHAPE_STRUCT, .child_count = 2}, .children = fields, .validity = &not_second};
    const struct list_place lists[] = {{1, 2}, {0, 1}, {3, 0}};
    const struct column list = {.is = {.shape = SHAPE_LIST, .child_count = 1}, .values = lists, .children = &item};
    static const char expected[] =
        "{\"v\":[null,{\"m\":{\"\\\"\":3},\"a name, not inline\":{\"word\":\"three\"}}]}\n"
        "{\"v\":[{\"m\":{\"k\":1,\"a key, not inline\":null},\"a name, not inline\":{\"word\":\"one\"}}]}\n"
        "{\"v\":[]}\n";
    const struct file_form form = file_form_default(FILE_NDJSON);
    expect_file(&form, names, &(struct chunk){.rows = 3, .column_count = 1, .columns = &list}, expected, sizeof expected - 1);
}

/* Closing brackets of many levels need room too, wherever a block ends. */
static void deep_values_go_over_the_ends_of_blocks(void **state)
{
    (void)state;
    static const char *const names[] = {"v"};
    enum { DEPTH = 100, ROWS = 3000 };
    static struct column levels[DEPTH + 1];
    static int32_t numbers[ROWS];
    struct buf expected;
    buf_init(&expected, 16 << 20);
    for (int i = 0; i < DEPTH; i++)
        levels[i] = (struct column){.is = {.shape = SHAPE_ARRAY, .child_count = 1, .array_size = 1}, .children = &levels[i + 1]};
    levels[DEPTH] = (struct column){.is.type = VALUE_INT32, .values = numbers};
    for (int row = 0; row < ROWS; row++) {
        numbers[row] = row * row;
        buf_append_text(&expected, "{\"v\":");
        for (int i = 0; i < DEPTH; i++)
            buf_append(&expected, "[", 1);
        buf_printf(&expected, "%d", numbers[row]);
        for (int i = 0; i < DEPTH; i++)
            buf_append(&expected, "]", 1);
        buf_append_text(&expected, "}\n");
    }
    const struct file_form form = file_form_default(FILE_NDJSON);
    expect_file(&form, names, &(struct chunk){.rows = ROWS, .column_count = 1, .columns = levels}, expected.data, expected.len);
    buf_release(&expected);
}

/* NULL: it is refused. Free it. */
static char *copy_json(const char *data, size_t length, bool non_finite_as_text)
{
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    struct buf out;
    buf_init(&out, 16 << 20);
    assert_true(block_writer_begin(&w, pool, 0));
    char *copy = memcpy(malloc(length + 1), data, length); /* that reading too far is seen */
    uint8_t *at = json_put_value(&w, w.at, copy, length, non_finite_as_text);
    free(copy);
    if (at) {
        w.at = at;
        append_list(&out, pool, block_writer_end(&w, 1));
    } else {
        assert_non_null(w.refused);
        assert_int_equal(w.refused->code, ERROR_QUERY);
        block_writer_discard(&w);
    }
    block_pool_free(pool);
    return at ? buf_take(&out) : NULL;
}

static void json_is_written_in_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } known[] = {
        {"1", "1"},
        {" \t\r\n-0.50E+10 ", "-0.50E+10"},
        {"[ ]", "[]"},
        {"{ }", "{}"},
        {"[1 , 2\n,3]", "[1,2,3]"},
        {"[1, ]", "[1]"},
        {"{\"a\" : [ true,false , null ] , \"b\":{\"c\":\"d\"} , }", "{\"a\":[true,false,null],\"b\":{\"c\":\"d\"}}"},
        {"\"a \\\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e4 \xc3\xa4 and more bytes than sixteen\"",
         "\"a \\\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e4 \xc3\xa4 and more bytes than sixteen\""},
        {"\"\\ud83e\\uDD86\\uFFFF\\u0000\"", "\"\\ud83e\\uDD86\\uFFFF\\u0000\""},
        {"[NaN, -nan, inf, -Inf, INFINITY, -Infinity]", "[null,null,null,null,null,null]"},
        {"\"NaN\"", "\"NaN\""},
        {"123456789012345678901234567890.000", "123456789012345678901234567890.000"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        char *to = copy_json(known[i].from, strlen(known[i].from), false);
        assert_non_null(to);
        assert_string_equal(to, known[i].to);
        free(to);
    }
    char *texts = copy_json("[NaN,-nan,inf,-Inf,Infinity]", 28, true);
    assert_string_equal(texts, "[\"NaN\",\"NaN\",\"Infinity\",\"-Infinity\",\"Infinity\"]");
    free(texts);
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "", " ", "[", "]", "{", "}", "[}", "{]", "[1}", "{\"a\":1]", "[,]", "[1,,2]", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,,}",
        "{1:2}", "{\"a\":1 \"b\":2}", "[1 2]", "1 2", "1,", "[1],", ":", "[:1]", "{\"a\"::1}", "{\"a\",1}", "tru", "True", "nul", "nanx", "infinit",
        "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "1a", "--1", "-a", "\"", "\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"",
        "\"\\ud83e\"", "\"\\udd86\"", "\"\\ud83e\\ud83e\"", "\"\\ud83e \\udd86\"", "\"\\udd86\\ud83e\"", "\"\\ud83e\\udd8",
        "\"a\nb\"", "\"tab\t, and more than sixteen bytes\"", "\"\x01\"", "'a'", "/* */1", "\xef\xbb\xbf""1", "[\"a\"\"b\"]", "{\"a\":[1}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        char *to = copy_json(refused[i], strlen(refused[i]), false);
        if (to)
            fail_msg("<%s> became <%s>", refused[i], to);
    }
    assert_null(copy_json("1\0", 2, false));
    assert_null(copy_json("\"\0\"", 3, false));
}

static void depth_has_an_end(void **state)
{
    (void)state;
    static char deep[2 * (JSON_DEPTH_MAX + 1)];
    for (size_t i = 0; i < JSON_DEPTH_MAX + 1; i++) {
        deep[i] = '[';
        deep[sizeof deep - 1 - i] = ']';
    }
    assert_null(copy_json(deep, sizeof deep, false));
    char *to = copy_json(deep + 1, sizeof deep - 2, false);
    assert_int_equal(strlen(to), sizeof deep - 2);
    assert_memory_equal(to, deep + 1, sizeof deep - 2);
    free(to);
}

/* Every beginning of a text is refused, and none is read beyond its end. */
static void nothing_is_read_behind_the_end(void **state)
{
    (void)state;
    static const char whole[] = "{\"a\":[1.5e3,-2,true,false,null,NaN,-Infinity,\"\\u00e4\\n and more than sixteen bytes\",{}],\"b\":[]}";
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        char *exact = memcpy(malloc(length ? length : 1), whole, length);
        char *to = copy_json(exact, length, false);
        assert_null(to);
        free(exact);
    }
}

static void a_refused_value_fails_the_chunk(void **state)
{
    (void)state;
    static const char *const names[] = {"j"};
    const struct text_value values[] = {text("[1, 2]"), text("[1, 2")};
    const struct column column = {.is.text = TEXT_JSON, .values = values};
    const struct file_form form = file_form_default(FILE_NDJSON);
    struct error e = {0};
    struct buf out;
    buf_init(&out, 1000);
    assert_false(encode(&form, names, &(struct chunk){.rows = 2, .column_count = 1, .columns = &column}, &out, &e));
    assert_int_equal(e.code, ERROR_QUERY);
    assert_non_null(strstr(e.message, "is not JSON"));
    assert_true(encode(&form, names, &(struct chunk){.rows = 1, .column_count = 1, .columns = &column}, &out, &e));
    assert_string_equal(out.data, "{\"j\":[1,2]}\n");
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_objects),
        cmocka_unit_test(every_byte_at_every_place_is_seen),
        cmocka_unit_test(texts_of_any_length_are_whole),
        cmocka_unit_test(numbers_are_texts_where_asked),
        cmocka_unit_test(values_lie_within_values),
        cmocka_unit_test(deep_values_go_over_the_ends_of_blocks),
        cmocka_unit_test(json_is_written_in_one_line),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(depth_has_an_end),
        cmocka_unit_test(nothing_is_read_behind_the_end),
        cmocka_unit_test(a_refused_value_fails_the_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
