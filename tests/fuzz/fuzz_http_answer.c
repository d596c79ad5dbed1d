/* An HTTP answer, from whoever answers as an object store.
 *
 * Input: a byte, the length of the pieces; then the answer. Read in one piece and in many, it is the same. */
#include <assert.h>
#include <string.h>

#include "base/http_answer.h"
#include "fuzz.h"

#define BODY_MAX 4096

static void read_answer(struct http_answer *a, const char *text, size_t length, size_t step)
{
    http_answer_init(a, BODY_MAX);
    for (size_t at = 0; at < length; at += step)
        http_answer_feed(a, text + at, length - at < step ? length - at : step);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    static const char *const names[] = {"etag", "content-range", "content-length", "retry-after", "date"};
    if (length < 2)
        return 0;
    const char *text = (const char *)data + 1;
    struct http_answer whole, pieces;
    read_answer(&whole, text, length - 1, length - 1);
    read_answer(&pieces, text, length - 1, data[0] ? data[0] : 1);
    assert(whole.state == pieces.state && whole.status == pieces.status);
    assert(whole.body.len <= BODY_MAX);
    if (whole.state != HTTP_ANSWER_TOO_LONG) {
        assert(whole.body.len == pieces.body.len);
        assert(whole.body.len == 0 || memcmp(whole.body.data, pieces.body.data, whole.body.len) == 0);
    }
    if (whole.state == HTTP_ANSWER_WHOLE)
        assert(whole.status >= 200 && whole.status <= 999 && whole.last == pieces.last);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *one = http_answer_header(&whole, names[i]), *other = http_answer_header(&pieces, names[i]);
        assert(!one == !other && (!one || strcmp(one, other) == 0));
    }
    assert(http_answer_end(&whole) == http_answer_end(&pieces) && whole.state != HTTP_ANSWER_MORE);
    http_answer_release(&whole);
    http_answer_release(&pieces);
    return 0;
}
