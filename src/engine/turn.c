/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/turn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"

/* The kernel tells that a file was closed right before it gives the lock back. */
#define LOOK_AGAIN_MS 500

struct slots {
    int fds[TURNS_MAX];
    unsigned count;
};

static void close_slots(struct slots *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->fds[i] >= 0)
            close(s->fds[i]);
}

#define AUTO_SLOTS __attribute__((cleanup(close_slots)))

static int open_slots(struct slots *s, const char *lock_dir, unsigned at_once, struct error *e)
{
    AUTO_CLOSE int dir = -1;

    if (dir_make(lock_dir, e) < 0)
        return e->status;
    if (open_in(AT_FDCWD, lock_dir, O_RDONLY | O_DIRECTORY, &dir, e) < 0)
        return e->status;
    for (; s->count < at_once; s->count++) {
        char name[sizeof "turn.4294967295"];

        snprintf(name, sizeof name, "turn.%u", s->count);
        if (open_in(dir, name, O_RDWR | O_CREAT, &s->fds[s->count], e) < 0)
            return error_prefix(e, "%s", lock_dir);
    }
    return OK;
}

/* BUSY: all are taken. They stay open, since to close one would wake all who wait. */
static int try_slots(struct slots *s, int *turn, struct error *e)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (flock(s->fds[i], LOCK_EX | LOCK_NB) == 0) {
            *turn = s->fds[i];
            s->fds[i] = -1;
            return OK;
        }
        if (errno != EWOULDBLOCK)
            return error_errno(e, "turn: lock");
    }
    return error_set(e, BUSY, "all turns are taken");
}

static int wait_for_slot(struct slots *s, int events, int *turn, struct error *e)
{
    while (try_slots(s, turn, e) < 0) {
        struct pollfd fds[] = {{events, POLLIN, 0}, {interrupt_fd(), POLLIN, 0}};
        char event[4096];

        if (e->status != BUSY)
            return e->status;
        poll(fds, 2, LOOK_AGAIN_MS);
        if (interrupt_check(e) < 0)
            return e->status;
        while (read(events, event, sizeof event) > 0)
            ;
    }
    return OK;
}

int turn_take(int *turn, const char *lock_dir, unsigned at_once, struct error *e)
{
    AUTO_SLOTS struct slots s = {.count = 0};
    AUTO_CLOSE int events = -1;
    int rc;

    assert(at_once >= 1 && at_once <= TURNS_MAX);
    if (open_slots(&s, lock_dir, at_once, e) < 0)
        return e->status;
    rc = try_slots(&s, turn, e);
    if (rc != BUSY)
        return rc;
    events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (events < 0 || inotify_add_watch(events, lock_dir, IN_CLOSE) < 0)
        return error_errno(e, "%s: watch", lock_dir);
    log_note("waiting for a turn: as many snapshots as --at-once allows (%u) are being taken",
             at_once);
    return wait_for_slot(&s, events, turn, e);
}
