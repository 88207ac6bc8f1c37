/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Save streams taken apart and joined again, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "domain/savefile.h"
#include "domain/savestream.h"

#define XTAB 0xf
#define L1   0x1

static int memory(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static uint64_t length(int fd)
{
    return (uint64_t)lseek(fd, 0, SEEK_END);
}

/* ---- making a stream ---- */

static void add(int fd, const void *data, size_t bytes)
{
    assert_int_equal(write_full(fd, data, bytes), 0);
}

static void add32(int fd, uint32_t n)
{
    n = htole32(n);
    add(fd, &n, sizeof n);
}

static void add64(int fd, uint64_t n)
{
    n = htole64(n);
    add(fd, &n, sizeof n);
}

static void add_record(int fd, uint32_t type, const char *body)
{
    size_t bytes = strlen(body);

    add32(fd, type);
    add32(fd, (uint32_t)bytes);
    add(fd, body, bytes);
    add(fd, "\0\0\0\0\0\0\0", -bytes & 7);
}

/* `pages`: frame and type, and what its page is filled with. */
struct page {
    uint64_t frame;
    unsigned type;
    char content;
};

static void add_pages(int fd, const struct page *pages, uint32_t count)
{
    char block[DOMAIN_PAGE_BYTES];
    uint32_t contents = 0;

    for (uint32_t i = 0; i < count; i++)
        contents += pages[i].type != XTAB;
    add32(fd, 1);
    add32(fd, 8 + count * 8 + contents * DOMAIN_PAGE_BYTES);
    add32(fd, count);
    add32(fd, 0);
    for (uint32_t i = 0; i < count; i++)
        add64(fd, pages[i].frame | (uint64_t)pages[i].type << 60);
    for (uint32_t i = 0; i < count; i++)
        if (pages[i].type != XTAB) {
            memset(block, pages[i].content, sizeof block);
            add(fd, block, sizeof block);
        }
}

static void begin(int fd)
{
    AUTO_JSON json_t *config = json_pack("{s:{s:s}}", "c_info", "name", "linux01");
    struct error e;

    assert_int_equal(savefile_write_head(fd, config, &e), OK);
    add(fd, "LibxlFmt\0\0\0\2\0\0\0\0", 16);
    add_record(fd, 1, "");
    add(fd, "\377\377\377\377\377\377\377\377XENF\0\0\0\3\0\0\0\0\0\0\0\0", 24);
    add(fd, "\1\0\0\0\014\0\0\0\4\0\0\0\021\0\0\0", 16);
    add_record(fd, 2, "pv info");
}

static void end(int fd)
{
    add_record(fd, 0, "");
    add_record(fd, 2, "xenstore data");
    add_record(fd, 0, "");
}

/* Live: frames 0 and 700 change, and 3 goes away; one is far off. */
static int make_stream(void)
{
    static const struct page first[] = {{0, 0, 'a'}, {1, L1, 'b'},  {2, 0, 'c'},
                                        {3, 0, 'd'}, {700, 0, 'e'}, {5, XTAB, 0}};
    static const struct page second[] = {
        {700, 0, 'E'}, {0, 0, 'A'}, {3, XTAB, 0}, {0x100003, 0, 'z'}};
    int fd = memory();

    begin(fd);
    add_pages(fd, first, 6);
    add_record(fd, 0x80000077, "optional");
    add_pages(fd, second, 4);
    add_record(fd, 8, "tsc");
    end(fd);
    return fd;
}

/* ---- taking it apart, and joining it ---- */

struct parts {
    struct save_pages *pages;
    int fds[SAVE_PARTS];
    struct save_parts join;
};

static int read_part(void *arg, enum save_part part, void *to, size_t bytes, uint64_t offset,
                     struct error *e)
{
    struct parts *p = arg;

    if (part == SAVE_FRAMES)
        return save_pages_read(p->pages, to, bytes, offset, e);
    return pread_full(p->fds[part], to, bytes, offset) < 0 ? error_errno(e, "part") : OK;
}

static void take_apart(struct parts *p, int fd)
{
    struct error e = {0};

    assert_int_equal(save_pages_find(&p->pages, fd, length(fd), &e), OK);
    p->fds[SAVE_REST] = memory();
    p->fds[SAVE_TYPES] = memory();
    assert_int_equal(save_pages_write_rest(p->pages, p->fds[SAVE_REST], &p->join.pages_at, &e), OK);
    assert_int_equal(save_pages_write_types(p->pages, p->fds[SAVE_TYPES], &e), OK);
    p->join.bytes[SAVE_REST] = length(p->fds[SAVE_REST]);
    p->join.bytes[SAVE_TYPES] = length(p->fds[SAVE_TYPES]);
    p->join.bytes[SAVE_FRAMES] = save_pages_frames(p->pages) * DOMAIN_PAGE_BYTES;
    p->join.read = read_part;
    p->join.arg = p;
}

static void release(struct parts *p)
{
    save_pages_free(p->pages);
    close(p->fds[SAVE_REST]);
    close(p->fds[SAVE_TYPES]);
}

static char content_at(const struct parts *p, uint64_t frame)
{
    char block[DOMAIN_PAGE_BYTES];
    struct error e;

    assert_int_equal(save_pages_read(p->pages, block, sizeof block, frame * DOMAIN_PAGE_BYTES, &e),
                     OK);
    assert_int_equal(memcmp(block, block + 1, sizeof block - 1), 0);
    return block[0];
}

static void assert_expected(const struct parts *p)
{
    uint8_t types[6];

    assert_int_equal(save_pages_frames(p->pages), 0x100004);
    assert_int_equal(content_at(p, 0), 'A');
    assert_int_equal(content_at(p, 1), 'b');
    assert_int_equal(content_at(p, 3), 0);
    assert_int_equal(content_at(p, 700), 'E');
    assert_int_equal(content_at(p, 701), 0);
    assert_int_equal(content_at(p, 0x100003), 'z');
    assert_int_equal(save_pages_next(p->pages, 0), 0);
    assert_int_equal(save_pages_next(p->pages, 3 * DOMAIN_PAGE_BYTES), 700 * DOMAIN_PAGE_BYTES);
    assert_int_equal(save_pages_next(p->pages, 701 * DOMAIN_PAGE_BYTES),
                     UINT64_C(0x100003) * DOMAIN_PAGE_BYTES);
    assert_int_equal(pread_full(p->fds[SAVE_TYPES], types, sizeof types, 0), 0);
    assert_memory_equal(types, "\x80\x81\x80\x8f\0\x8f", sizeof types);
}

static void apart_and_joined(void **state)
{
    struct parts first = {0}, second = {0};
    struct error e = {0};
    int fd = make_stream(), joined = memory();
    char one[4096], two[4096];
    uint64_t rest;

    (void)state;
    take_apart(&first, fd);
    assert_expected(&first);
    assert_int_equal(save_parts_join(&first.join, joined, &e), OK);
    take_apart(&second, joined);
    assert_expected(&second);
    rest = first.join.bytes[SAVE_REST];
    assert_true(rest < sizeof one);
    assert_int_equal(second.join.bytes[SAVE_REST], rest);
    assert_int_equal(second.join.pages_at, first.join.pages_at);
    assert_int_equal(pread_full(first.fds[SAVE_REST], one, rest, 0), 0);
    assert_int_equal(pread_full(second.fds[SAVE_REST], two, rest, 0), 0);
    assert_memory_equal(one, two, rest);
    release(&first);
    release(&second);
    close(fd);
    close(joined);
}

static int find(int fd)
{
    struct save_pages *pages;
    struct error e = {0};
    int rc = save_pages_find(&pages, fd, length(fd), &e);

    if (rc == OK)
        save_pages_free(pages);
    else
        assert_true(e.text[0]);
    return rc;
}

static void what_is_not_understood(void **state)
{
    static const struct page page = {0, 0, 'a'}, odd = {0, 7, 'a'},
                             far = {UINT64_C(1) << 40, 0, 'a'};
    const struct page *pages[] = {&page, &odd, &far};

    (void)state;
    for (int i = 0; i < 4; i++) {
        int fd = memory();

        begin(fd);
        if (i < 3)
            add_pages(fd, pages[i], 1);
        if (i == 0)
            add_record(fd, 77, "a new kind of record");
        end(fd);
        assert_int_equal(find(fd), UNSUPPORTED);
        close(fd);
    }
}

static void the_processor_that_a_guest_has_seen(void **state)
{
    static const struct cpuid_leaf leaf = {7, 0, 1, 2, 3, 4};
    struct save_start start;
    struct error e;
    int fd = memory();

    (void)state;
    begin(fd);
    add32(fd, 17);
    add32(fd, sizeof leaf);
    add(fd, &leaf, sizeof leaf);
    add_record(fd, 16, "");
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(save_start_read(&start, fd, &e), OK);
    assert_int_equal(start.leaf_count, 1);
    assert_memory_equal(start.leaves, &leaf, sizeof leaf);
    assert_non_null(json_object_get(start.config, "c_info"));
    save_start_release(&start);
    close(fd);

    /* A stream that is not understood is for the toolstack to judge. */
    fd = memory();
    begin(fd);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(save_start_read(&start, fd, &e), OK);
    assert_int_equal(start.leaf_count, 0);
    save_start_release(&start);
    close(fd);
}

static void cut_short_anywhere(void **state)
{
    int fd = make_stream();

    (void)state;
    /* What follows libxc's end is taken as it is. */
    for (uint64_t bytes = length(fd) - 50; bytes--;) {
        if (bytes > 500 && bytes % 4096 > 64)
            continue;
        assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
        assert_int_equal(find(fd), DAMAGED);
    }
    close(fd);
}

static void damaged_anywhere(void **state)
{
    int fd = make_stream();
    unsigned refused = 0;

    (void)state;
    for (uint64_t at = 0; at < length(fd); at += at < 700 ? 1 : 511) {
        uint8_t byte, bad;

        assert_int_equal(pread_full(fd, &byte, 1, at), 0);
        for (int bit = 0; bit < 8; bit++) {
            bad = byte ^ (uint8_t)(1 << bit);
            assert_int_equal(pwrite_full(fd, &bad, 1, at), 0);
            refused += find(fd) != OK;
        }
        assert_int_equal(pwrite_full(fd, &byte, 1, at), 0);
    }
    assert_int_equal(find(fd), OK);
    assert_true(refused > 100);
    close(fd);
}

static void parts_that_do_not_fit(void **state)
{
    int fd = make_stream(), null = memory();
    struct parts p = {0};
    struct save_parts bad;
    struct error e;

    (void)state;
    take_apart(&p, fd);
    bad = p.join;
    bad.pages_at = bad.bytes[SAVE_REST] + 1;
    assert_int_equal(save_parts_join(&bad, null, &e), DAMAGED);
    bad = p.join;
    bad.bytes[SAVE_FRAMES] -= DOMAIN_PAGE_BYTES;
    assert_int_equal(save_parts_join(&bad, null, &e), DAMAGED);
    assert_int_equal(pwrite_full(p.fds[SAVE_TYPES], "\7", 1, 1), 0);
    assert_int_equal(save_parts_join(&p.join, null, &e), DAMAGED);
    release(&p);
    close(fd);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apart_and_joined),
        cmocka_unit_test(what_is_not_understood),
        cmocka_unit_test(the_processor_that_a_guest_has_seen),
        cmocka_unit_test(cut_short_anywhere),
        cmocka_unit_test(damaged_anywhere),
        cmocka_unit_test(parts_that_do_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
