#include "base/json_values.h"

bool json_has_more_commas(const char *json, size_t length, size_t most)
{
    size_t commas = 0;
    bool quoted = false;
    for (size_t i = 0; i < length && commas <= most; i++) {
        if (json[i] == '"')
            quoted = !quoted;
        else if (quoted)
            i += json[i] == '\\';
        else
            commas += json[i] == ',';
    }
    return commas > most;
}
