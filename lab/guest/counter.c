/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a test guest does: it counts, in RAM and on its disks, so that a test can hold one against
 * the other. Each line goes out in one write; times are the guest's own clock since its boot.
 *
 *     boot N            once, at the start: N is the number found on disk one
 *     count N MS        RAM holds N; then disk one is made to hold N, durably; then disk two, and
 *                       so on
 *     gap LONGEST MS    tick=1: once a second, the longest time between two ticks of 10 ms
 *     lat B:N B:N …     latency_mib=M: once a second, how many writes, of 4 KiB each to a random
 *                       place of a file of M MiB on disk one, with fdatasync, have taken
 *                       2^(B/8) µs so far
 *     noise N           noise_mib=M: M MiB of RAM are noise; once a second, how many of its pages
 *                       have been changed so far
 *
 * So at any instant RAM >= disk one >= disk two … >= RAM - 1.
 *
 * Options come as words of the kernel's command line, which the kernel hands to its init as
 * environment variables: pace_ms=50 between two counts; tick=1; dirty_mib=N of RAM dirtied in each
 * second; diskload_kib=N written to random places of a file on disk one in each second;
 * latency_mib=M; noise_mib=M, and noise_kib=N of that changed, at random places, in each second.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    DISKS = 8,
    PAGE_BYTES = 4096,
    DIRTY_PAGES = 8192,
    LOAD_BLOCKS = 8192,
    TICK_MS = 10,
    SLICE_MS = 50
};

