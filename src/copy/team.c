/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/team.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/interrupt.h"

/* So many a processor: one computes while the other waits for a disk. */
#define PER_PROCESSOR 2

#define READERS_PER_PROCESSOR 8

/* More need more memory than they are worth. */
#define SIZE_MAX_DEFAULT 8
#define READERS_MAX      16

#define WATCH_NS 200000000L

/* Of work that gives way: the lowest. */
#define NICENESS 19

struct team {
    team_work work;
    bool gives_way;
    atomic_bool stop;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended;
    size_t running;
    struct error error; /* the first */
};

struct member {
    struct team *team;
    void *part;
    pthread_t thread;
};

static void fail(struct team *team, const struct error *why)
{
    pthread_mutex_lock(&team->lock);
    if (team->error.status == OK)
        team->error = *why;
    pthread_mutex_unlock(&team->lock);
    atomic_store(&team->stop, true);
}

static void *run(void *arg)
{
    struct member *m = arg;
    struct error why = {0};

    /* Of this thread alone; the priority of its requests to disks follows from it. */
    if (m->team->gives_way)
        setpriority(PRIO_PROCESS, 0, NICENESS);
    if (m->team->work(m->part, &m->team->stop, &why) < 0)
        fail(m->team, &why);
    pthread_mutex_lock(&m->team->lock);
    m->team->running--;
    pthread_cond_signal(&m->team->ended);
    pthread_mutex_unlock(&m->team->lock);
    return NULL;
}

static void wait_and_watch(struct team *team, const struct team_watch *watch)
{
    struct error why = {0};
    bool watching = watch != NULL;
    struct timespec until;

    pthread_mutex_lock(&team->lock);
    while (team->running) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WATCH_NS;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&team->ended, &team->lock, &until);
        if (!watching || !team->running)
            continue;
        pthread_mutex_unlock(&team->lock);
        if (watch->look(watch->arg, &why) < 0) {
            watching = false;
            fail(team, &why);
        }
        pthread_mutex_lock(&team->lock);
    }
    pthread_mutex_unlock(&team->lock);
}

static size_t start(struct team *team, struct member *members, void *parts, size_t count,
                    size_t part_bytes)
{
    for (size_t i = 0; i < count; i++) {
        struct member *m = &members[i];
        struct error why;

        *m = (struct member){.team = team, .part = (char *)parts + i * part_bytes};
        if ((errno = pthread_create(&m->thread, NULL, run, m)) == 0)
            continue;
        error_errno(&why, "thread");
        fail(team, &why);
        return i;
    }
    return count;
}

int team_run(team_work work, void *parts, size_t count, size_t part_bytes,
             const struct team_watch *watch, struct error *e)
{
    AUTO_FREE struct member *members = calloc(count + 1, sizeof *members);
    struct team team = {.work = work,
                        .gives_way = watch && watch->gives_way,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .running = count};
    pthread_condattr_t monotonic;
    size_t started;

    if (!members)
        return error_set(e, NO_SPACE, "out of memory");
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&team.ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    started = start(&team, members, parts, count, part_bytes);
    pthread_mutex_lock(&team.lock);
    team.running -= count - started;
    pthread_mutex_unlock(&team.lock);
    wait_and_watch(&team, watch);
    for (size_t i = 0; i < started; i++)
        pthread_join(members[i].thread, NULL);
    pthread_cond_destroy(&team.ended);
    if (team.error.status < 0)
        *e = team.error;
    return team.error.status;
}

static unsigned size(unsigned wanted, uint64_t parts, unsigned per_processor, unsigned most)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = per_processor * (processors > 0 ? (unsigned)processors : 1);

    if (n > most)
        n = most;
    if (wanted)
        n = wanted;
    if (n > parts)
        n = (unsigned)parts;
    return n ? n : 1;
}

unsigned team_size(unsigned wanted, uint64_t parts)
{
    return size(wanted, parts, PER_PROCESSOR, SIZE_MAX_DEFAULT);
}

unsigned team_size_of_readers(unsigned wanted, uint64_t parts)
{
    return size(wanted, parts, READERS_PER_PROCESSOR, READERS_MAX);
}

int team_check(const atomic_bool *stop, struct error *e)
{
    if (stop && atomic_load_explicit(stop, memory_order_relaxed))
        return error_set(e, CANCELLED, "stopped, since another part of the work failed");
    return interrupt_check(e);
}
