/* The headers of a range request, from whoever has a link.
 *
 * Input: 8 bytes of the file's size, then the text of Range, which is also tried as If-None-Match. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "server/byte_range.h"
#include "server/file_headers.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    uint64_t size;
    if (length < sizeof size)
        return 0;
    memcpy(&size, data, sizeof size);
    _cleanup_free_ char *header = strndup((const char *)data + sizeof size, length - sizeof size);
    if (!header)
        return 0;
    struct byte_range range;
    switch (byte_range_parse(header, size, &range)) {
    case BYTE_RANGE_WHOLE:
        assert(range.first == 0 && range.length == size);
        break;
    case BYTE_RANGE_PART:
        assert(range.length > 0 && range.first < size && range.length <= size - range.first);
        break;
    case BYTE_RANGE_UNSATISFIABLE:
        break;
    }
    etag_is_listed(header, "\"10-20-30\"");
    return 0;
}
