/* Statements from clients, and the engine's JSON about them. */
#include <assert.h>
#include <string.h>

#include "worker/sql_text.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    const char *text = (const char *)data;
    struct sql_text found = sql_text_scan(text, length);
    assert(found.begin <= found.end && found.end <= length);
    assert(found.keyword_length <= found.end - found.begin);
    assert(found.statements > 0 || found.begin == found.end);
    /* What was found is one statement, and found again. */
    struct sql_text again = sql_text_scan(text + found.begin, found.end - found.begin);
    assert(again.statements == (found.statements > 0) && again.begin == 0 && again.end == found.end - found.begin);
    sql_text_other_statement(text + found.begin, found.keyword_length);
    const char *refused = sql_text_refused_function(text, length, length % 2);
    assert(!refused || strlen(refused) > 0);
    return 0;
}
