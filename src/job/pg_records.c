#include "job/pg_records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOB_ATTEMPT 15 /* among the columns of a job */

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_INTERNAL, "out of memory");
}

bool pg_read_job(struct pg_row *r, int at, struct job *ret, struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    pg_row_uuid(r, at, j.id);
    j.user_id = pg_row_text(r, at + 1);
    j.org_id = pg_row_text(r, at + 2);
    j.dataset_id = pg_row_text(r, at + 3);
    j.sql = pg_row_text(r, at + 4);
    j.format = pg_row_text(r, at + 5);
    _cleanup_free_ char *status = pg_row_text(r, at + 6);
    j.created_at = pg_row_time(r, at + 7);
    j.updated_at = pg_row_time(r, at + 8);
    j.completed_at = pg_row_time(r, at + 9);
    j.expires_at = pg_row_time(r, at + 10);
    j.link = pg_row_text(r, at + 11);
    j.error_message = pg_row_text(r, at + 12);
    _cleanup_free_ char *error_code = pg_row_text(r, at + 13);
    j.error_code = error_code ? job_error_code_parse(error_code) : ERROR_NONE;
    j.version = pg_row_integer(r, at + 14);
    j.attempt = (uint32_t)pg_row_integer(r, at + JOB_ATTEMPT);
    j.rows = (uint64_t)pg_row_integer(r, at + 16);
    j.bytes = (uint64_t)pg_row_integer(r, at + 17);
    j.percent = pg_row_is_null(r, at + 18) ? -1 : pg_row_real(r, at + 18);
    _cleanup_free_ char *sha256 = pg_row_text(r, at + 19);
    snprintf(j.sha256, sizeof j.sha256, "%s", sha256 ? sha256 : "");
    j.sql_cut = pg_row_bool(r, at + 20);
    j.failures = (uint32_t)pg_row_integer(r, at + 21);
    j.rescues = (uint32_t)pg_row_integer(r, at + 22);
    j.last_error = pg_row_text(r, at + 23);
    _cleanup_free_ char *last_error_code = pg_row_text(r, at + 24);
    j.last_error_code = last_error_code ? job_error_code_parse(last_error_code) : ERROR_NONE;
    j.form = pg_row_text(r, at + 25);
    j.suffix = pg_row_text(r, at + 26);
    j.columns = pg_row_text(r, at + 27);
    j.details = pg_row_text(r, at + 28);
    if (!pg_row_ok(r, e))
        return false;
    if (!j.user_id || !j.org_id || !j.dataset_id || !j.sql || !j.format || !status)
        return error_set(e, ERROR_INTERNAL, "job store: a record lacks a value");
    if (!job_status_parse(status, &j.status))
        return error_set(e, ERROR_INTERNAL, "job store: a record of the unknown status %s", status);
    *ret = j;
    j = (struct job){0};
    return true;
}

bool pg_read_jobs(const struct pg_rows *rows, struct job_list *ret, struct error *e)
{
    _cleanup_(job_list_release) struct job_list list = {0};
    size_t count = pg_rows_count(rows);
    if (count > 0 && !(list.jobs = calloc(count, sizeof *list.jobs)))
        return out_of_memory(e);
    for (; list.count < count; list.count++) {
        struct pg_row r = {.rows = rows, .row = (int)list.count};
        if (!pg_read_job(&r, 0, &list.jobs[list.count], e))
            return false;
    }
    *ret = list;
    list = (struct job_list){0};
    return true;
}

static bool read_attempt(struct pg_row *r, struct job_attempt_record *ret, struct error *e)
{
    ret->attempt = (uint32_t)pg_row_integer(r, 0);
    ret->outcome = pg_row_text(r, 1);
    ret->owner = pg_row_text(r, 2);
    ret->started_at = pg_row_time(r, 3);
    ret->ended_at = pg_row_time(r, 4);
    ret->error = pg_row_text(r, 5);
    _cleanup_free_ char *code = pg_row_text(r, 6);
    ret->error_code = code ? job_error_code_parse(code) : ERROR_NONE;
    return pg_row_ok(r, e);
}

bool pg_read_attempts(const struct pg_rows *rows, struct job_attempt_list *ret, struct error *e)
{
    _cleanup_(job_attempt_list_release) struct job_attempt_list list = {0};
    size_t count = pg_rows_count(rows);
    if (count > 0 && !(list.items = calloc(count, sizeof *list.items)))
        return out_of_memory(e);
    while (list.count < count) {
        struct pg_row r = {.rows = rows, .row = (int)list.count};
        if (!read_attempt(&r, &list.items[list.count++], e)) /* counted first: its texts are released, too */
            return false;
    }
    *ret = list;
    list = (struct job_attempt_list){0};
    return true;
}

bool pg_read_leftovers(const struct pg_rows *rows, struct job_leftover_list *ret, struct error *e)
{
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    size_t count = pg_rows_count(rows);
    if (count > 0 && !(list.items = calloc(count, sizeof *list.items)))
        return out_of_memory(e);
    for (; list.count < count; list.count++) {
        struct pg_row r = {.rows = rows, .row = (int)list.count};
        struct job_leftover *item = &list.items[list.count];
        pg_row_uuid(&r, 0, item->id);
        item->attempt = (uint32_t)pg_row_integer(&r, 1);
        item->object_key = pg_row_text(&r, 2);
        item->upload_id = pg_row_text(&r, 3);
        item->again = pg_row_bool(&r, 4);
        if (!pg_row_ok(&r, e)) {
            list.count++; /* its texts are released, too */
            return false;
        }
    }
    *ret = list;
    list = (struct job_leftover_list){0};
    return true;
}

#define POLL_JOB 2 /* where in a row of POLL the columns of a job begin */

bool pg_read_poll(const struct pg_rows *rows, struct job_poll_result *ret, struct error *e)
{
    _cleanup_(job_poll_result_release) struct job_poll_result result = {0};
    size_t count = pg_rows_count(rows);
    /* Each kind may be all of them. */
    if (count > 0 && (!(result.changed.jobs = calloc(count, sizeof *result.changed.jobs)) ||
                      !(result.gone.ids = calloc(count, UUID_SIZE)) ||
                      !(result.owned.ids = calloc(count, UUID_SIZE)) ||
                      !(result.owned_attempts = calloc(count, sizeof *result.owned_attempts))))
        return out_of_memory(e);
    for (size_t i = 0; i < count; i++) {
        struct pg_row r = {.rows = rows, .row = (int)i};
        _cleanup_free_ char *kind = pg_row_text(&r, 0);
        if (kind && strcmp(kind, "changed") == 0) {
            if (!pg_read_job(&r, POLL_JOB, &result.changed.jobs[result.changed.count], e))
                return false;
            result.changed.count++;
        } else if (kind && strcmp(kind, "gone") == 0) {
            pg_row_uuid(&r, 1, result.gone.ids[result.gone.count++]);
        } else if (kind && strcmp(kind, "owned") == 0) {
            result.owned_attempts[result.owned.count] = (uint32_t)pg_row_integer(&r, POLL_JOB + JOB_ATTEMPT);
            pg_row_uuid(&r, 1, result.owned.ids[result.owned.count++]);
        } else {
            result.claimable = true;
        }
        if (!pg_row_ok(&r, e))
            return false;
    }
    *ret = result;
    result = (struct job_poll_result){0};
    return true;
}
