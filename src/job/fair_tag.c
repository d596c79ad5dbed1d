#include "job/fair_tag.h"

int64_t fair_tag(int64_t last_of_org, int64_t now)
{
    int64_t turn = last_of_org + 1;
    return turn > now ? turn : now;
}
