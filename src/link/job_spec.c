#include "link/job_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Escaping can make every byte of the SQL six ("\u001f"). */
#define FILE_MAX (6 * JOB_SPEC_SQL_MAX + 64 * 1024)

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

int job_spec_seal(const struct job_spec *spec, struct error *e)
{
    json_error_t why;
    json_t *o = json_pack_ex(&why, 0, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:i}", /**/
                             "sql", spec->sql, "source_path", spec->source_path, "spill_dir", spec->spill_dir,
                             "format", spec->format, "memory_limit", (json_int_t)spec->memory_limit, "spill_limit",
                             (json_int_t)spec->spill_limit, "source_wait_ms", (json_int_t)spec->source_wait_ms,
                             "threads", (json_int_t)spec->threads, "uid", (json_int_t)spec->uid, "gid",
                             (json_int_t)spec->gid, "part_count", (json_int_t)spec->part_count, "part_size",
                             (json_int_t)spec->part_size, "hash_parts", (int)spec->hash_parts, "sandbox", (int)spec->sandbox);
    _cleanup_free_ char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text) {
        error_set(e, ERROR_INVALID, "the job cannot be described: %s", why.text);
        return -1;
    }
    _cleanup_close_ int fd = memfd_create("job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || !write_all(fd, text, strlen(text)) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a memory file");
        return -1;
    }
    return TAKE_FD(fd);
}

bool job_spec_read(int fd, struct job_spec *ret_spec, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > FILE_MAX)
        return error_set(e, ERROR_INTERNAL, "the job's specification has an impossible size");
    size_t size = (size_t)st.st_size;
    void *text = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (text == MAP_FAILED)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot map the job's specification");
    json_error_t why = {.text = ""};
    json_t *o = json_loadb(text, size, 0, &why);
    munmap(text, size);

    const char *sql, *source_path, *spill_dir, *format;
    json_int_t memory_limit, spill_limit, source_wait_ms, threads, uid, gid, part_count, part_size;
    int hash_parts, sandbox;
    if (!o || json_unpack_ex(o, &why, 0, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:i}", "sql",
                             &sql, "source_path", &source_path, "spill_dir", &spill_dir, "format", &format,
                             "memory_limit", &memory_limit, "spill_limit", &spill_limit, "source_wait_ms",
                             &source_wait_ms, "threads", &threads, "uid", &uid, "gid", &gid, "part_count",
                             &part_count, "part_size", &part_size, "hash_parts", &hash_parts, "sandbox", &sandbox) < 0) {
        json_decref(o);
        return error_set(e, ERROR_INTERNAL, "the job's specification cannot be read: %s", why.text);
    }
    struct job_spec spec = {
        .sql = strdup(sql),
        .source_path = strdup(source_path),
        .spill_dir = strdup(spill_dir),
        .format = strdup(format),
        .memory_limit = (uint64_t)memory_limit,
        .spill_limit = (uint64_t)spill_limit,
        .source_wait_ms = (uint64_t)source_wait_ms,
        .threads = (uint32_t)threads,
        .uid = (uint32_t)uid,
        .gid = (uint32_t)gid,
        .part_count = (uint32_t)part_count,
        .part_size = (uint64_t)part_size,
        .hash_parts = hash_parts,
        .sandbox = (enum sandbox_mode)sandbox,
    };
    json_decref(o);
    if (!spec.sql || !spec.source_path || !spec.spill_dir || !spec.format) {
        job_spec_release(&spec);
        return error_set(e, ERROR_MEMORY, "out of memory");
    }
    *ret_spec = spec;
    return true;
}

void job_spec_release(struct job_spec *spec)
{
    free(spec->sql);
    free(spec->source_path);
    free(spec->spill_dir);
    free(spec->format);
    *spec = (struct job_spec){0};
}
