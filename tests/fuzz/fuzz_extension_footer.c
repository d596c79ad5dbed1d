/* The end of a file that says that it is an extension of the engine. */
#include <assert.h>
#include <string.h>

#include "worker/extension.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct extension_footer footer;
    if (length < EXTENSION_FOOTER || !extension_parse_footer(data + length - EXTENSION_FOOTER, &footer))
        return 0;
    const char *const texts[] = {footer.engine_version, footer.platform, footer.extension_version};
    for (size_t i = 0; i < 3; i++) {
        assert(strlen(texts[i]) <= 32);
        for (const char *p = texts[i]; *p; p++)
            assert(*p >= ' ' && *p <= '~');
    }
    return 0;
}
