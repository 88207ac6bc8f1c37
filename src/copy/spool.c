/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"

/* The largest pipe that an ordinary system gives (fs.pipe-max-size). */
#define PIPE_BYTES (1 << 20)

/* Written at once: the disk's share of the work, whose lock is not held meanwhile. */
#define WRITE_MAX_BYTES (4u << 20)

struct spool {
    struct spool_config config;
    pthread_t drainer, writer; /* of a file in memory there is no drainer */

    int pipe;
    char *ring; /* config.memory_bytes */

    int memory; /* the file in memory, instead of both; -1: there is none */

    pthread_mutex_t lock;      /* guards what follows */
    pthread_cond_t moved;      /* one of these has changed */
    size_t limit;              /* of the ring that may be filled */
    uint64_t drained, written; /* bytes since the start; drained - written are in the ring */
    bool writing;              /* the ring has been full, or all is in it */
    bool ended;                /* the drain has seen the end, or given up */
    struct error error;        /* the first one of either thread */
};

void spool_break(struct spool *s, const struct error *why)
{
    pthread_mutex_lock(&s->lock);
    if (s->error.status == OK)
        s->error = *why;
    s->ended = true;
    if (s->memory >= 0)
        fcntl(s->memory, F_ADD_SEALS, F_SEAL_WRITE);
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

void spool_end(struct spool *s)
{
    /* Of a pipe the drainer sees it itself. */
    if (s->memory < 0)
        return;
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

void spool_use_reserve(struct spool *s)
{
    pthread_mutex_lock(&s->lock);
    s->limit = s->config.memory_bytes;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

/* ---- pipe → ring ---- */

/* Wait for space in the ring: its length in one piece, 0 when there is no use in going on. */
static size_t wait_for_space(struct spool *s)
{
    size_t used, at, space = 0;

    pthread_mutex_lock(&s->lock);
    while (!s->ended && s->drained - s->written >= s->limit) {
        s->writing = true;
        pthread_cond_broadcast(&s->moved);
        pthread_cond_wait(&s->moved, &s->lock);
    }
    if (!s->ended) {
        used = s->drained - s->written;
        at = s->drained % s->config.memory_bytes;
        space = s->limit - used;
        if (space > s->config.memory_bytes - at)
            space = s->config.memory_bytes - at;
    }
    pthread_mutex_unlock(&s->lock);
    return space;
}

/* Wait until the pipe has something to read; CANCELLED when the user wants to stop. */
static int wait_for_data(struct spool *s, struct error *e)
{
    struct pollfd fds[] = {{s->pipe, POLLIN, 0}, {interrupt_fd(), POLLIN, 0}};

    while (poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return error_errno(e, "poll");
    return interrupt_check(e);
}

static void *drain(void *arg)
{
    struct spool *s = arg;
    struct error why = {0};
    size_t space;

    while ((space = wait_for_space(s))) {
        ssize_t n;

        if (wait_for_data(s, &why) < 0) {
            spool_break(s, &why);
            break;
        }
        n = read(s->pipe, s->ring + s->drained % s->config.memory_bytes, space);
        if (n < 0 && errno != EINTR) {
            error_errno(&why, "read of the save stream");
            spool_break(s, &why);
        }
        pthread_mutex_lock(&s->lock);
        if (n > 0)
            s->drained += n;
        s->ended |= n == 0;
        pthread_cond_broadcast(&s->moved);
        pthread_mutex_unlock(&s->lock);
    }
    /* From here on the writer of the pipe gets EPIPE. */
    close(s->pipe);
    return NULL;
}

/* ---- ring → file ---- */

/* Wait for bytes in the ring: their length in one piece, 0 at the end. */
static size_t wait_for_bytes(struct spool *s)
{
    size_t n, at;

    pthread_mutex_lock(&s->lock);
    while (!s->ended && (!s->writing || s->drained == s->written))
        pthread_cond_wait(&s->moved, &s->lock);
    n = s->error.status == OK ? s->drained - s->written : 0;
    at = s->written % s->config.memory_bytes;
    pthread_mutex_unlock(&s->lock);
    if (n > s->config.memory_bytes - at)
        n = s->config.memory_bytes - at;
    return n < WRITE_MAX_BYTES ? n : WRITE_MAX_BYTES;
}

static int write_piece(struct spool *s, const void *from, size_t n)
{
    struct error why;

    if (write_full(s->config.file, from, n) < 0) {
        error_errno(&why, "%s: write", s->config.name);
        spool_break(s, &why);
        return why.status;
    }
    progress_add(s->config.progress, n);
    return OK;
}

static void *write_out(void *arg)
{
    struct spool *s = arg;
    size_t n;

    while ((n = wait_for_bytes(s))) {
        if (write_piece(s, s->ring + s->written % s->config.memory_bytes, n) < 0)
            break;
        pthread_mutex_lock(&s->lock);
        s->written += n;
        pthread_cond_broadcast(&s->moved);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

/* ---- file in memory → file ---- */

/* Whether there is anything to do, once there is nothing more to come. */
static bool wait_for_end(struct spool *s)
{
    bool good;

    pthread_mutex_lock(&s->lock);
    while (!s->ended)
        pthread_cond_wait(&s->moved, &s->lock);
    good = s->error.status == OK;
    pthread_mutex_unlock(&s->lock);
    return good;
}

static void *write_memory(void *arg)
{
    enum { BLOCK = 1 << 20 };
    struct spool *s = arg;
    AUTO_FREE char *block = malloc(BLOCK);
    struct error why;
    off_t end;

    if (!block) {
        error_set(&why, NO_SPACE, "out of memory");
        spool_break(s, &why);
    }
    if (!wait_for_end(s))
        return NULL;
    end = lseek(s->memory, 0, SEEK_CUR);
    while (s->written < (uint64_t)end) {
        size_t n = end - s->written < BLOCK ? end - s->written : BLOCK;

        if (pread_full(s->memory, block, n, s->written) < 0) {
            error_errno(&why, "the save stream in memory");
            spool_break(s, &why);
            break;
        }
        if (write_piece(s, block, n) < 0)
            break;
        /* Others may have the memory. */
        fallocate(s->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)s->written,
                  (off_t)n);
        s->written += n;
    }
    return NULL;
}

/* ---- both ---- */

static void spool_free(struct spool *s)
{
    if (s->ring)
        munmap(s->ring, s->config.memory_bytes);
    if (s->memory >= 0)
        close(s->memory);
    pthread_cond_destroy(&s->moved);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* All of it is taken now: a page fault while the guest is paused would cost it. */
static int take_memory(struct spool *s, struct error *e)
{
    size_t bytes = s->config.memory_bytes;

    if (s->config.pace == SPOOL_IN_MEMORY) {
        s->memory = memfd_create("domsnap-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (s->memory >= 0 && fallocate(s->memory, 0, 0, (off_t)bytes) == 0)
            return OK;
    } else {
        s->ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (s->ring != MAP_FAILED)
            return OK;
        s->ring = NULL;
    }
    return error_errno(e, "%zu MiB of memory for the save stream", bytes >> 20);
}

static int spool_new(struct spool **out, const struct spool_config *config, struct error *e)
{
    struct spool *s = calloc(1, sizeof *s);

    if (!s)
        return error_errno(e, "memory for the save stream");
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
    s->config = *config;
    s->memory = -1;
    s->limit = config->memory_bytes - config->reserve_bytes;
    s->writing = config->pace == SPOOL_AT_ONCE;
    if (take_memory(s, e) == OK) {
        *out = s;
        return OK;
    }
    spool_free(s);
    return e->status;
}

static int start_memory(struct spool *s, int *write_fd, struct error *e)
{
    *write_fd = fcntl(s->memory, F_DUPFD_CLOEXEC, 0);
    if (*write_fd < 0)
        return error_errno(e, "memory for the save stream");
    if ((errno = pthread_create(&s->writer, NULL, write_memory, s)) == 0)
        return OK;
    error_errno(e, "thread for the save stream");
    close(*write_fd);
    *write_fd = -1;
    return e->status;
}

static int start_pipe(struct spool *s, int *write_fd, struct error *e)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(e, "pipe for the save stream");
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
    s->pipe = fds[0];
    if ((errno = pthread_create(&s->drainer, NULL, drain, s)) != 0) {
        error_errno(e, "thread for the save stream");
        close(fds[0]);
        close(fds[1]);
        return e->status;
    }
    if ((errno = pthread_create(&s->writer, NULL, write_out, s)) != 0) {
        error_errno(e, "thread for the save stream");
        close(fds[1]);
        pthread_join(s->drainer, NULL);
        return e->status;
    }
    *write_fd = fds[1];
    return OK;
}

int spool_start(struct spool **out, int *write_fd, const struct spool_config *config,
                struct error *e)
{
    struct spool *s = NULL;

    if (spool_new(&s, config, e) < 0)
        return e->status;
    if ((s->memory >= 0 ? start_memory(s, write_fd, e) : start_pipe(s, write_fd, e)) < 0) {
        spool_free(s);
        return e->status;
    }
    *out = s;
    return OK;
}

int spool_finish(struct spool *s, uint64_t *size_bytes, struct error *e)
{
    int rc = OK;

    spool_end(s);
    if (s->memory < 0)
        pthread_join(s->drainer, NULL);
    pthread_join(s->writer, NULL);
    if (s->error.status < 0) {
        *e = s->error;
        rc = e->status;
        /* Of a file that goes again too: a write that failed behind our back is told here only. */
    } else if (fsync(s->config.file) < 0) {
        rc = error_errno(e, "%s: make it durable", s->config.name);
    }
    *size_bytes = s->written;
    spool_free(s);
    return rc;
}
