/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>

/* EVP's functions fail only when they are misused or, in the first, when memory is short. */
int sha256_new(struct sha256 **s, struct error *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(ctx);
        return error_set(e, FAILED, "OpenSSL gives no SHA-256");
    }
    *s = (struct sha256 *)ctx;
    return OK;
}

void sha256_update(struct sha256 *s, const void *data, size_t len)
{
    EVP_DigestUpdate((EVP_MD_CTX *)s, data, len);
}

void sha256_final(struct sha256 *s, char hex[SHA256_HEX])
{
    unsigned char sum[32];

    EVP_DigestFinal_ex((EVP_MD_CTX *)s, sum, NULL);
    for (size_t i = 0; i < sizeof sum; i++)
        sprintf(hex + 2 * i, "%02x", sum[i]);
}

void sha256_free(struct sha256 *s)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)s);
}
