/* Values of columns of the type JSON, whatever a database holds. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "worker/json_value.h"
#include "fuzz.h"

/* false: refused. */
static bool write_value(struct block_pool *pool, const char *data, size_t length, bool as_text, struct buf *out)
{
    struct block_writer w;
    if (!block_writer_begin(&w, pool, 0))
        abort();
    uint8_t *at = json_put_value(&w, w.at, data, length, as_text);
    if (!at) {
        assert(w.refused);
        block_writer_discard(&w);
        return false;
    }
    w.at = at;
    struct block *list = block_writer_end(&w, 1);
    for (const struct block *b = list; b; b = b->next)
        buf_append(out, b->data, b->length);
    block_pool_give_back(pool, list);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct block_pool *pool = block_pool_new();
    struct buf once, twice;
    bool as_text = length % 2;
    buf_init(&once, 64 << 20);
    buf_init(&twice, 64 << 20);
    if (write_value(pool, (const char *)data, length, as_text, &once)) {
        /* It is in one line, and what is written once stays as it is. */
        assert(buf_ok(&once) && once.len > 0);
        for (size_t i = 0; i < once.len; i++)
            assert((unsigned char)once.data[i] >= 0x20);
        assert(write_value(pool, once.data, once.len, !as_text, &twice));
        assert(twice.len == once.len && memcmp(once.data, twice.data, once.len) == 0);
    }
    buf_release(&once);
    buf_release(&twice);
    block_pool_free(pool);
    return 0;
}
