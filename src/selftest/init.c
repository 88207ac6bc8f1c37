/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All that runs in selftest's guest, as its first process. It counts, in RAM and on two disks, and
 * holds each against the others: what was written last must still be there. So a guest that comes
 * back with RAM and disks of different instants, or with a page or a block of another one, notices
 * by itself.
 *
 * dom0 reads its state from the disks, block 0 of each, which the guest writes past all caches:
 *
 *     domsnap-selftest N BROKEN WINDOW BOOT
 *
 * N is the count. BROKEN is 0, or the first N at which something did not agree. BOOT tells one boot
 * from another. A WINDOW is a second. Block 1 + WINDOW % WINDOWS of the first disk has the longest
 * that, by the guest's processor, it was away in that window, and a count took on all disks:
 *
 *     window WINDOW TICK_US WRITE_US
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    DISKS = 2,
    BLOCK_BYTES = 4096,
    WINDOWS = 2048,            /* half an hour */
    FIRST_BLOCK = WINDOWS + 1, /* of those that are filled in turn */
    BLOCKS = 8192,             /* of a disk: 32 MiB */
    PAGES = 4096,              /* of RAM that are changed in turn: 16 MiB */
    PACE_US = 10000,
    TICK_US = 1000,
    CALIBRATION_US = 200000,
    WINDOW_US = 1000000
};

struct block {
    char text[512]; /* a sector: what dom0 reads of it is never half of one and half of another */
    unsigned long n[(BLOCK_BYTES - 512) / sizeof(unsigned long)];
};

static _Atomic long longest_tick_us;

/* By the processor's counter: Linux' own clocks leave out the time for which it was suspended. */
static unsigned long ticks_per_us;

static long now_us(void)
{
    return (long)(__builtin_ia32_rdtsc() / ticks_per_us);
}

static void nap_us(long us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

static long clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void calibrate(void)
{
    unsigned long ticks = __builtin_ia32_rdtsc();
    long us = clock_us();

    nap_us(CALIBRATION_US);
    ticks = __builtin_ia32_rdtsc() - ticks;
    us = clock_us() - us;
    ticks_per_us = us > 0 && ticks / (unsigned long)us ? ticks / (unsigned long)us : 1;
}

/* The kernel panics when its first process ends, and dom0 sees a guest that has crashed. */
static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "selftest: %s: %m\n", what);
    exit(1);
}

static void *tick(void *unused)
{
    for (long last = now_us(), now;; last = now) {
        nap_us(TICK_US);
        now = now_us();
        if (now - last > longest_tick_us)
            longest_tick_us = now - last;
    }
    return unused;
}

/* In the order of their names, which are numbered. A kernel that has one built in needs no file. */
static void load_modules(void)
{
    for (int i = 0;; i++) {
        char path[32];
        int fd;

        snprintf(path, sizeof path, "/module%d", i);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
            give_up(path);
        close(fd);
    }
}

static int open_disk(int i)
{
    char path[] = "/dev/xvda";
    int fd;

    path[sizeof path - 2] += i;
    /* It appears some time after its driver, and nobody tells. */
    while ((fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC)) < 0)
        nap_us(PACE_US);
    return fd;
}

static void put(int fd, const struct block *block, unsigned long number)
{
    if (pwrite(fd, block, sizeof *block, (off_t)(number * sizeof *block)) != sizeof *block)
        give_up("write");
}

static unsigned long number_in(int fd, unsigned long number)
{
    static struct block block __attribute__((aligned(BLOCK_BYTES)));

    if (pread(fd, &block, sizeof block, (off_t)(number * sizeof block)) != sizeof block)
        give_up("read");
    return block.n[0];
}

static unsigned long block_of(unsigned long n)
{
    return FIRST_BLOCK + n % (BLOCKS - FIRST_BLOCK);
}

struct guest {
    int disks[DISKS];
    unsigned long n, broken, window, boot;
    unsigned long pages[PAGES][BLOCK_BYTES / sizeof(unsigned long)];
};

/* What was written last is there, and what was in the next page is as old as it has to be. */
static bool agrees(const struct guest *g)
{
    unsigned long next = g->n + 1;

    for (int i = 0; g->n && i < DISKS; i++)
        if (number_in(g->disks[i], 0) != g->n || number_in(g->disks[i], block_of(g->n)) != g->n)
            return false;
    return g->pages[next % PAGES][0] == (next > PAGES ? next - PAGES : 0);
}

static void count(struct guest *g)
{
    static struct block block __attribute__((aligned(BLOCK_BYTES)));

    g->n++;
    g->pages[g->n % PAGES][0] = block.n[0] = g->n;
    snprintf(block.text, sizeof block.text, "domsnap-selftest %lu %lu %lu %lx\n", g->n, g->broken,
             g->window, g->boot);
    for (int i = 0; i < DISKS; i++) {
        put(g->disks[i], &block, block_of(g->n));
        put(g->disks[i], &block, 0);
        if (fdatasync(g->disks[i]) < 0)
            give_up("flush");
    }
}

static void end_window(struct guest *g, long longest_write_us)
{
    static struct block block __attribute__((aligned(BLOCK_BYTES)));

    snprintf(block.text, sizeof block.text, "window %lu %ld %ld\n", g->window,
             atomic_exchange(&longest_tick_us, 0), longest_write_us);
    put(g->disks[0], &block, 1 + g->window % WINDOWS);
    g->window++;
}

int main(void)
{
    static struct guest g;
    long window_us, before_us, now, longest_write_us = 0;
    pthread_t thread;

    if (mount("dev", "/dev", "devtmpfs", 0, NULL) < 0 && errno != EBUSY)
        give_up("/dev");
    load_modules();
    calibrate();
    for (int i = 0; i < DISKS; i++)
        g.disks[i] = open_disk(i);
    if (getrandom(&g.boot, sizeof g.boot, GRND_INSECURE) != sizeof g.boot ||
        pthread_create(&thread, NULL, tick, NULL) != 0)
        give_up("start");
    for (window_us = now_us();; nap_us(PACE_US)) {
        if (!agrees(&g) && !g.broken)
            g.broken = g.n + 1;
        before_us = now_us();
        count(&g);
        now = now_us();
        if (now - before_us > longest_write_us)
            longest_write_us = now - before_us;
        if (now - window_us < WINDOW_US)
            continue;
        end_window(&g, longest_write_us);
        window_us = now;
        longest_write_us = 0;
    }
}
