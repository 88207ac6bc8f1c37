/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/time.h"

/* A guardian resumes its guest in a second; an LVM command waits for others, if there are any. */
#define REMNANTS_NS   UINT64_C(60000000000)
#define LOOK_AGAIN_MS 50

static int open_lock(int *lock, const char *lock_dir, const char *file, struct error *e)
{
    AUTO_CLOSE int dir = -1;

    if (dir_make(lock_dir, e) < 0)
        return e->status;
    if (open_in(AT_FDCWD, lock_dir, O_RDONLY | O_DIRECTORY, &dir, e) < 0)
        return e->status;
    return open_in(dir, file, O_RDWR | O_CREAT, lock, e) < 0 ? error_prefix(e, "%s", lock_dir) : OK;
}

/* BUSY: of another run, which is alive. */
static int become_owner(int lock, const char *domain, struct error *e)
{
    struct flock own = {.l_type = F_WRLCK, .l_whence = SEEK_SET}, other = own;

    if (fcntl(lock, F_SETLK, &own) == 0)
        return OK;
    if (errno != EAGAIN && errno != EACCES)
        return error_errno(e, "lock of %s", domain);
    /* It may have ended since. */
    if (fcntl(lock, F_GETLK, &other) < 0 || other.l_type == F_UNLCK)
        return error_set(e, BUSY, "another domsnap is at work on %s; wait until it has ended",
                         domain);
    return error_set(e, BUSY,
                     "another domsnap (process %d) is at work on %s; wait until it has ended",
                     (int)other.l_pid, domain);
}

/* The kernel tells nobody when a lock is given back. */
static int wait_for_remnants(int lock, const char *domain, struct error *e)
{
    uint64_t deadline_ns = time_monotonic_ns() + REMNANTS_NS;

    while (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return error_errno(e, "lock of %s", domain);
        if (time_monotonic_ns() >= deadline_ns)
            return error_set(e, BUSY,
                             "a domsnap that was at work on %s has died, but not what it had begun "
                             "(an LVM command, perhaps); try again when that has ended",
                             domain);
        poll(&(struct pollfd){interrupt_fd(), POLLIN, 0}, 1, LOOK_AGAIN_MS);
        if (interrupt_check(e) < 0)
            return e->status;
    }
    return OK;
}

int lock_domain(int *lock, const char *lock_dir, const char *domain, struct error *e)
{
    AUTO_FREE char *file = format_text("%s.lock", domain);
    AUTO_CLOSE int fd = -1;

    if (!file)
        return error_set(e, NO_SPACE, "out of memory");
    if (open_lock(&fd, lock_dir, file, e) < 0)
        return e->status;
    if (become_owner(fd, domain, e) < 0)
        return e->status;
    if (wait_for_remnants(fd, domain, e) < 0)
        return e->status;
    *lock = fd;
    fd = -1;
    return OK;
}
