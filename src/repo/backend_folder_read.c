/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "repo/backend_folder_private.h"

struct local_opened {
    char name[BACKEND_NAME_MAX];
    int fd;
    int direct_fd;  /* the same file, past the page cache; -1: that can't be, or is not worth it */
    uint64_t bytes; /* objects never change */
    unsigned users; /* who reads it just now; being kept is one more */
    uint64_t last_use;
};

/* ---- opening one ---- */

static void free_opened(struct local_opened *o)
{
    if (!o)
        return;
    if (o->fd >= 0)
        close(o->fd);
    if (o->direct_fd >= 0)
        close(o->direct_fd);
    free(o);
}

/* What the disk can't give back is damaged; what is elsewhere is still to be had. EUCLEAN and
 * EBADMSG are what XFS and ext4 say of wrong checksums; ENODATA and EILSEQ come right from the
 * block layer (bad sector, protection), past the page cache only. */
static bool is_loss(int err)
{
    return err == EIO || err == EUCLEAN || err == EBADMSG || err == ENODATA || err == EILSEQ;
}

static int lost_or(int err, struct error *e)
{
    if (is_loss(err))
        e->status = DAMAGED;
    return e->status;
}

static bool is_pack(const char *name)
{
    return strncmp(name, FOLDER_PACKS "/", strlen(FOLDER_PACKS "/")) == 0;
}

/* Packs are read once and are far larger than memory: the page cache would only cost. */
static void open_direct(struct local_opened *o, int dirfd, const char *last, const struct stat *st)
{
    struct stat same;
    struct error e;

    if (open_in(dirfd, last, O_RDONLY, &o->direct_fd, &e) < 0)
        return;
    if (fcntl(o->direct_fd, F_SETFL, O_DIRECT) == 0 && fstat(o->direct_fd, &same) == 0 &&
        same.st_dev == st->st_dev && same.st_ino == st->st_ino)
        return;
    close(o->direct_fd);
    o->direct_fd = -1;
}

static int open_files(struct folder *f, const char *name, struct local_opened *o, struct error *e)
{
    AUTO_CLOSE int dirfd = -1;
    const char *last;
    struct stat st;

    if (local_of(f, name, FOLDER_ABSENT_FAILS, &dirfd, &last, e) < 0 ||
        open_in(dirfd, last, O_RDONLY, &o->fd, e) < 0) {
        int err = errno;

        if (e->status == NOT_FOUND)
            return error_set(e, NOT_FOUND, "%s: it is not there", name);
        error_prefix(e, "%s", name);
        return e->status == FAILED ? lost_or(err, e) : e->status;
    }
    if (fstat(o->fd, &st) < 0)
        return error_errno(e, "%s: stat", name);
    if (!S_ISREG(st.st_mode))
        return error_set(e, DAMAGED, "%s: it is not a regular file", name);
    /* It has been found not to be too long. */
    strncpy(o->name, name, sizeof o->name - 1);
    o->bytes = (uint64_t)st.st_size;
    if (is_pack(name))
        open_direct(o, dirfd, last, &st);
    return OK;
}

static int open_new(struct folder *f, const char *name, struct local_opened **out, struct error *e)
{
    struct local_opened *o = calloc(1, sizeof *o);

    if (!o)
        return error_set(e, NO_SPACE, "%s: out of memory", name);
    o->fd = o->direct_fd = -1;
    o->users = 1;
    if (open_files(f, name, o, e) < 0) {
        free_opened(o);
        return e->status;
    }
    *out = o;
    return OK;
}

/* ---- keeping them open ---- */

/* All that end in "_locked" are called with the mutex held. What this one returns is to be freed,
 * without it. */
static struct local_opened *let_go_locked(struct local_opened *o)
{
    return --o->users == 0 ? o : NULL;
}

static struct local_opened **find_locked(struct folder *f, const char *name)
{
    for (size_t i = 0; i < f->kept_count; i++)
        if (strcmp(f->kept[i]->name, name) == 0)
            return &f->kept[i];
    return NULL;
}

static struct local_opened **least_recent_locked(struct folder *f)
{
    struct local_opened **least = &f->kept[0];

    for (size_t i = 1; i < f->kept_count; i++)
        if (f->kept[i]->last_use < (*least)->last_use)
            least = &f->kept[i];
    return least;
}

