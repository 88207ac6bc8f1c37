/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The copy and the spool: bytes, holes, sums, errors, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/time.h"
#include "copy/ingest.h"
#include "copy/spool.h"
#include "copy/team.h"

#define MIB (1u << 20)

static struct progress progress;

/* Unlinked files in a real file system: memfd has no holes to report before Linux 5.14. */
static int temp_file(void)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);

    assert_true(fd >= 0);
    return fd;
}

static void assert_same(int a, int b, size_t size)
{
    char *x = malloc(size), *y = malloc(size);

    assert_int_equal(pread_full(a, x, size, 0), 0);
    assert_int_equal(pread_full(b, y, size, 0), 0);
    assert_memory_equal(x, y, size);
    free(x);
    free(y);
}

/* 5 MiB and an odd end: data, a hole over a block's border, zeros that are allocated, data. */
static int make_source(size_t *size)
{
    int fd = temp_file();
    char *block = malloc(MIB);

    *size = 5 * MIB + 1536;
    for (size_t i = 0; i < MIB; i++)
        block[i] = (char)(i * 7 + i / 4096);
    assert_int_equal(ftruncate(fd, (off_t)*size), 0);
    assert_int_equal(pwrite_full(fd, block, 700000, 0), 0);
    assert_int_equal(pwrite_full(fd, block, MIB, 3 * MIB + 12345), 0);
    assert_int_equal(pwrite_full(fd, block, 1536, 5 * MIB), 0);
    memset(block, 0, MIB);
    assert_int_equal(pwrite_full(fd, block, 400000, 2 * MIB), 0);
    free(block);
    return fd;
}

#define CHUNK (256u << 10)

static struct ingest_image job(int source, int target, size_t size, enum target_kind kind)
{
    return (struct ingest_image){
        .source = source,
        .name = "source",
        .bytes = size,
        .target = {target, kind, "target"},
    };
}

static int copy(struct ingest_image *image, struct error *e)
{
    return ingest_copy(image, 1, CHUNK, 0, &progress, NULL, e);
}

