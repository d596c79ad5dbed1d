/* Datagrams of a worker that other people's SQL may have taken over, and the specification that the server gives it. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "link/job_spec.h"
#include "link/message.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct link_message message;
    struct error e;
    if (link_decode(data, length, &message, &e)) {
        assert(message.type >= LINK_START && message.type <= LINK_FAILED);
        assert(strlen(message.text) <= message.text_length && message.text_length < sizeof message.text);
        assert(message.type != LINK_FAILED || (message.code > ERROR_NONE && message.code < ERROR_CODE_COUNT));
    }
    _cleanup_close_ int fd = memfd_create("input", MFD_CLOEXEC);
    struct job_spec spec;
    if (fd >= 0 && write(fd, data, length) == (ssize_t)length && job_spec_read(fd, &spec, &e)) {
        assert(spec.sql && spec.source_path && spec.spill_dir && spec.format);
        job_spec_release(&spec);
    }
    return 0;
}
