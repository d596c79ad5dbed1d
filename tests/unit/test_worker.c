#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "worker/csv.h"
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
    expect_first(" /* a; /* b */ c */ SELECT 1 ;;\n", "SELECT 1", 1);
    expect_first("SELECT ';', \";\"; SELECT 2", "SELECT ';', \";\"", 2);
    expect_first("SELECT 'it''s;'", "SELECT 'it''s;'", 1);
    expect_first("SELECT $$a;b$$, $x$ ; $$ ; $x$;", "SELECT $$a;b$$, $x$ ; $$ ; $x$", 1);
    expect_first("SELECT e'\\';'", "SELECT e'\\';'", 1);
    assert_int_equal(sql_text_scan(" ; -- nothing", 13).statements, 0);
}

static void values_are_quoted_as_by_the_engine(void **state)
{
    (void)state;
    const char *const quoted[] = {"", "a,b", "\"", "line\nfeed", "carriage\r", "a long value with # in it"};
    const char *const bare[] = {"a", " ", "\t", "a;b", "back\\slash", "'", "a long value without anything", "NULL"};
    for (size_t i = 0; i < sizeof quoted / sizeof *quoted; i++)
        assert_true(csv_needs_quotes(quoted[i], strlen(quoted[i])));
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++)
        assert_false(csv_needs_quotes(bare[i], strlen(bare[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_statement_ends_where_the_engine_says),
        cmocka_unit_test(values_are_quoted_as_by_the_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
