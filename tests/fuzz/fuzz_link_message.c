/* Datagrams of a worker that other people's SQL may have taken over, and the specifications that the server gives it. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "link/job_spec.h"
#include "link/message.h"
#include "link/worker_spec.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct link_message message;
    struct error e;
    if (link_decode(data, length, &message, &e)) {
        assert(message.type >= LINK_OPEN && message.type <= LINK_FAILED);
        assert(strlen(message.text) <= message.text_length && message.text_length < sizeof message.text);
        assert(message.type != LINK_FAILED || (message.code > ERROR_NONE && message.code < ERROR_CODE_COUNT));
    }
    _cleanup_close_ int fd = memfd_create("input", MFD_CLOEXEC);
    struct job_spec spec;
    if (fd >= 0 && write(fd, data, length) == (ssize_t)length && job_spec_read(fd, &spec, &e)) {
        assert(spec.sql);
        job_spec_release(&spec);
    }
    struct worker_spec worker;
    if (fd >= 0 && worker_spec_read(fd, &worker, &e)) {
        assert(worker.source_path && worker.database && worker.token && worker.extension_dir && worker.spill_dir);
        worker_spec_release(&worker);
    }
    return 0;
}
