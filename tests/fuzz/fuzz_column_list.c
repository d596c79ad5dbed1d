/* What a worker that other people's SQL may have taken over calls its columns. */
#include <assert.h>
#include <string.h>

#include "server/column_list.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct error e = {0};
    _cleanup_free_ char *columns = NULL;
    bool truncated = false;
    if (!column_list_read((const char *)data, length, &columns, &truncated, &e)) {
        assert(e.code == ERROR_WORKER && !columns);
        return 0;
    }
    /* One line; a NUL only as an escape that was one before. */
    assert(columns[0] == '[' && columns[strlen(columns) - 1] == ']' && !strchr(columns, '\n'));
    assert(!strstr(columns, "\\u0000") || memmem(data, length, "\\u0000", 6));
    return 0;
}
