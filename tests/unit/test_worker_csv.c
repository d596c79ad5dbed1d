/* CSV: which values get quotes, and that every way of writing a text, by its length and place, writes the same. What
 * typed values look like is held against the engine by worker/test_differential.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "worker/csv.h"
#include "worker/encoder.h"

static void values_are_quoted_as_by_the_engine(void **state)
{
    (void)state;
    const char *const quoted[] = {"", "a,b", "\"", "line\nfeed", "carriage\r", "a long value with # in it"};
    const char *const bare[] = {"a",   " ", "\t", "a;b", "back\\slash", "'", "a long value without anything",
                                "NULL"};
    for (size_t i = 0; i < sizeof quoted / sizeof *quoted; i++)
        assert_true(csv_needs_quotes(quoted[i], strlen(quoted[i])));
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++)
        assert_false(csv_needs_quotes(bare[i], strlen(bare[i])));
}

static struct text_value value(const char *text, size_t length)
{
    struct text_value v = {.length = (uint32_t)length};
    if (v.length <= TEXT_INLINE_MAX)
        memcpy(v.inlined, text, v.length);
    else
        v.outside.pointer = text;
    return v;
}

static struct text_value text(const char *text)
{
    return value(text, strlen(text));
}

/* The file of one chunk. */
static void encode(const char *const *names, const struct chunk *chunk, struct buf *out)
{
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    assert_non_null(pool);
    assert_true(block_writer_begin(&w, pool, 0));
    const struct file_form form = file_form_default(FILE_CSV);
    struct error e;
    void *plan = csv_encoder.prepare(&form, &(struct encoder_columns){names, chunk->column_count}, &e);
    assert_non_null(plan);
    assert_true(csv_encoder.begin(plan, &w));
    assert_true(csv_encoder.chunk(plan, &w, chunk));
    assert_true(csv_encoder.end(plan, &w));
    free(plan);
    struct block *list = block_writer_end(&w, chunk->rows);
    assert_int_equal(list->rows, chunk->rows);
    for (const struct block *b = list; b; b = b->next)
        buf_append(out, b->data, b->length);
    block_pool_give_back(pool, list);
    block_pool_free(pool);
    assert_true(buf_ok(out));
}

static void rows_become_lines(void **state)
{
    (void)state;
    struct buf out;
    const char *const names[] = {"plain", "say \"hi\"", "n"};
    const struct text_value left[] = {text("twelve bytes"), text("thirteen byte"), text(""), text("a\"b")};
    const struct text_value right[] = {text("1"), text("with \"quotes\", long"), text("x"), text("#")};
    const int32_t numbers[] = {0, -1, INT32_MIN, 7};
    const uint64_t not_third = ~4ull;
    const struct column columns[] = {{.values = left},
                                     {.values = right, .validity = &not_third},
                                     {.is.type = VALUE_INT32, .values = numbers, .validity = &not_third}};
    static const char expected[] = "plain,\"say \"\"hi\"\"\",n\n"
                                   "twelve bytes,1,0\n"
                                   "thirteen byte,\"with \"\"quotes\"\", long\",-1\n"
                                   "\"\",,\n"
                                   "\"a\"\"b\",\"#\",7\n";
    buf_init(&out, 1 << 20);
    encode(names, &(struct chunk){.rows = 4, .column_count = 3, .columns = columns}, &out);
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.len);
    buf_release(&out);
}

static bool asks_for_quotes(const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (memchr("\n\r,\"#", data[i], 5))
            return true;
    return length == 0;
}

/* The rule in its simplest form, a byte at a time. */
static void append_expected(struct buf *out, const char *data, size_t length)
{
    bool quotes = asks_for_quotes(data, length);
    if (quotes)
        buf_append(out, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '"')
            buf_append(out, "\"", 1);
        buf_append(out, data + i, 1);
    }
    if (quotes)
        buf_append(out, "\"", 1);
}

#define LENGTH_MAX 80

/* Every byte at every place of every length. */
static void every_byte_at_every_place_is_seen(void **state)
{
    (void)state;
    static const char *const names[] = {"x"};
    static char texts[LENGTH_MAX * 256][LENGTH_MAX];
    static struct text_value values[LENGTH_MAX * 256];
    struct buf out, expected;
    buf_init(&out, 64 << 20);
    buf_init(&expected, 64 << 20);
    for (size_t length = 1; length <= LENGTH_MAX; length++) {
        size_t rows = length * 256;
        out.len = expected.len = 0;
        buf_append(&expected, "x\n", 2);
        for (size_t row = 0; row < rows; row++) {
            memset(texts[row], 'x', length);
            texts[row][row / 256] = (char)(row % 256);
            values[row] = value(texts[row], length);
            assert_int_equal(csv_needs_quotes(texts[row], length), asks_for_quotes(texts[row], length));
            append_expected(&expected, texts[row], length);
            buf_append(&expected, "\n", 1);
        }
        encode(names, &(struct chunk){.rows = rows, .column_count = 1, .columns = &(struct column){.values = values}},
               &out);
        assert_int_equal(out.len, expected.len);
        assert_memory_equal(out.data, expected.data, out.len);
    }
    buf_release(&out);
    buf_release(&expected);
}