/* NULL: it is not kept. `*removals` is for keep(). */
static struct local_opened *take_kept(struct folder *f, const char *name, uint64_t *removals)
{
    struct local_opened **at, *o = NULL;

    pthread_mutex_lock(&f->mutex);
    *removals = f->removals;
    at = find_locked(f, name);
    if (at) {
        o = *at;
        o->users++;
        o->last_use = ++f->uses;
    }
    pthread_mutex_unlock(&f->mutex);
    return o;
}

/* Not if another thread was faster, or if it may have been removed since it was opened. */
static void keep(struct folder *f, struct local_opened *o, uint64_t removals)
{
    struct local_opened *old = NULL, **at;

    pthread_mutex_lock(&f->mutex);
    if (f->removals == removals && !find_locked(f, o->name)) {
        if (f->kept_count < FOLDER_KEPT) {
            at = &f->kept[f->kept_count++];
        } else {
            at = least_recent_locked(f);
            old = let_go_locked(*at);
        }
        *at = o;
        o->users++;
        o->last_use = ++f->uses;
    }
    pthread_mutex_unlock(&f->mutex);
    free_opened(old);
}

static void let_go(struct folder *f, struct local_opened *o)
{
    pthread_mutex_lock(&f->mutex);
    o = let_go_locked(o);
    pthread_mutex_unlock(&f->mutex);
    free_opened(o);
}

void local_forget(struct folder *f, const char *name)
{
    struct local_opened **at, *o = NULL;

    pthread_mutex_lock(&f->mutex);
    f->removals++;
    at = find_locked(f, name);
    if (at) {
        o = let_go_locked(*at);
        *at = f->kept[--f->kept_count];
    }
    pthread_mutex_unlock(&f->mutex);
    free_opened(o);
}

void local_forget_all(struct folder *f)
{
    while (f->kept_count)
        free_opened(f->kept[--f->kept_count]);
}

/* ---- reading ---- */

static bool is_aligned(uint64_t offset, const void *to, size_t bytes)
{
    return (offset | (uintptr_t)to | bytes) % BACKEND_ALIGNMENT == 0;
}

/* Files of some file systems want more to be aligned than we know, and say so by EINVAL. */
static ssize_t read_some(const struct local_opened *o, void *to, size_t bytes, uint64_t offset)
{
    ssize_t n;

    if (o->direct_fd >= 0 && is_aligned(offset, to, bytes)) {
        n = pread(o->direct_fd, to, bytes, (off_t)offset);
        if (n >= 0 || errno != EINVAL)
            return n;
    }
    return pread(o->fd, to, bytes, (off_t)offset);
}

static int read_failed(const struct local_opened *o, uint64_t offset, struct error *e)
{
    int err = errno;

    error_errno(e, "%s: read at %" PRIu64, o->name, offset);
    /* Another host has removed it from a server, or the server has been exchanged. */
    if (err == ESTALE)
        e->status = AGAIN;
    return lost_or(err, e);
}

static int read_all(const struct local_opened *o, uint64_t offset, void *to, size_t bytes,
                    size_t *got, struct error *e)
{
    while (*got < bytes && offset + *got < o->bytes) {
        ssize_t n = read_some(o, (char *)to + *got, bytes - *got, offset + *got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return read_failed(o, offset + *got, e);
        /* Somebody has cut it. */
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return OK;
}

static int get_once(struct folder *f, const char *name, uint64_t offset, void *to, size_t bytes,
                    size_t *got, struct error *e)
{
    struct local_opened *o;
    uint64_t removals;
    int rc;

    *got = 0;
    o = take_kept(f, name, &removals);
    if (!o) {
        if (open_new(f, name, &o, e) < 0)
            return e->status;
        if (is_pack(name))
            keep(f, o, removals);
    }
    rc = read_all(o, offset, to, bytes, got, e);
    let_go(f, o);
    return rc;
}

int local_get(struct backend *b, const char *name, uint64_t offset, void *to, size_t bytes,
              size_t *got, struct error *e)
{
    struct folder *f = (struct folder *)b;
    int rc = get_once(f, name, offset, to, bytes, got, e);

    if (rc != AGAIN)
        return rc;
    local_forget(f, name);
    return get_once(f, name, offset, to, bytes, got, e);
}
