#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/json_values.h"

static void commas_between_values_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t commas;
    } cases[] = {
        {"", 0},
        {"[1]", 0},
        {"[1,2,3]", 2},
        {"{\"a\":1,\"b\":[2,{\"c\":3,\"d\":4}]}", 3},
        {"[\"a,b,,,\",\"c\"]", 1},
        {"[\"a\\\",,\",1]", 1},     /* the quote is the text's */
        {"[\"a\\\\\",1,\",,\",2]", 3}, /* the backslash is, and the quote ends it */
        {"[\"\\u002c\",1]", 1},
        {"[\"a\\", 0}, /* its end */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length = strlen(cases[i].json), commas = cases[i].commas;
        assert_false(json_has_more_commas(cases[i].json, length, commas));
        if (commas > 0)
            assert_true(json_has_more_commas(cases[i].json, length, commas - 1));
    }
}

static void the_length_is_the_end(void **state)
{
    (void)state;
    assert_false(json_has_more_commas("1,2,3", 3, 1));
    assert_true(json_has_more_commas("1,2,3", 4, 1));
    assert_true(json_has_more_commas("\0,", 2, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_between_values_are_counted),
        cmocka_unit_test(the_length_is_the_end),
    };
    return cmocka_run_group_tests_name("json_values", tests, NULL, NULL);
}
