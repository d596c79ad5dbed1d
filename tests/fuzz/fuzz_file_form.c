/* What a request wants its file to be like: the JSON of clients, and, the same reader, that of records. */
#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "base/utf8.h"
#include "format/file_form.h"
#include "fuzz.h"

/* What was read is written, and read to the same again. */
static void there_and_back(const struct file_form *form)
{
    struct error e;
    struct file_form again;
    json_t *json = file_form_json(form);
    assert(json);
    assert(file_form_read(json, &again, &e));
    char *text = json_dumps(json, JSON_COMPACT);
    assert(text && strlen(text) < FILE_FORM_MAX);
    json_t *second = file_form_json(&again);
    assert(json_equal(json, second));
    json_decref(second);
    free(text);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    json_t *request = json_loadb((const char *)data, length, 0, NULL);
    struct file_form form;
    struct error e;
    if (!file_form_read(request, &form, &e)) {
        assert(e.code == ERROR_INVALID && utf8_valid(e.message, strlen(e.message)));
    } else {
        char suffix[FILE_SUFFIX_MAX];
        file_form_suffix(&form, suffix);
        assert(strcmp(file_media_type(suffix), "application/octet-stream") != 0);
        there_and_back(&form);
        file_form_limit(&form, 1, 1);
        assert(form.row_limit == 1 && form.byte_limit == 1);
    }
    json_decref(request);
    return 0;
}
