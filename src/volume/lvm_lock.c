/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/lvm_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/run.h"
#include "base/time.h"
#include "volume/dm.h"

#define CONFIG_TIMEOUT_S 60

/* flock() has no deadline. */
#define LOOK_AGAIN_MS 5

int lvm_lock_dir(char **dir, struct error *e)
{
    const char *const argv[] = {"lvmconfig", "--typeconfig", "full", "global/locking_dir", NULL};
    AUTO_FREE char *out = NULL;
    const char *begin, *end;

    if (run_program(&(struct run){.argv = argv, .timeout_s = CONFIG_TIMEOUT_S, .out = &out}, e) < 0)
        return e->status;
    begin = strchr(out, '"');
    end = begin ? strchr(begin + 1, '"') : NULL;
    if (!end)
        return error_set(e, FAILED, "lvmconfig printed \"%.100s\" as LVM's locking_dir", out);
    *dir = strndup(begin + 1, (size_t)(end - begin - 1));
    return *dir ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* Whoever gives the lock back removes the file, so the one that was waited for may not be it any
 * more. */
static bool is_there_yet(int fd, const char *file)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && stat(file, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* BUSY: another has it. */
static int try_lock(const char *file, int *lock, struct error *e)
{
    AUTO_CLOSE int fd = open(file, O_CREAT | O_APPEND | O_RDWR | O_CLOEXEC, 0700);

    if (fd < 0)
        return error_errno(e, "%s", file);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? error_set(e, BUSY, "%s is locked", file)
                                    : error_errno(e, "%s: lock", file);
    if (!is_there_yet(fd, file))
        return error_set(e, BUSY, "%s was removed", file);
    *lock = fd;
    fd = -1;
    return OK;
}

static int wait_for_lock(const char *dir, const char *vg, int timeout_ms, int *lock,
                         struct error *e)
{
    uint64_t deadline_ns = time_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
    AUTO_FREE char *file = format_text("%s/V_%s", dir, vg);

    if (!file)
        return error_set(e, NO_SPACE, "out of memory");
    while (try_lock(file, lock, e) < 0) {
        if (e->status != BUSY)
            return e->status;
        if (time_monotonic_ns() >= deadline_ns)
            return error_set(
                e, BUSY,
                "a command of LVM's is at work on volume group %s, or hangs; try again "
                "once it is done",
                vg);
        poll(NULL, 0, LOOK_AGAIN_MS);
    }
    return OK;
}

/* NOT_FOUND: the group has got another name while it was waited for. */
static int lock_by_name(const char *dir, const char *uuid, int timeout_ms, int *lock,
                        struct error *e)
{
    AUTO_FREE char *vg = NULL;
    AUTO_FREE char *lv = NULL;
    AUTO_FREE char *vg_now = NULL;
    AUTO_FREE char *lv_now = NULL;

    if (dm_lvm_names(uuid, &vg, &lv, e) < 0)
        return e->status;
    if (wait_for_lock(dir, vg, timeout_ms, lock, e) < 0)
        return e->status;
    if (dm_lvm_names(uuid, &vg_now, &lv_now, e) == OK && strcmp(vg, vg_now) == 0)
        return OK;
    close(*lock);
    *lock = -1;
    return vg_now ? error_set(e, NOT_FOUND, "volume group %s was renamed", vg) : e->status;
}

int lvm_lock_take(const char *dir, const char *uuid, int timeout_ms, int *lock, struct error *e)
{
    if (dir_make(dir, e) < 0)
        return e->status;
    if (lock_by_name(dir, uuid, timeout_ms, lock, e) == OK)
        return OK;
    return e->status == NOT_FOUND ? lock_by_name(dir, uuid, timeout_ms, lock, e) : e->status;
}
