/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/seal.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/sha256.h"

static int sum_of_rest(const json_t *object, char hex[SHA256_HEX], struct error *e)
{
    AUTO_JSON json_t *rest = json_copy((json_t *)object);
    AUTO_FREE char *text = NULL;
    struct sha256 *sum;

    json_object_del(rest, "sha256");
    text = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return error_set(e, NO_SPACE, "out of memory");
    if (sha256_new(&sum, e) < 0)
        return e->status;
    sha256_update(sum, text, strlen(text));
    sha256_final(sum, hex);
    sha256_free(sum);
    return OK;
}

int seal_add(json_t *object, struct error *e)
{
    char hex[SHA256_HEX];

    if (sum_of_rest(object, hex, e) < 0)
        return e->status;
    if (json_object_set_new(object, "sha256", json_string(hex)) < 0)
        return error_set(e, NO_SPACE, "out of memory");
    return OK;
}

int seal_check(json_t *object, struct error *e)
{
    const char *seal = json_string_value(json_object_get(object, "sha256"));
    char hex[SHA256_HEX];

    if (!seal)
        return error_set(e, DAMAGED, "it has no checksum of itself");
    if (sum_of_rest(object, hex, e) < 0)
        return e->status;
    return strcmp(hex, seal) == 0 ? OK
                                  : error_set(e, DAMAGED, "its content is not what was written");
}
