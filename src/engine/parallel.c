/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/parallel.h"

#include <errno.h>
#include <time.h>

#define WATCH_NS 200000000L

struct team {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t ended;
    size_t running;
    struct error error; /* the first */
    atomic_bool stop;
};

static void fail(struct team *team, const struct error *why)
{
    pthread_mutex_lock(&team->lock);
    if (team->error.status == OK)
        team->error = *why;
    pthread_mutex_unlock(&team->lock);
    atomic_store(&team->stop, true);
}

static void *work(void *arg)
{
    struct parallel_copy *p = arg;
    struct error why = {0};

    if (copy_run(&p->copy, p->sha256, &why) < 0)
        fail(p->team, &why);
    pthread_mutex_lock(&p->team->lock);
    p->team->running--;
    pthread_cond_signal(&p->team->ended);
    pthread_mutex_unlock(&p->team->lock);
    return NULL;
}

static void wait_and_watch(struct team *team, parallel_watch watch, void *arg)
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
        if (watch(arg, &why) < 0) {
            watching = false;
            fail(team, &why);
        }
        pthread_mutex_lock(&team->lock);
    }
    pthread_mutex_unlock(&team->lock);
}

int parallel_run(struct parallel_copy *copies, size_t count, parallel_watch watch, void *arg,
                 struct error *e)
{
    struct team team = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t monotonic;
    size_t started = 0;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&team.ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    team.running = count;
    for (; started < count; started++) {
        struct parallel_copy *p = &copies[started];

        p->copy.stop = &team.stop;
        p->team = &team;
        if ((errno = pthread_create(&p->thread, NULL, work, p)) != 0) {
            struct error why;

            error_errno(&why, "thread for a copy");
            fail(&team, &why);
            break;
        }
    }
    pthread_mutex_lock(&team.lock);
    team.running -= count - started;
    pthread_mutex_unlock(&team.lock);
    wait_and_watch(&team, watch, arg);
    for (size_t i = 0; i < started; i++)
        pthread_join(copies[i].thread, NULL);
    pthread_cond_destroy(&team.ended);
    if (team.error.status < 0)
        *e = team.error;
    return team.error.status;
}
