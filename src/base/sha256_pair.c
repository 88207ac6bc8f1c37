/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/sha256_pair.h"

#include <openssl/evp.h>

int sha256_pair_plain(struct sha256_part a, struct sha256_part b, size_t bytes, struct error *e)
{
    if (EVP_Digest(a.data, bytes, a.sum, NULL, EVP_sha256(), NULL) &&
        EVP_Digest(b.data, bytes, b.sum, NULL, EVP_sha256(), NULL))
        return OK;
    return error_set(e, FAILED, "libcrypto has no SHA-256");
}

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* For these functions only, and no more than that: with AVX beside them, as by -march=native, the
 * SHA instructions were measured 160 times slower. */
#define WITH_SHA __attribute__((target("sha,sse4.1")))
#define INLINE   static inline __attribute__((always_inline)) WITH_SHA

#define BLOCK_BYTES 64
#define ROUNDS      64

/* FIPS 180-4, section 4.2.2. */
static const uint32_t k[ROUNDS] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* One sum under way: the working variables a to h as the instructions want them, a and c in the
 * highest lane, and the sixteen words of the message schedule that are needed next. */
struct sum {
    __m128i abef, cdgh, w0, w1, w2, w3;
};

INLINE __m128i load_words(const uint8_t *from)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)from), big_endian);
}

INLINE void load_block(struct sum *s, const uint8_t *block)
{
    s->w0 = load_words(block);
    s->w1 = load_words(block + 16);
    s->w2 = load_words(block + 32);
    s->w3 = load_words(block + 48);
}

/* Four rounds, from a multiple of four on. The instruction does two and gives the new abef; what
 * abef was is the new cdgh. Words past the last round are worked out and not used. */
INLINE void four_rounds(struct sum *s, int round)
{
    __m128i wk = _mm_add_epi32(s->w0, _mm_load_si128((const __m128i *)&k[round]));
    __m128i next =
        _mm_add_epi32(_mm_sha256msg1_epu32(s->w0, s->w1), _mm_alignr_epi8(s->w3, s->w2, 4));

    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, wk);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(wk, 0x0e));
    next = _mm_sha256msg2_epu32(next, s->w3);
    s->w0 = s->w1;
    s->w1 = s->w2;
    s->w2 = s->w3;
    s->w3 = next;
}

WITH_SHA static void add_blocks(struct sum *to_a, struct sum *to_b, const uint8_t *block_a,
                                const uint8_t *block_b, size_t blocks)
{
    struct sum a = *to_a, b = *to_b;

    for (; blocks--; block_a += BLOCK_BYTES, block_b += BLOCK_BYTES) {
        __m128i a_abef = a.abef, a_cdgh = a.cdgh, b_abef = b.abef, b_cdgh = b.cdgh;

        load_block(&a, block_a);
        load_block(&b, block_b);
#pragma GCC unroll 16
        for (int round = 0; round < ROUNDS; round += 4) {
            four_rounds(&a, round);
            four_rounds(&b, round);
        }
        a.abef = _mm_add_epi32(a.abef, a_abef);
        a.cdgh = _mm_add_epi32(a.cdgh, a_cdgh);
        b.abef = _mm_add_epi32(b.abef, b_abef);
        b.cdgh = _mm_add_epi32(b.cdgh, b_cdgh);
    }
    *to_a = a;
    *to_b = b;
}

/* What is left after whole blocks, as FIPS 180-4, section 5.1.1, pads it: one block or two. */
static size_t pad(uint8_t to[2 * BLOCK_BYTES], const uint8_t *data, size_t bytes)
{
    size_t rest = bytes % BLOCK_BYTES, blocks = rest < BLOCK_BYTES - 8 ? 1 : 2;
    uint64_t bits = __builtin_bswap64((uint64_t)bytes * 8);

    memset(to, 0, 2 * BLOCK_BYTES);
    memcpy(to, data + bytes - rest, rest);
    to[rest] = 0x80;
    memcpy(to + blocks * BLOCK_BYTES - sizeof bits, &bits, sizeof bits);
    return blocks;
}

WITH_SHA static void store_sum(const struct sum *s, uint8_t *to)
{
    const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i abcd = _mm_unpackhi_epi64(s->cdgh, s->abef);
    __m128i efgh = _mm_unpacklo_epi64(s->cdgh, s->abef);

    _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi8(abcd, reverse));
    _mm_storeu_si128((__m128i *)(to + 16), _mm_shuffle_epi8(efgh, reverse));
}

WITH_SHA static void pair_with_sha(struct sha256_part a, struct sha256_part b, size_t bytes)
{
    /* FIPS 180-4, section 5.3.3. */
    struct sum sum_a = {.abef =
                            _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c),
                        .cdgh = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19)};
    uint8_t tail_a[2 * BLOCK_BYTES], tail_b[2 * BLOCK_BYTES];
    size_t blocks = pad(tail_a, a.data, bytes);
    struct sum sum_b = sum_a;

    pad(tail_b, b.data, bytes);
    add_blocks(&sum_a, &sum_b, a.data, b.data, bytes / BLOCK_BYTES);
    add_blocks(&sum_a, &sum_b, tail_a, tail_b, blocks);
    store_sum(&sum_a, a.sum);
    store_sum(&sum_b, b.sum);
}

static bool ask_processor(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1) &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* Asked once, as each time a virtual machine would be stopped for the answer; threads that ask at
 * the same time get the same. */
static bool has_sha(void)
{
    static atomic_int answer; /* 0: not asked yet */
    int known = atomic_load(&answer);

    if (!known)
        atomic_store(&answer, known = ask_processor() ? 1 : -1);
    return known > 0;
}

int sha256_pair(struct sha256_part a, struct sha256_part b, size_t bytes, struct error *e)
{
    if (!has_sha())
        return sha256_pair_plain(a, b, bytes, e);
    pair_with_sha(a, b, bytes);
    return OK;
}

#else

int sha256_pair(struct sha256_part a, struct sha256_part b, size_t bytes, struct error *e)
{
    return sha256_pair_plain(a, b, bytes, e);
}

#endif
