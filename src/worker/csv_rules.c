#include "worker/csv.h"

#include <string.h>

#include "worker/csv_text.h"

bool csv_needs_quotes(const struct file_form *form, const char *data, size_t length)
{
    if (form->quote_all || (strlen(form->null_text) == length && memcmp(form->null_text, data, length) == 0))
        return true;
    const bytes16 delimiter = spread(form->delimiter);
    uint64_t word = 0;
    while (length >= 8) {
        if (special_bytes(load64(data), delimiter))
            return true;
        data += 8;
        length -= 8;
    }
    memcpy(&word, data, length);
    return special_bytes(word, delimiter) != 0;
}

static size_t begins_with(const char *data, size_t length, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(words[i]);
        if (n <= length && memcmp(words[i], data, n) == 0)
            return n;
    }
    return 0;
}

bool csv_is_formula(const char *data, size_t length)
{
    static const char *const blanks[] = {" ", "\v", "\f", "\u00a0", "\u3000", "\ufeff"};
    static const char *const signs[] = {"=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"};
    if (length == 0 || (*data > '@' && *data <= '~') || (*data >= '.' && *data <= '9')) /* most texts end here */
        return false;
    for (size_t n; (n = begins_with(data, length, blanks, ARRAY_SIZE(blanks))) > 0;) {
        data += n;
        length -= n;
    }
    return length > 0 && (*data == '\0' || begins_with(data, length, signs, ARRAY_SIZE(signs)) > 0);
}
