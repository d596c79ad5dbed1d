#include "link/worker_spec.h"

#include <stdlib.h>
#include <string.h>

#include "link/sealed_json.h"

#define FILE_MAX (1024 * 1024)

static const char *text(const char *s)
{
    return s ? s : "";
}

int worker_spec_seal(const struct worker_spec *s, struct error *e)
{
    json_error_t why = {.text = ""};
    json_t *o = json_pack_ex(
        &why, 0, "{s:i, s:s, s:I, s:s, s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:b}", /**/
        "source", (int)s->source, "source_path", text(s->source_path), "source_wait_ms", (json_int_t)s->source_wait_ms,
        "database", text(s->database), "token", text(s->token), "extension_dir", text(s->extension_dir),
        "unsigned_extensions", (int)s->unsigned_extensions, "spill_dir", text(s->spill_dir), "memory_limit",
        (json_int_t)s->memory_limit, "spill_limit", (json_int_t)s->spill_limit, "threads", (json_int_t)s->threads, "uid",
        (json_int_t)s->uid, "gid", (json_int_t)s->gid, "sandbox", (int)s->sandbox, "is_template", (int)s->is_template);
    return sealed_json_write("worker", o, &why, e);
}

bool worker_spec_read(int fd, struct worker_spec *ret_spec, struct error *e)
{
    json_t *o = sealed_json_read(fd, FILE_MAX, e);
    if (!o)
        return false;
    json_error_t why = {.text = ""};
    const char *source_path, *database, *token, *extension_dir, *spill_dir;
    json_int_t source_wait_ms, memory_limit, spill_limit, threads, uid, gid;
    int source, unsigned_extensions, sandbox, is_template;
    if (json_unpack_ex(o, &why, 0, "{s:i, s:s, s:I, s:s, s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:b}", /**/
                       "source", &source, "source_path", &source_path, "source_wait_ms", &source_wait_ms, "database",
                       &database, "token", &token, "extension_dir", &extension_dir, "unsigned_extensions",
                       &unsigned_extensions, "spill_dir", &spill_dir, "memory_limit", &memory_limit, "spill_limit",
                       &spill_limit, "threads", &threads, "uid", &uid, "gid", &gid, "sandbox", &sandbox, "is_template", &is_template) < 0) {
        json_decref(o);
        return error_set(e, ERROR_INTERNAL, "the worker's specification cannot be read: %s", why.text);
    }
    struct worker_spec spec = {
        .source = (enum source_kind)source,
        .source_path = strdup(source_path),
        .source_wait_ms = (uint64_t)source_wait_ms,
        .database = strdup(database),
        .token = strdup(token),
        .extension_dir = strdup(extension_dir),
        .unsigned_extensions = unsigned_extensions,
        .spill_dir = strdup(spill_dir),
        .memory_limit = (uint64_t)memory_limit,
        .spill_limit = (uint64_t)spill_limit,
        .threads = (uint32_t)threads,
        .uid = (uint32_t)uid,
        .gid = (uint32_t)gid,
        .sandbox = (enum sandbox_mode)sandbox,
        .is_template = is_template,
    };
    json_decref(o);
    if (!spec.source_path || !spec.database || !spec.token || !spec.extension_dir || !spec.spill_dir) {
        worker_spec_release(&spec);
        return error_set(e, ERROR_MEMORY, "out of memory");
    }
    *ret_spec = spec;
    return true;
}

void worker_spec_release(struct worker_spec *spec)
{
    if (spec->token)
        explicit_bzero(spec->token, strlen(spec->token));
    char *const texts[] = {spec->source_path, spec->database, spec->token, spec->extension_dir, spec->spill_dir};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    *spec = (struct worker_spec){0};
}
