/* What the worker sees in SQL text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "worker/sql_text.h"

static void expect_first(const char *sql, const char *first, size_t statements)
{
    struct sql_text t = sql_text_scan(sql, strlen(sql));
    assert_int_equal(t.statements, statements);
    assert_int_equal(t.end - t.begin, strlen(first));
    assert_memory_equal(sql + t.begin, first, strlen(first));
}

static void a_statement_ends_where_the_engine_says(void **state)
{
    (void)state;
    expect_first("SELECT 1", "SELECT 1", 1);
    expect_first("SELECT 1; -- done", "SELECT 1", 1);
    expect_first(";;SELECT 1", "SELECT 1", 1);
    expect_first(" /* a; /* b */ c */ SELECT 1 ;;\n", "SELECT 1", 1);
    expect_first("SELECT ';', \";\"; SELECT 2", "SELECT ';', \";\"", 2);
    expect_first("SELECT 'it''s;'", "SELECT 'it''s;'", 1);
    expect_first("SELECT $$a;b$$, $x$ ; $$ ; $x$;", "SELECT $$a;b$$, $x$ ; $$ ; $x$", 1);
    expect_first("SELECT e'\\';'", "SELECT e'\\';'", 1);
    expect_first("SELECT e'a'\n'\\';' ; x", "SELECT e'a'\n'\\';'", 2);
    expect_first("SELECT e'a' -- c\n 'b;\\''", "SELECT e'a' -- c\n 'b;\\''", 1);
    expect_first("SELECT a$b$;c$b$", "SELECT a$b$", 2); /* a dollar inside a name opens nothing */
    expect_first("SELECT $1;", "SELECT $1", 1);
    expect_first("SELECT 1 -- ; not the end\n, 2", "SELECT 1 -- ; not the end\n, 2", 1);
    expect_first("SELECT ename'x;'", "SELECT ename'x;'", 1);
    assert_int_equal(sql_text_scan(" ; -- nothing", 13).statements, 0);
    assert_int_equal(sql_text_scan("", 0).statements, 0);
}

static void text_that_does_not_end_ends_there(void **state)
{
    (void)state;
    const char *const open[] = {"SELECT '",     "SELECT \"a;", "SELECT $x$;", "SELECT e'\\",
                                "SELECT e'\\'", "SELECT $",    "SELECT e'"};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        expect_first(open[i], open[i], 1);
    expect_first("SELECT e'a'\n--", "SELECT e'a'", 1);
    assert_int_equal(sql_text_scan("/* /*", 5).statements, 0);
}

static void expect_other(const char *sql, const char *expected)
{
    struct sql_text t = sql_text_scan(sql, strlen(sql));
    const char *got = sql_text_other_statement(sql + t.begin, t.keyword_length);
    if (expected)
        assert_string_equal(got, expected);
    else
        assert_null(got);
}

static void what_yields_no_rows_is_named(void **state)
{
    (void)state;
    expect_other("insert into t values (1)", "an INSERT");
    expect_other("/* x */ Pragma database_list", "a PRAGMA");
    expect_other("SET x=1", "a SET");
    expect_other("SELECT 1", NULL);
    expect_other("settings", NULL);
    expect_other("(SELECT 1)", NULL);
}

static void expect_refused(const char *json, const char *name)
{
    const char *got = sql_text_refused_function(json, strlen(json), false);
    if (name)
        assert_string_equal(got, name);
    else
        assert_null(got);
}

static void functions_that_read_files_are_found(void **state)
{
    (void)state;
    expect_refused("{\"function_name\":\"sum\",\"x\":{\"function_name\":\"READ_TEXT\"}}", "read_text");
    expect_refused("{\"function_name\":\"enable_logging\"}", "enable_logging");
    expect_refused("{\"value\":\"\\\"function_name\\\":\\\"read_text\\\"\"}", NULL); /* inside a string */
    expect_refused("{\"function_name\":\"read_tex\"}", NULL);
    expect_refused("{\"function_name\":\"read_text", NULL); /* cut off */
    expect_refused("", NULL);
}

static void functions_that_show_a_token_are_found_where_there_is_one(void **state)
{
    (void)state;
    static const char json[] = "{\"function_name\":\"lower\",\"x\":{\"function_name\":\"Current_Setting\"}}";
    assert_null(sql_text_refused_function(json, strlen(json), false));
    assert_string_equal(sql_text_refused_function(json, strlen(json), true), "current_setting");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_statement_ends_where_the_engine_says),
        cmocka_unit_test(text_that_does_not_end_ends_there),
        cmocka_unit_test(what_yields_no_rows_is_named),
        cmocka_unit_test(functions_that_read_files_are_found),
        cmocka_unit_test(functions_that_show_a_token_are_found_where_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
