/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What pieces are made with: patches, the codec, sets of names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "repo/codec.h"
#include "repo/patch.h"
#include "repo/prefix_set.h"

#define PAGE PATCH_PAGE_BYTES

static struct error e;
static uint8_t base[CHUNK_MAX_BYTES], content[CHUNK_MAX_BYTES], pages[CHUNK_MAX_BYTES];
static uint8_t got[2 * CHUNK_MAX_BYTES];

/* ---- patches ---- */

/* What is gathered and applied again is what it was, however long it is. */
static void a_patch_makes_one_of_the_other(void **state)
{
    static const uint32_t sizes[] = {2 * PAGE,     2 * PAGE + 1,    8 * PAGE,       8 * PAGE + 1,
                                     9 * PAGE - 1, 64 * PAGE + 777, CHUNK_MAX_BYTES};
    uint8_t bitmap[PATCH_BITMAP_MAX_BYTES];

    (void)state;
    srandom(1);
    fill_random(base, sizeof base);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int round = 0; round < 20; round++) {
            uint32_t bytes = sizes[i], changed = 0, sum;
            uint32_t count = (bytes + PAGE - 1) / PAGE, most = bytes / PAGE / PATCH_MAX_PART;

            memcpy(content, base, bytes);
            for (uint32_t n = 1 + (uint32_t)random() % most; changed < n; changed++) {
                uint32_t at = (uint32_t)random() % count * PAGE;

                content[at + (uint32_t)random() % (bytes - at < PAGE ? bytes - at : PAGE)] ^= 5;
            }
            sum = patch_gather(content, base, bytes, pages, bitmap);
            if (memcmp(content, base, bytes) == 0) {
                assert_int_equal(sum, 0);
                continue;
            }
            assert_in_range(sum, 1, changed * PAGE);
            assert_int_equal(patch_pages_bytes(bitmap, bytes), sum);
            memcpy(got, base, bytes);
            patch_apply(got, bytes, bitmap, pages);
            assert_memory_equal(got, content, bytes);
        }
}

static void not_too_much_of_it(void **state)
{
    uint8_t bitmap[PATCH_BITMAP_MAX_BYTES];

    (void)state;
    srandom(2);
    fill_random(base, sizeof base);
    memcpy(content, base, sizeof base);
    assert_int_equal(patch_gather(content, base, 16 * PAGE, pages, bitmap), 0);
    for (uint32_t n = 0; n < 16; n++) {
        content[n * PAGE + n] ^= 1;
        assert_int_equal(patch_gather(content, base, 16 * PAGE, pages, bitmap),
                         n < 8 ? (n + 1) * PAGE : 0);
    }
}

/* A bit past the end, or none. */
static void a_bitmap_is_not_trusted(void **state)
{
    uint8_t bitmap[PATCH_BITMAP_MAX_BYTES] = {0};

    (void)state;
    assert_int_equal(patch_pages_bytes(bitmap, 3 * PAGE + 10), 0);
    for (uint32_t page = 0; page < 8; page++) {
        bitmap[0] = (uint8_t)(1 << page);
        assert_int_equal(patch_pages_bytes(bitmap, 3 * PAGE + 10), page < 3    ? PAGE
                                                                   : page == 3 ? 10
                                                                               : 0);
        bitmap[0] |= 1;
        assert_int_equal(patch_pages_bytes(bitmap, 3 * PAGE + 10) != 0, page < 4);
    }
    memset(bitmap, 0xff, sizeof bitmap);
    assert_int_equal(patch_pages_bytes(bitmap, CHUNK_MAX_BYTES), CHUNK_MAX_BYTES);
    assert_int_equal(patch_pages_bytes(bitmap, CHUNK_MAX_BYTES - PAGE), 0);
    assert_int_equal(patch_bitmap_bytes(CHUNK_MAX_BYTES), PATCH_BITMAP_MAX_BYTES);
    assert_int_equal(patch_bitmap_bytes(1), 1);
    assert_int_equal(patch_bitmap_bytes(8 * PAGE), 1);
    assert_int_equal(patch_bitmap_bytes(8 * PAGE + 1), 2);
}

/* ---- the codec ---- */

static void zipped_and_unzipped(void **state)
{
    static const uint32_t sizes[] = {1, 100, 65536, 65537, CHUNK_MAX_BYTES};
    struct codec *c;
    const void *frame;
    size_t n;

    (void)state;
    assert_int_equal(codec_new(&c, &e), OK);
    srandom(3);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int noise = 0; noise < 2; noise++) {
            if (noise)
                fill_random(content, sizes[i]);
            else
                memset(content, 'x', sizes[i]);
            n = codec_zip(c, content, sizes[i], &frame);
            /* Noise takes some bytes more, if it does not refuse. */
            assert_in_range(n, 0, sizes[i] + sizes[i] / 128 + 64);
            if (!n)
                continue;
            memcpy(pages, frame, n < sizeof pages ? n : sizeof pages);
            if (n > sizeof pages)
                continue;
            assert_int_equal(codec_unzip(c, got, sizes[i], pages, n, &e), OK);
            assert_memory_equal(got, content, sizes[i]);
            /* Neither more nor less than is expected, nor what is cut or no frame. */
            assert_int_equal(codec_unzip(c, got, sizes[i] + 1, pages, n, &e), DAMAGED);
            if (sizes[i] > 1)
                assert_int_equal(codec_unzip(c, got, sizes[i] - 1, pages, n, &e), DAMAGED);
            assert_int_equal(codec_unzip(c, got, sizes[i], pages, n - 1, &e), DAMAGED);
            pages[0] ^= 1;
            assert_int_equal(codec_unzip(c, got, sizes[i], pages, n, &e), DAMAGED);
        }
    assert_int_equal(codec_unzip(c, got, 10, pages, 0, &e), DAMAGED);
    codec_free(c);
    codec_free(NULL);
}

/* ---- sets ---- */

static void set_prefix(uint8_t prefix[PREFIX_BYTES], uint32_t n)
{
    memset(prefix, 0, PREFIX_BYTES);
    /* Many begin alike, as a hash that is bad. */
    prefix[0] = (uint8_t)(n % 7);
    memcpy(prefix + 9, &n, sizeof n);
    prefix[19] = 1;
}

static void what_was_added_is_in_a_set(void **state)
{
    struct prefix_set set = {0};
    uint8_t prefix[PREFIX_BYTES];
    bool new;

    (void)state;
    set_prefix(prefix, 1);
    assert_false(prefix_set_has(&set, prefix));
    for (uint32_t n = 0; n < 5000; n++) {
        set_prefix(prefix, n);
        assert_int_equal(prefix_set_add(&set, prefix, &new, &e), OK);
        assert_true(new);
        assert_int_equal(prefix_set_add(&set, prefix, &new, &e), OK);
        assert_false(new);
        assert_int_equal(prefix_set_add(&set, prefix, NULL, &e), OK);
    }
    assert_int_equal(set.count, 5000);
    for (uint32_t n = 0; n < 5500; n++) {
        set_prefix(prefix, n);
        assert_int_equal(prefix_set_has(&set, prefix), n < 5000);
    }
    prefix_set_release(&set);
    assert_false(prefix_set_has(&set, prefix));
    prefix_set_release(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_patch_makes_one_of_the_other), cmocka_unit_test(not_too_much_of_it),
        cmocka_unit_test(a_bitmap_is_not_trusted),        cmocka_unit_test(zipped_and_unzipped),
        cmocka_unit_test(what_was_added_is_in_a_set),
    };

    return cmocka_run_group_tests_name("pieces", tests, NULL, NULL);
}
