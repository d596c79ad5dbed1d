#include "job/sqlite_records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_INTERNAL, "out of memory");
}

bool sqlite_read_job(struct sqlite3_stmt *st, struct job *ret, struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    _cleanup_free_ char *id = NULL, *status = NULL, *error_code = NULL, *sha256 = NULL;
    if (!sqlite_row_text(st, 0, &id) || !sqlite_row_text(st, 1, &j.user_id) ||
        !sqlite_row_text(st, 2, &j.org_id) || !sqlite_row_text(st, 3, &j.dataset_id) ||
        !sqlite_row_text(st, 4, &j.sql) || !sqlite_row_text(st, 5, &j.format) ||
        !sqlite_row_text(st, 6, &status) || !sqlite_row_text(st, 11, &j.link) ||
        !sqlite_row_text(st, 12, &j.error_message) || !sqlite_row_text(st, 13, &error_code) ||
        !sqlite_row_text(st, 19, &sha256))
        return out_of_memory(e);
    if (!job_status_parse(status, &j.status))
        return error_set(e, ERROR_INTERNAL, "job store: a record of the unknown status %s", status);
    snprintf(j.id, sizeof j.id, "%s", id);
    j.created_at = sqlite_row_integer(st, 7);
    j.updated_at = sqlite_row_integer(st, 8);
    j.completed_at = sqlite_row_integer(st, 9);
    j.expires_at = sqlite_row_integer(st, 10);
    j.error_code = error_code ? job_error_code_parse(error_code) : ERROR_NONE;
    j.version = sqlite_row_integer(st, 14);
    j.attempt = (uint32_t)sqlite_row_integer(st, 15);
    j.rows = (uint64_t)sqlite_row_integer(st, 16);
    j.bytes = (uint64_t)sqlite_row_integer(st, 17);
    j.percent = sqlite_row_is_null(st, 18) ? -1 : sqlite_row_real(st, 18);
    snprintf(j.sha256, sizeof j.sha256, "%s", sha256 ? sha256 : "");
    j.sql_cut = sqlite_row_integer(st, 20);
    j.failures = (uint32_t)sqlite_row_integer(st, 21);
    j.rescues = (uint32_t)sqlite_row_integer(st, 22);
    _cleanup_free_ char *last_error_code = NULL;
    if (!sqlite_row_text(st, 23, &j.last_error) || !sqlite_row_text(st, 24, &last_error_code) ||
        !sqlite_row_text(st, 25, &j.form) || !sqlite_row_text(st, 26, &j.suffix) ||
        !sqlite_row_text(st, 27, &j.columns) || !sqlite_row_text(st, 28, &j.details))
        return out_of_memory(e);
    j.last_error_code = last_error_code ? job_error_code_parse(last_error_code) : ERROR_NONE;
    *ret = j;
    j = (struct job){0};
    return true;
}

/* Room for one more at the end of an array that doubles. */
static void *grow(void *items, size_t count, size_t size)
{
    bool full = count == 0 || (count >= 8 && (count & (count - 1)) == 0);
    return full ? reallocarray(items, count < 8 ? 8 : 2 * count, size) : items;
}

struct job *sqlite_list_place(struct job_list *l, struct error *e)
{
    struct job *jobs = grow(l->jobs, l->count, sizeof *jobs);
    if (!jobs) {
        out_of_memory(e);
        return NULL;
    }
    l->jobs = jobs;
    return &jobs[l->count];
}

bool sqlite_read_jobs(struct sqlite_db *db, struct sqlite3_stmt *st, struct job_list *ret, struct error *e)
{
    _cleanup_(job_list_release) struct job_list list = {0};
    for (;;) {
        bool row = false;
        if (!sqlite_db_next(db, st, &row, e))
            return false;
        if (!row)
            break;
        struct job *j = sqlite_list_place(&list, e);
        if (!j || !sqlite_read_job(st, j, e))
            return false;
        list.count++;
    }
    *ret = list;
    list = (struct job_list){0};
    return true;
}

static bool read_attempt(struct sqlite3_stmt *st, struct job_attempt_record *ret, struct error *e)
{
    _cleanup_free_ char *code = NULL;
    ret->attempt = (uint32_t)sqlite_row_integer(st, 0);
    ret->started_at = sqlite_row_integer(st, 3);
    ret->ended_at = sqlite_row_integer(st, 4);
    if (!sqlite_row_text(st, 1, &ret->outcome) || !sqlite_row_text(st, 2, &ret->owner) ||
        !sqlite_row_text(st, 5, &ret->error) || !sqlite_row_text(st, 6, &code))
        return out_of_memory(e);
    ret->error_code = code ? job_error_code_parse(code) : ERROR_NONE;
    return true;
}

bool sqlite_read_attempts(struct sqlite_db *db, struct sqlite3_stmt *st, struct job_attempt_list *ret, struct error *e)
{
    _cleanup_(job_attempt_list_release) struct job_attempt_list list = {0};
    for (;;) {
        bool row = false;
        if (!sqlite_db_next(db, st, &row, e))
            return false;
        if (!row)
            break;
        struct job_attempt_record *items = grow(list.items, list.count, sizeof *items);
        if (!items)
            return out_of_memory(e);
        list.items = items;
        items[list.count] = (struct job_attempt_record){0};
        if (!read_attempt(st, &items[list.count++], e)) /* counted first: its texts are released, too */
            return false;
    }
    *ret = list;
    list = (struct job_attempt_list){0};
    return true;
}

bool sqlite_read_leftovers(struct sqlite_db *db, struct sqlite3_stmt *st, struct job_leftover_list *ret,
                           struct error *e)
{
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    for (;;) {
        bool row = false;
        if (!sqlite_db_next(db, st, &row, e))
            return false;
        if (!row)
            break;
        struct job_leftover *items = grow(list.items, list.count, sizeof *items), item = {0};
        if (!items)
            return out_of_memory(e);
        list.items = items;
        _cleanup_free_ char *id = NULL;
        if (!sqlite_row_text(st, 0, &id) || !sqlite_row_text(st, 2, &item.object_key) ||
            !sqlite_row_text(st, 3, &item.upload_id)) {
            free(item.object_key);
            return out_of_memory(e);
        }
        snprintf(item.id, sizeof item.id, "%s", id);
        item.attempt = (uint32_t)sqlite_row_integer(st, 1);
        item.again = sqlite_row_integer(st, 4);
        items[list.count++] = item;
    }
    *ret = list;
    list = (struct job_leftover_list){0};
    return true;
}
