/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/naming.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256_pair.h"

struct naming {
    EVP_MD_CTX *sum;
};

bool sample_has(const struct sample *s, const struct chunk_id *id)
{
    uint32_t n;

    memcpy(&n, id->bytes + PREFIX_BYTES, sizeof n);
    return (n % 100 + 100 - s->from) % 100 < s->percent;
}

int naming_new(struct naming **out, struct error *e)
{
    struct naming *n = calloc(1, sizeof *n);

    if (n)
        n->sum = EVP_MD_CTX_new();
    if (!n || !n->sum) {
        naming_free(n);
        return error_out_of_memory(e);
    }
    *out = n;
    return OK;
}

void naming_free(struct naming *n)
{
    if (n)
        EVP_MD_CTX_free(n->sum);
    free(n);
}

static bool is_zero(const uint8_t *p, size_t bytes)
{
    return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

static int sum_up(struct naming *n, const void *content, uint32_t bytes, struct chunk_id *id,
                  struct error *e)
{
    if (EVP_DigestInit_ex(n->sum, EVP_sha256(), NULL) && EVP_DigestUpdate(n->sum, content, bytes) &&
        EVP_DigestFinal_ex(n->sum, id->bytes, NULL))
        return OK;
    return error_set(e, FAILED, "libcrypto has no SHA-256");
}

int naming_name(struct naming *n, const void *content, uint32_t bytes, struct chunk_id *id,
                struct error *e)
{
    *id = chunk_id_zero;
    return is_zero(content, bytes) ? OK : sum_up(n, content, bytes, id, e);
}

int naming_names(struct naming *n, const void *content, size_t bytes, uint32_t chunk_bytes,
                 struct chunk_id *ids, struct error *e)
{
    size_t count = bytes / chunk_bytes, rest = bytes % chunk_bytes;
    const uint8_t *chunk = content, *single = NULL; /* one that has no partner yet */
    struct chunk_id *single_id = NULL;

    for (; count--; chunk += chunk_bytes, ids++) {
        *ids = chunk_id_zero;
        if (is_zero(chunk, chunk_bytes))
            continue;
        if (!single) {
            single = chunk;
            single_id = ids;
            continue;
        }
        if (sha256_pair((struct sha256_part){single, single_id->bytes},
                        (struct sha256_part){chunk, ids->bytes}, chunk_bytes, e) < 0)
            return e->status;
        single = NULL;
    }
    if (single && sum_up(n, single, chunk_bytes, single_id, e) < 0)
        return e->status;
    return rest ? naming_name(n, chunk, (uint32_t)rest, ids, e) : OK;
}

int naming_check(struct naming *n, const struct chunk_id *id, const void *content, uint32_t bytes,
                 struct error *e)
{
    struct chunk_id found;

    if (naming_name(n, content, bytes, &found, e) < 0)
        return e->status;
    return memcmp(found.bytes, id->bytes, ID_BYTES) == 0
               ? OK
               : error_set(e, DAMAGED, "checksum mismatch");
}
