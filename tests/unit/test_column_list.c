#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "server/column_list.h"

static void lists_are_written_anew(void **state)
{
    (void)state;
    static const struct {
        const char *told, *list;
        bool truncated;
    } cases[] = {
        {"{\"columns\":[{\"name\":\"a\",\"type\":\"INTEGER\"}]}", "[{\"name\":\"a\",\"type\":\"INTEGER\"}]", false},
        {" {\"columns\" : [ {\"type\":\"X\", \"name\":\"\"} ],\n \"columns_truncated\": true}\n",
         "[{\"type\":\"X\",\"name\":\"\"}]", true},
        /* The first name alone was too long. */
        {"{\"columns\":[],\"columns_truncated\":true}", "[]", true},
        /* As DuckDB has them: the same name twice, quotes, line ends, any script. */
        {"{\"columns\":[{\"name\":\"x\",\"type\":\"T\"},{\"name\":\"x\",\"type\":\"STRUCT(\\\"a b\\\" INTEGER)\"}]}",
         "[{\"name\":\"x\",\"type\":\"T\"},{\"name\":\"x\",\"type\":\"STRUCT(\\\"a b\\\" INTEGER)\"}]", false},
        {"{\"columns\":[{\"name\":\"\\u00e4\\n\\ud83d\\ude00\",\"type\":\"T\"}]}",
         "[{\"name\":\"\xC3\xA4\\n\xF0\x9F\x98\x80\",\"type\":\"T\"}]", false},
        /* No store's text can have a NUL. */
        {"{\"columns\":[{\"name\":\"a\\u0000b\",\"type\":\"T\"}]}", "[{\"name\":\"a\\u0000b\",\"type\":\"T\"}]", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error e;
        _cleanup_free_ char *columns = NULL;
        bool truncated = !cases[i].truncated;
        assert_true(column_list_read(cases[i].told, strlen(cases[i].told), &columns, &truncated, &e));
        assert_string_equal(columns, cases[i].list);
        assert_int_equal(truncated, cases[i].truncated);
    }
}

static void assert_refused(const char *json, size_t length)
{
    struct error e = {0};
    char *columns = NULL;
    bool truncated = false;
    if (column_list_read(json, length, &columns, &truncated, &e))
        fail_msg("%s", json);
    assert_int_equal(e.code, ERROR_WORKER);
    assert_null(columns);
}

static void what_is_no_such_list_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "", "null", "[]", "{}", "x", "{\"columns\":[]}", "{\"columns\":{}}", "{\"columns\":null}",
        "{\"columns\":[1]}", "{\"columns\":[{}]}", "{\"columns\":[{\"name\":\"a\"}]}",
        "{\"columns\":[{\"name\":\"a\",\"type\":1}]}", "{\"columns\":[{\"name\":null,\"type\":\"T\"}]}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"T\",\"more\":1}]}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"T\"}],\"columns_truncated\":false}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"T\"}],\"columns_truncated\":1}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"T\"}],\"rows\":1}",
        "{\"columns\":[{\"name\":\"a\",\"name\":\"b\",\"type\":\"T\"}]}",
        "{\"columns\":[{\"name\":\"a\",\"type\":\"T\"}]", "{\"columns\":[{\"name\":\"a\",\"type\":\"T\"}]}}",
        "{\"columns\":[{\"name\":\"\xff\",\"type\":\"T\"}]}", "{\"columns\":[{\"name\":\"\\ud800\",\"type\":\"T\"}]}",
        "{\"columns\":[{\"name\":\"a\nb\",\"type\":\"T\"}]}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_refused(cases[i], strlen(cases[i]));
    static const char with_nul[] = "{\"columns\":[{\"name\":\"a\",\"type\":\"T\"}]}\0";
    assert_refused(with_nul, sizeof with_nul - 1);
}

/* Quoted commas do not count, whatever the escapes. */
static void list_of(size_t count, struct buf *out)
{
    buf_init(out, (size_t)8 << 20);
    buf_append_text(out, "{\"columns\":[");
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s{\"name\":\"%s\",\"type\":\"T\"}", i ? "," : "", i == 0 ? "a\\\",,,,\\\\" : "b");
    buf_append_text(out, "]}");
}

static void long_lists_have_a_ceiling(void **state)
{
    (void)state;
    struct error e;
    _cleanup_buf_ struct buf most, more;
    _cleanup_free_ char *columns = NULL;
    bool truncated;
    list_of(COLUMN_LIST_MAX, &most);
    assert_true(column_list_read(most.data, most.len, &columns, &truncated, &e));
    assert_int_equal(strlen(columns), most.len - strlen("{\"columns\":}"));
    list_of(COLUMN_LIST_MAX + 2, &more);
    assert_refused(more.data, more.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_written_anew),
        cmocka_unit_test(what_is_no_such_list_is_refused),
        cmocka_unit_test(long_lists_have_a_ceiling),
    };
    return cmocka_run_group_tests_name("column_list", tests, NULL, NULL);
}
