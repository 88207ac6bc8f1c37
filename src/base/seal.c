/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/seal.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"

#define SUM_BYTES 32
#define SUM_HEX   (2 * SUM_BYTES + 1)

static int sum_of_rest(const json_t *object, char hex[SUM_HEX], struct error *e)
{
    AUTO_JSON json_t *rest = json_copy((json_t *)object);
    AUTO_FREE char *text = NULL;
    uint8_t sum[SUM_BYTES];

    json_object_del(rest, "sha256");
    text = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return error_set(e, NO_SPACE, "out of memory");
    if (!EVP_Digest(text, strlen(text), sum, NULL, EVP_sha256(), NULL))
        return error_set(e, FAILED, "libcrypto has no SHA-256");
    hex_put(hex, sum, sizeof sum);
    return OK;
}

int seal_add(json_t *object, struct error *e)
{
    char hex[SUM_HEX];

    if (sum_of_rest(object, hex, e) < 0)
        return e->status;
    if (json_object_set_new(object, "sha256", json_string(hex)) < 0)
        return error_set(e, NO_SPACE, "out of memory");
    return OK;
}

int seal_write(int dirfd, const char *name, json_t *object, struct error *e)
{
    return seal_add(object, e) < 0 ? e->status : json_write_durable(dirfd, name, object, e);
}

int seal_check(json_t *object, struct error *e)
{
    const char *seal = json_string_value(json_object_get(object, "sha256"));
    char hex[SUM_HEX];

    if (!seal)
        return error_set(e, DAMAGED, "it has no checksum of itself");
    if (sum_of_rest(object, hex, e) < 0)
        return e->status;
    return strcmp(hex, seal) == 0 ? OK
                                  : error_set(e, DAMAGED, "its content is not what was written");
}
