#include "link/job_spec.h"

#include <stdlib.h>
#include <string.h>

#include "link/sealed_json.h"

/* Escaping can make every byte of the SQL six ("\u001f"). */
#define FILE_MAX (6 * JOB_SPEC_SQL_MAX + 64 * 1024)

int job_spec_seal(const struct job_spec *spec, struct error *e)
{
    json_error_t why = {.text = ""};
    json_t *o = json_pack_ex(&why, 0, "{s:s, s:o, s:I, s:I, s:b}", /**/
                             "sql", spec->sql, "form", file_form_json(&spec->form), "part_count", (json_int_t)spec->part_count,
                             "part_size", (json_int_t)spec->part_size, "hash_parts", (int)spec->hash_parts);
    return sealed_json_write("job", o, &why, e);
}

bool job_spec_read(int fd, struct job_spec *ret_spec, struct error *e)
{
    json_t *o = sealed_json_read(fd, FILE_MAX, e);
    if (!o)
        return false;
    json_error_t why = {.text = ""};
    const char *sql;
    json_t *form;
    struct error form_error;
    struct job_spec spec = {0};
    json_int_t part_count, part_size;
    int hash_parts;
    if (json_unpack_ex(o, &why, 0, "{s:s, s:o, s:I, s:I, s:b}", "sql", &sql, "form", &form, "part_count", &part_count,
                       "part_size", &part_size, "hash_parts", &hash_parts) < 0) {
        json_decref(o);
        return error_set(e, ERROR_INTERNAL, "the job's specification cannot be read: %s", why.text);
    }
    if (!file_form_read(form, &spec.form, &form_error)) {
        json_decref(o);
        return error_set(e, ERROR_INTERNAL, "the job's specification cannot be read: %s", form_error.message);
    }
    spec.sql = strdup(sql);
    spec.part_count = (uint32_t)part_count;
    spec.part_size = (uint64_t)part_size;
    spec.hash_parts = hash_parts;
    json_decref(o);
    if (!spec.sql) {
        job_spec_release(&spec);
        return error_set(e, ERROR_MEMORY, "out of memory");
    }
    *ret_spec = spec;
    return true;
}

void job_spec_release(struct job_spec *spec)
{
    free(spec->sql);
    *spec = (struct job_spec){0};
}