static long option(const char *name, long otherwise)
{
    const char *text = getenv(name);

    return text ? atol(text) : otherwise;
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void nap_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

static _Noreturn void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static void say(const char *line)
{
    size_t length = strlen(line);

    if (write(STDOUT_FILENO, line, length) != (ssize_t)length)
        give_up("console");
}

static void *tick(void *unused)
{
    long last = now_ms(), said = last, longest = 0;

    for (;;) {
        long now;

        nap_ms(TICK_MS);
        now = now_ms();
        if (now - last > longest)
            longest = now - last;
        last = now;
        if (now - said >= 1000) {
            char line[64];

            snprintf(line, sizeof line, "gap %ld %ld\n", longest, now);
            say(line);
            said = now;
            longest = 0;
        }
    }
    return unused;
}

static void *dirty(void *unused)
{
    long pages = option("dirty_mib", 0) * 256 * SLICE_MS / 1000;
    volatile char *pool = mmap(NULL, (size_t)DIRTY_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    size_t page = 0;

    if (pool == MAP_FAILED)
        give_up("RAM to dirty");
    for (;; nap_ms(SLICE_MS))
        for (long i = 0; i < pages; i++, page = (page + 1) % DIRTY_PAGES)
            pool[page * PAGE_BYTES]++;
    return unused;
}

/* Nothing compresses it. */
static void fill_page(unsigned long *page)
{
    static unsigned long x = 88172645463325252;

    for (size_t i = 0; i < PAGE_BYTES / sizeof *page; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        page[i] = x;
    }
}

static void *make_noise(void *unused)
{
    long pages = option("noise_mib", 0) * 256, each = option("noise_kib", 0) * 1024 / PAGE_BYTES;
    char *pool = malloc((size_t)pages * PAGE_BYTES), line[64];

    if (!pool)
        give_up("RAM for noise");
    for (long i = 0; i < pages; i++)
        fill_page((unsigned long *)(pool + i * PAGE_BYTES));
    for (unsigned long n = 0;; nap_ms(1000)) {
        snprintf(line, sizeof line, "noise %lu\n", n);
        say(line);
        for (long i = 0; i < each; i++, n++)
            fill_page((unsigned long *)(pool + random() % pages * PAGE_BYTES));
    }
    return unused;
}

/* Written, not merely allocated: later writes then change data alone, and no metadata. */
static int make_file(const char *path, long blocks)
{
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    char block[PAGE_BYTES] = "";

    for (long i = 0; i < blocks; i++)
        if (pwrite(fd, block, sizeof block, i * PAGE_BYTES) < 0)
            give_up(path);
    if (fsync(fd) < 0)
        give_up(path);
    return fd;
}

/* 2^(1/8) is 9 % from one bucket to the next. */
enum { BUCKETS = 200 };

static void say_latencies(const unsigned long count[BUCKETS])
{
    char line[4096] = "lat";
    size_t length = strlen(line);

    for (int i = 0; i < BUCKETS && length < sizeof line - 40; i++)
        if (count[i])
            length += (size_t)snprintf(line + length, sizeof line - length, " %d:%lu", i, count[i]);
    strcpy(line + length, "\n");
    say(line);
}

static void *measure_latency(void *unused)
{
    static unsigned long count[BUCKETS];
    long blocks = option("latency_mib", 0) * 256, said = 0;
    int fd = make_file("/disk1/latency", blocks);
    char block[PAGE_BYTES];

    for (int n = 0;; n++) {
        struct timespec before, after;
        double us;
        int bucket;

        memset(block, n, sizeof block);
        clock_gettime(CLOCK_MONOTONIC, &before);
        if (pwrite(fd, block, sizeof block, random() % blocks * PAGE_BYTES) < 0 ||
            fdatasync(fd) < 0)
            give_up("/disk1/latency");
        clock_gettime(CLOCK_MONOTONIC, &after);
        us = (double)(after.tv_sec - before.tv_sec) * 1e6 +
             (double)(after.tv_nsec - before.tv_nsec) / 1e3;
        bucket = (int)(log2(us > 1 ? us : 1) * 8);
        count[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
        if (now_ms() - said >= 1000) {
            said = now_ms();
            say_latencies(count);
        }
    }
    return unused;
}

static void *load_disk(void *unused)
{
    long blocks = option("diskload_kib", 0) * 1024 / PAGE_BYTES * SLICE_MS / 1000;
    int fd = make_file("/disk1/load", LOAD_BLOCKS);
    char block[PAGE_BYTES];

    for (int n = 0;; n++, nap_ms(SLICE_MS)) {
        memset(block, n, sizeof block);
        for (long i = 0; i < (blocks ? blocks : 1); i++)
            if (pwrite(fd, block, sizeof block, random() % LOAD_BLOCKS * PAGE_BYTES) < 0)
                give_up("/disk1/load");
        if (fdatasync(fd) < 0)
            give_up("/disk1/load");
    }
    return unused;
}

static void start_if(const char *name, void *(*run)(void *))
{
    pthread_t thread;

    if (option(name, 0) && pthread_create(&thread, NULL, run, NULL) != 0)
        give_up(name);
}

/* Returns -1 when the guest has no such disk. */
static int open_number(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0644);

    if (fd < 0 && errno != ENOENT)
        give_up(path);
    return fd;
}

/* Of one width, so that a write never changes the file's size and replaces the text whole. */
static void put_number(int fd, unsigned long n)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%020lu\n", n);

    if (fd >= 0 && (pwrite(fd, text, (size_t)length, 0) != length || fsync(fd) < 0))
        give_up("number");
}

int main(void)
{
    int disks[DISKS];
    long pace = option("pace_ms", 50);
    char line[64] = "";

    for (int i = 0; i < DISKS; i++) {
        snprintf(line, sizeof line, "/disk%d/number", i + 1);
        disks[i] = open_number(line);
    }
    memset(line, 0, sizeof line);
    if (disks[0] >= 0 && pread(disks[0], line, sizeof line - 1, 0) < 0)
        give_up("number");
    unsigned long n = strtoul(line, NULL, 10);
    snprintf(line, sizeof line, "\nboot %lu\n", n);
    say(line);

    start_if("tick", tick);
    start_if("dirty_mib", dirty);
    start_if("diskload_kib", load_disk);
    start_if("latency_mib", measure_latency);
    start_if("noise_mib", make_noise);
    for (;;) {
        snprintf(line, sizeof line, "\ncount %lu %ld\n", ++n, now_ms());
        say(line);
        for (int i = 0; i < DISKS; i++)
            put_number(disks[i], n);
        nap_ms(pace);
    }
}
