/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names come back in order, each once, whatever memory and the file hold of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "random.h"
#include "repo/names.h"

#define ok(call)                                                                                   \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, e.text);                                                     \
    } while (0)

static struct error e;

static int scratch_file(void)
{
    char path[] = "/tmp/domsnap-names-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    return fd;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, PREFIX_BYTES);
}

/* Of `count` names each fourth is there twice. */
static uint8_t (*some_names(size_t count))[PREFIX_BYTES]
{
    uint8_t(*all)[PREFIX_BYTES] = malloc((count + 1) * sizeof *all);

    assert_non_null(all);
    fill_random((uint8_t *)all, count * sizeof *all);
    for (size_t i = 4; i < count; i += 4)
        memcpy(all[i], all[i / 2], PREFIX_BYTES);
    return all;
}

static void add_all(struct names *n, uint8_t (*all)[PREFIX_BYTES], size_t count)
{
    for (size_t i = 0; i < count; i++)
        ok(names_add(n, all[i], &e));
    assert_int_equal(names_is_empty(n), count == 0);
}

/* `all` is sorted by it. */
static void assert_told(struct names *n, uint8_t (*all)[PREFIX_BYTES], size_t count)
{
    const uint8_t *name;

    qsort(all, count, sizeof *all, compare);
    ok(names_begin(n, &e));
    for (size_t i = 0; i < count; i++) {
        if (i && compare(all[i], all[i - 1]) == 0)
            continue;
        assert_int_equal(names_next(n, &name, &e), 1);
        assert_memory_equal(name, all[i], PREFIX_BYTES);
    }
    assert_int_equal(names_next(n, &name, &e), 0);
    assert_int_equal(names_next(n, &name, &e), 0);
}

static void try(int scratch, size_t count)
{
    struct names *n;

    ok(names_new(&n, scratch, &e));
    /* Twice: it can be filled anew. */
    for (int i = 0; i < 2; i++) {
        uint8_t(*all)[PREFIX_BYTES] = some_names(count);

        assert_true(names_is_empty(n));
        add_all(n, all, count);
        assert_told(n, all, count);
        names_clear(n);
        free(all);
    }
    names_free(n);
}

static void what_memory_holds(void **state)
{
    (void)state;
    try(-1, 0);
    try(-1, 1);
    try(-1, 5000);
    try(scratch_file(), 0);
    try(scratch_file(), 5000);
}

/* Just as many as go to the file at once, and about that; several runs of it. */
static void what_memory_does_not_hold(void **state)
{
    (void)state;
    try(scratch_file(), 1u << 19);
    try(scratch_file(), (1u << 19) + 1);
    try(scratch_file(), 7 * (1u << 19) + 1000);
}

static void memory_does_where_there_is_no_file(void **state)
{
    (void)state;
    try(-1, 1 << 20);
    try(open("/dev/full", O_RDWR | O_CLOEXEC), 1 << 20);
}

static void it_is_full_where_there_is_no_file(void **state)
{
    int scratch[] = {-1, open("/dev/full", O_RDWR | O_CLOEXEC), scratch_file()};
    size_t count = (1u << 19) + 1;
    uint8_t(*all)[PREFIX_BYTES] = malloc(count * sizeof *all);
    struct names *n;

    (void)state;
    assert_non_null(all);
    fill_random((uint8_t *)all, count * sizeof *all);
    for (int i = 0; i < 3; i++) {
        ok(names_new(&n, scratch[i], &e));
        add_all(n, all, 1u << 19);
        assert_int_equal(names_is_full(n), i == 0);
        ok(names_add(n, all[1u << 19], &e));
        assert_int_equal(names_is_full(n), i < 2);
        names_free(n);
    }
    free(all);
}

/* While they are told. */
static void assert_fails(struct names *n)
{
    const uint8_t *name;
    int rc;

    ok(names_begin(n, &e));
    while ((rc = names_next(n, &name, &e)) > 0)
        ;
    assert_true(rc < 0);
    assert_non_null(strstr(e.text, "a file for names: "));
}

static void a_byte_that_is_read_wrong_is_noticed(void **state)
{
    size_t count = 2 * (1u << 19) + 1;
    uint8_t(*all)[PREFIX_BYTES] = some_names(count), byte;
    struct names *n;

    (void)state;
    for (int i = 0; i < 5; i++) {
        int scratch = scratch_file();
        off_t at;

        ok(names_new(&n, scratch, &e));
        add_all(n, all, count);
        at = (lseek(scratch, 0, SEEK_END) - 1) * i / 4;
        assert_int_equal(pread(scratch, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(scratch, &byte, 1, at), 1);
        assert_fails(n);
        names_free(n);
    }
    free(all);
}

static void a_file_that_is_cut_is_said(void **state)
{
    int scratch = scratch_file();
    size_t count = 2 * (1u << 19) + 1;
    uint8_t(*all)[PREFIX_BYTES] = some_names(count);
    struct names *n;

    (void)state;
    ok(names_new(&n, scratch, &e));
    add_all(n, all, count);
    assert_int_equal(ftruncate(scratch, 15 << 20), 0);
    assert_fails(n);
    names_free(n);
    free(all);
}

static void quiet(enum log_level level, const char *line)
{
    (void)level, (void)line;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_memory_holds),
        cmocka_unit_test(what_memory_does_not_hold),
        cmocka_unit_test(memory_does_where_there_is_no_file),
        cmocka_unit_test(it_is_full_where_there_is_no_file),
        cmocka_unit_test(a_byte_that_is_read_wrong_is_noticed),
        cmocka_unit_test(a_file_that_is_cut_is_said),
    };

    log_set_sink(quiet);
    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