/* Long texts full of quotes, across the ends of blocks; one is longer than a block. */
static void texts_of_any_length_are_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b"};
    static char bytes[BLOCK_SIZE + 1000];
    struct text_value left[600], right[600];
    struct buf out, expected;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i % 5 == 0 || i % 7 == 0 ? '"' : (char)('a' + i % 26);
    buf_init(&out, 64 << 20);
    buf_init(&expected, 64 << 20);
    buf_append(&expected, "a,b\n", 4);
    for (size_t row = 0; row < ARRAY_SIZE(left); row++) {
        size_t length = row == 300 ? sizeof bytes : row * 13 % 4000;
        left[row] = value(bytes, length);
        right[row] = value(bytes + row % 50, length / 2);
        append_expected(&expected, bytes, length);
        buf_append(&expected, ",", 1);
        append_expected(&expected, bytes + row % 50, length / 2);
        buf_append(&expected, "\n", 1);
    }
    const struct column columns[] = {{.values = left}, {.values = right}};
    encode(names, &(struct chunk){.rows = ARRAY_SIZE(left), .column_count = 2, .columns = columns}, &out);
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.data, expected.data, out.len);
    buf_release(&out);
    buf_release(&expected);
}

/* Written in pieces, over several blocks, with what asks for quotes here and there or nowhere; and blocks are filled. */
static void long_texts_go_on_in_the_next_block(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "n", "b"};
    enum { LONGEST = 768 << 10 };
    static char bytes[8][LONGEST];
    static const size_t odd[] = {0, 1, 15, 8191, 100000, LONGEST - 17, LONGEST - 1};
    for (size_t i = 0; i < 8; i++)
        for (size_t at = 0; at < sizeof bytes[i]; at++)
            bytes[i][at] = i == 7 ? '"' : (char)('a' + at % 26);
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        bytes[i % 3 + 1][odd[i]] = ",\"\n"[i % 3];
    for (size_t at = 5; at < sizeof bytes[4]; at += 11)
        bytes[4][at] = '"';
    enum { ROWS = 120 };
    struct text_value left[ROWS], right[ROWS];
    int32_t numbers[ROWS];
    struct buf out, expected;
    buf_init(&out, 256 << 20);
    buf_init(&expected, 256 << 20);
    buf_append(&expected, "a,n,b\n", 6);
    for (size_t row = 0; row < ROWS; row++) {
        const char *l = bytes[row % 8], *r = bytes[row / 8 % 8];
        size_t length = row % 5 == 0 ? sizeof bytes[0] : 8000 + row * 7919 % (LONGEST - 8000), other = row * 977 % 20000;
        left[row] = value(l, length);
        right[row] = value(r, other);
        numbers[row] = (int32_t)row;
        append_expected(&expected, l, length);
        buf_printf(&expected, ",%zu,", row);
        append_expected(&expected, r, other);
        buf_append(&expected, "\n", 1);
    }
    const struct column columns[] = {
        {.values = left}, {.is.type = VALUE_INT32, .values = numbers}, {.values = right}};
    encode(names, &(struct chunk){.rows = ROWS, .column_count = 3, .columns = columns}, &out);
    assert_int_equal(out.len, expected.len);
    assert_memory_equal(out.data, expected.data, out.len);
    buf_release(&out);
    buf_release(&expected);
}

/* Memory for few bytes more than the text: not for what each row or text might have needed. */
static void blocks_are_filled(void **state)
{
    (void)state;
    enum { COLUMNS = 20000, ROWS = 100 };
    static struct column columns[COLUMNS];
    static char bytes[300000];
    struct text_value short_texts[ROWS], long_texts[ROWS];
    memset(bytes, 'x', sizeof bytes);
    for (size_t row = 0; row < ROWS; row++) {
        short_texts[row] = text("y");
        long_texts[row] = value(bytes, 50000 + row * 2500);
    }
    for (size_t i = 0; i < COLUMNS; i++)
        columns[i].values = short_texts;
    for (int wide = 0; wide < 2; wide++) {
        struct block_pool *pool = block_pool_new();
        struct block_writer w;
        const struct file_form form = file_form_default(FILE_CSV);
        struct error e;
        void *plan = csv_encoder.prepare(&form, &(struct encoder_columns){0}, &e);
        assert_true(block_writer_begin(&w, pool, 0));
        const struct column one = {.values = long_texts};
        assert_true(csv_encoder.chunk(plan, &w, wide ? &(struct chunk){ROWS, COLUMNS, columns} : &(struct chunk){ROWS, 1, &one}));
        struct block *list = block_writer_end(&w, ROWS);
        size_t length = 0;
        for (const struct block *b = list; b; b = b->next)
            length += b->length;
        assert_true(length > (wide ? (size_t)COLUMNS * ROWS * 2 - 1 : (size_t)ROWS * 50000));
        assert_in_range(list->held, length, length + length / 10 + BLOCK_SIZE);
        block_pool_give_back(pool, list);
        free(plan);
        block_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_quoted_as_by_the_engine),
        cmocka_unit_test(rows_become_lines),
        cmocka_unit_test(every_byte_at_every_place_is_seen),
        cmocka_unit_test(texts_of_any_length_are_whole),
        cmocka_unit_test(long_texts_go_on_in_the_next_block),
        cmocka_unit_test(blocks_are_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
