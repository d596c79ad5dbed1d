/* The Range header of a request for a file (RFC 9110, section 14). Pure. */
#ifndef SERVER_BYTE_RANGE_H
#define SERVER_BYTE_RANGE_H

#include <stdint.h>

enum byte_range_answer {
    BYTE_RANGE_WHOLE, /* 200: no range, several, or one that is not well formed (a server may ignore those) */
    BYTE_RANGE_PART,  /* 206 */
    BYTE_RANGE_UNSATISFIABLE, /* 416 */
};

struct byte_range {
    uint64_t first, length; /* inside the file; `length` is not 0 where it is a part */
};

/* What of a file of `size` bytes is asked for. `header` is the header's value, NULL where there is none.
 * `ret` is set for WHOLE and PART. */
enum byte_range_answer byte_range_parse(const char *header, uint64_t size, struct byte_range *ret);

#endif
