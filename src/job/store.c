#include "job/store.h"

#include <stdlib.h>

void job_list_release(struct job_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        job_release(&l->jobs[i]);
    free(l->jobs);
    *l = (struct job_list){0};
}

void job_leftover_list_release(struct job_leftover_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].object_key);
        free(l->items[i].upload_id);
    }
    free(l->items);
    *l = (struct job_leftover_list){0};
}

void job_poll_result_release(struct job_poll_result *r)
{
    job_list_release(&r->changed);
    free(r->gone.ids);
    free(r->owned.ids);
    free(r->owned_attempts);
    *r = (struct job_poll_result){0};
}