static void a_new_image_is_equal_and_sparse(void **state)
{
    size_t size;
    int source = make_source(&size), target = temp_file();
    struct ingest_image c = job(source, target, size, TARGET_NEW);
    struct ingest_image again = job(target, -1, size, TARGET_NONE);
    struct error e;
    struct stat st;

    (void)state;
    progress_begin(&progress, "test", size);
    assert_int_equal(copy(&c, &e), OK);
    assert_int_equal(atomic_load(&progress.done_bytes), size);
    assert_same(source, target, size);
    assert_int_equal(fstat(target, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_true((size_t)st.st_blocks * 512 < 2 * MIB);
    /* Their names are the same; of another one it is another. */
    assert_int_equal(copy(&again, &e), OK);
    assert_memory_equal(&again.root, &c.root, sizeof c.root);
    assert_int_equal(pwrite_full(target, "!", 1, 4 * MIB), 0);
    assert_int_equal(copy(&again, &e), OK);
    assert_memory_not_equal(&again.root, &c.root, sizeof c.root);
    close(source);
    close(target);
}

static void zeros_replace_old_content(void **state)
{
    size_t size;
    int source = make_source(&size), target = temp_file();
    char *old = malloc(size);
    struct ingest_image c = job(source, target, size, TARGET_OLD);
    struct error e;

    (void)state;
    memset(old, 'o', size);
    assert_int_equal(pwrite_full(target, old, size, 0), 0);
    assert_int_equal(copy(&c, &e), OK);
    assert_same(source, target, size);
    /* A whole leaf of nothing. */
    assert_int_equal(ftruncate(source, 0), 0);
    assert_int_equal(ftruncate(source, (off_t)size), 0);
    assert_int_equal(copy(&c, &e), OK);
    assert_same(source, target, size);
    free(old);
    close(source);
    close(target);
}

static void a_short_source_is_an_error(void **state)
{
    int source = open("/dev/null", O_RDONLY), target = temp_file();
    struct ingest_image c = job(source, target, 4 * MIB, TARGET_NEW);
    struct error e;

    (void)state;
    /* A file's end looks like a hole to SEEK_DATA; a pipe's or device's does not. */
    assert_int_equal(copy(&c, &e), FAILED);
    assert_non_null(strstr(e.text, "source"));
    close(source);
    close(target);
}

static void a_full_disk_is_named(void **state)
{
    struct rlimit old, small = {MIB, MIB};
    size_t size;
    int source = make_source(&size), target = temp_file();
    struct ingest_image c = job(source, target, size, TARGET_OLD);
    struct error e;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(copy(&c, &e), FAILED);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_non_null(strstr(e.text, "target: write"));
    close(source);
    close(target);
}

static int refuse(void *arg, struct error *e)
{
    (void)arg;
    return error_set(e, BUSY, "the watch says no");
}

static void the_watch_stops_it(void **state)
{
    int source = open("/dev/zero", O_RDONLY);
    struct ingest_image c = job(source, -1, UINT64_C(1) << 40, TARGET_NONE);
    const struct team_watch watch = {refuse, NULL, false};
    struct error e;

    (void)state;
    assert_int_equal(ingest_copy(&c, 1, CHUNK, 0, &progress, &watch, &e), BUSY);
    close(source);
}

static void it_reads_no_faster_than_it_may(void **state)
{
    size_t size;
    int source = make_source(&size);
    struct ingest_image c = job(source, -1, size, TARGET_NONE);
    uint64_t begin = time_monotonic_ns();
    struct error e;

    (void)state;
    /* What has data, but for the last MiB that was read ahead of its time. */
    assert_int_equal(ingest_copy(&c, 1, CHUNK, 10000000, &progress, NULL, &e), OK);
    assert_true(time_monotonic_ns() - begin > 100000000);
    close(source);
}

/* ---- spool ---- */

static void spool_bytes(size_t total, size_t memory, enum spool_pace pace)
{
    int file = temp_file(), expected = temp_file(), fd;
    char block[10007];
    struct spool *s;
    struct error e;
    uint64_t size;

    assert_int_equal(
        spool_start(&s, &fd, &(struct spool_config){file, "ram", memory, 0, pace, &progress}, &e),
        OK);
    for (size_t done = 0; done < total;) {
        size_t n = total - done < sizeof block ? total - done : sizeof block;

        for (size_t i = 0; i < n; i++)
            block[i] = (char)((done + i) / 3);
        assert_int_equal(write_full(fd, block, n), 0);
        assert_int_equal(write_full(expected, block, n), 0);
        done += n;
    }
    close(fd);
    assert_int_equal(spool_finish(s, &size, &e), OK);
    assert_int_equal(size, total);
    assert_same(file, expected, total);
    close(file);
    close(expected);
}

static void a_spool_keeps_every_byte(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        enum spool_pace pace = i ? SPOOL_AT_ONCE : SPOOL_AFTERWARDS;

        spool_bytes(0, MIB, pace);
        spool_bytes(12345, MIB, pace);
        spool_bytes(20 * MIB + 1, MIB, pace); /* goes round the ring */
        spool_bytes(3 * MIB, 64 * MIB, pace); /* never fills it */
        spool_bytes(5 * MIB, 4096 * 3, pace); /* a ring smaller than the pipe */
    }
    spool_bytes(0, MIB, SPOOL_IN_MEMORY);
    spool_bytes(20 * MIB + 1, 21 * MIB, SPOOL_IN_MEMORY);
}

static void memory_that_is_given_up(void **state)
{
    const struct error why = {TIMED_OUT, "it took too long"};
    char block[4096] = "";
    int file = temp_file(), fd;
    struct spool *s;
    struct error e;
    uint64_t size;

    (void)state;
    assert_int_equal(
        spool_start(&s, &fd,
                    &(struct spool_config){file, "ram", MIB, 0, SPOOL_IN_MEMORY, &progress}, &e),
        OK);
    assert_int_equal(write_full(fd, block, sizeof block), 0);
    spool_break(s, &why);
    assert_int_equal(write_full(fd, block, sizeof block), -1);
    close(fd);
    assert_int_equal(spool_finish(s, &size, &e), TIMED_OUT);
    assert_int_equal(size, 0);
    close(file);
}

/* The writer of the pipe must not wait for a disk that is slow, as long as the memory suffices:
 * here the "disk" is a pipe that nobody reads before the writer is done. */
static void the_writer_does_not_wait_for_the_disk(void **state)
{
    char *block = calloc(1, 8 * MIB);
    int disk[2], fd;
    struct spool *s;
    struct error e;
    uint64_t size;
    size_t left;

    (void)state;
    assert_int_equal(pipe(disk), 0);
    assert_int_equal(spool_start(&s, &fd,
                                 &(struct spool_config){disk[1], "ram", 16 * MIB, 0,
                                                        SPOOL_AFTERWARDS, &progress},
                                 &e),
                     OK);
    assert_int_equal(write_full(fd, block, 8 * MIB), 0);
    close(fd);
    for (left = 8 * MIB; left;) {
        ssize_t n = read(disk[0], block, left);

        assert_true(n > 0);
        left -= (size_t)n;
    }
    /* A pipe can't be made durable. */
    assert_int_equal(spool_finish(s, &size, &e), FAILED);
    assert_int_equal(size, 8 * MIB);
    close(disk[0]);
    close(disk[1]);
    free(block);
}

static void a_full_disk_breaks_the_pipe(void **state)
{
    int full = open("/dev/full", O_WRONLY), fd;
    char *block = calloc(1, MIB);
    struct spool *s;
    struct error e;
    uint64_t size;
    int written = 0;

    (void)state;
    assert_int_equal(
        spool_start(&s, &fd,
                    &(struct spool_config){full, "ram", 2 * MIB, 0, SPOOL_AFTERWARDS, &progress},
                    &e),
        OK);
    while (write_full(fd, block, MIB) == 0)
        assert_true(++written < 1000);
    close(fd);
    assert_int_equal(spool_finish(s, &size, &e), NO_SPACE);
    assert_non_null(strstr(e.text, "ram: write"));
    close(full);
    free(block);
}

/* ---- teams ---- */

static int note_niceness(void *part, const atomic_bool *stop, struct error *e)
{
    (void)stop, (void)e;
    *(int *)part = getpriority(PRIO_PROCESS, 0);
    return OK;
}

static int watch_nothing(void *arg, struct error *e)
{
    (void)arg, (void)e;
    return OK;
}

static void work_gives_way(void **state)
{
    int before = getpriority(PRIO_PROCESS, 0), niceness[2] = {-1, -1};
    struct team_watch watch = {watch_nothing, NULL, false};
    struct error e;

    (void)state;
    assert_int_equal(team_run(note_niceness, niceness, 2, sizeof *niceness, &watch, &e), OK);
    assert_int_equal(niceness[1], before);
    watch.gives_way = true;
    assert_int_equal(team_run(note_niceness, niceness, 2, sizeof *niceness, &watch, &e), OK);
    assert_int_equal(niceness[0], 19);
    assert_int_equal(niceness[1], 19);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_image_is_equal_and_sparse),
        cmocka_unit_test(zeros_replace_old_content),
        cmocka_unit_test(a_short_source_is_an_error),
        cmocka_unit_test(a_full_disk_is_named),
        cmocka_unit_test(the_watch_stops_it),
        cmocka_unit_test(it_reads_no_faster_than_it_may),
        cmocka_unit_test(a_spool_keeps_every_byte),
        cmocka_unit_test(memory_that_is_given_up),
        cmocka_unit_test(the_writer_does_not_wait_for_the_disk),
        cmocka_unit_test(a_full_disk_breaks_the_pipe),
        cmocka_unit_test(work_gives_way),
    };
    struct error e;

    if (interrupt_catch(&e) < 0)
        return 1;
    return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
