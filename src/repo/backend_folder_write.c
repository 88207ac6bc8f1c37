/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/hex.h"
#include "repo/backend_folder_private.h"

/* From here on room is taken at once, and the page cache left out. */
#define LARGE_BYTES (1u << 20)

/* ".RUN-RANDOM.part", the two being 16 hexadecimal digits. */
#define DIGITS     16
#define PART_END   ".part"
#define PART_BYTES (1 + DIGITS + 1 + DIGITS + sizeof PART_END)

struct local_object {
    struct backend_object object;
    int packs; /* the folder */
    int fd;
    atomic_bool is_direct;
    char part[PART_BYTES]; /* "": it has no name */
};

static struct folder *local_behind(struct backend *b)
{
    return (struct folder *)b;
}

/* ---- creating ---- */

static int open_part(struct local_object *o, const char *run)
{
    char hex[DIGITS + 1];
    uint8_t random[DIGITS / 2];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return -1;
    hex_put(hex, random, sizeof random);
    snprintf(o->part, sizeof o->part, ".%.*s-%s" PART_END, DIGITS, run, hex);
    return openat(o->packs, o->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* A kill leaves nothing of a file without a name. Not every file system has them (NFS), and each
 * says so in its own way: whatever goes wrong, a name is tried. */
static int open_file(struct local_object *o, const char *run)
{
    o->fd = openat(o->packs, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (o->fd < 0)
        o->fd = open_part(o, run);
    return o->fd < 0 ? -1 : 0;
}

/* All at once: else each write would wait for its own blocks. What can't do it does without, and
 * where there is no room for all of it there may be for what comes. */
static void prepare_large(struct local_object *o, uint64_t bytes)
{
    (void)!fallocate(o->fd, 0, 0, (off_t)bytes);
    /* Not when it is opened: some file systems would make the file and only then refuse. */
    o->is_direct = fcntl(o->fd, F_SETFL, O_DIRECT) == 0;
}

int local_create(struct backend *b, const char *run, uint64_t bytes, struct backend_object **out,
                 struct error *e)
{
    struct folder *f = local_behind(b);
    struct local_object *o = calloc(1, sizeof *o);

    *out = NULL;
    if (!o)
        return error_out_of_memory(e);
    o->object.backend = b;
    o->packs = o->fd = -1;
    if (local_walk(f->dirfd, FOLDER_PACKS, FOLDER_ABSENT_IS_MADE, &o->packs, e) < 0) {
        error_prefix(e, "%s", f->path);
    } else if (open_file(o, run) < 0) {
        error_errno(e, "%s/" FOLDER_PACKS ": create a file", f->path);
    } else {
        if (bytes >= LARGE_BYTES)
            prepare_large(o, bytes);
        *out = &o->object;
        return OK;
    }
    local_discard(&o->object);
    return e->status;
}

void local_discard(struct backend_object *object)
{
    struct local_object *o = (struct local_object *)object;

    if (!o)
        return;
    /* Before the unlink: NFS would rename what is open. */
    if (o->fd >= 0)
        close(o->fd);
    if (o->fd >= 0 && *o->part)
        unlinkat(o->packs, o->part, 0);
    if (o->packs >= 0)
        close(o->packs);
    free(o);
}

/* ---- writing ---- */

/* The flag first: who sees that it is not direct must find it so. */
static void make_buffered(struct local_object *o)
{
    fcntl(o->fd, F_SETFL, 0);
    o->is_direct = false;
}

int local_write(struct backend_object *object, const void *data, size_t bytes, uint64_t offset,
                struct error *e)
{
    struct local_object *o = (struct local_object *)object;
    bool was_direct = o->is_direct;
    int rc;

    if (was_direct && (offset | (uintptr_t)data | bytes) % BACKEND_ALIGNMENT != 0) {
        make_buffered(o);
        was_direct = false;
    }
    rc = pwrite_full(o->fd, data, bytes, offset);
    /* Some want more to be aligned than we know. */
    if (rc < 0 && errno == EINVAL && was_direct) {
        make_buffered(o);
        rc = pwrite_full(o->fd, data, bytes, offset);
    }
    if (rc < 0)
        return error_errno(e, "write at %" PRIu64, offset);
    return FAULT("object-written", e);
}

/* ---- publishing ---- */

static int link_part(const struct local_object *o, int folder, const char *last)
{
    if (linkat(o->packs, o->part, folder, last, 0) == 0)
        return 0;
    /* FAT, for one, has no links. */
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
        return -1;
    return renameat2(o->packs, o->part, folder, last, RENAME_NOREPLACE);
}

static int link_nameless(const struct local_object *o, int folder, const char *last)
{
    char path[32];

    if (linkat(o->fd, "", folder, last, AT_EMPTY_PATH) == 0)
        return 0;
    /* It takes CAP_DAC_READ_SEARCH, and says ENOENT without; a link in /proc does not. */
    if (errno != ENOENT)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", o->fd);
    return linkat(AT_FDCWD, path, folder, last, AT_SYMLINK_FOLLOW);
}

/* Where a server's answer was lost, the request is sent again, and fails because it was done. */
static bool is_linked(const struct local_object *o, int folder, const char *last)
{
    struct stat ours, found;

    if (fstat(o->fd, &ours) < 0)
        return false;
    if (ours.st_nlink > (*o->part ? 1 : 0))
        return true;
    return fstatat(folder, last, &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_dev == ours.st_dev &&
           found.st_ino == ours.st_ino;
}

static int give_name(const struct local_object *o, int folder, const char *last, struct error *e)
{
    int err;

    if ((*o->part ? link_part(o, folder, last) : link_nameless(o, folder, last)) == 0)
        return OK;
    err = errno;
    if (is_linked(o, folder, last))
        return OK;
    if (err == EEXIST)
        return error_set(e, BUSY, "there is one of this name already");
    if (err == EINVAL)
        return error_set(e, UNSUPPORTED,
                         "its file system has neither links nor a rename that replaces nothing, "
                         "so that no repository can be kept there");
    errno = err;
    return error_errno(e, "give it its name");
}

static int publish(struct local_object *o, const char *name, uint64_t bytes, struct error *e)
{
    AUTO_CLOSE int folder = -1;
    const char *last;

    /* Cut: the last write was rounded up, and more room was taken than it needs. */
    if (ftruncate(o->fd, (off_t)bytes) < 0 || fdatasync(o->fd) < 0)
        return error_errno(e, "make it durable");
    if (FAULT("object-durable", e) < 0)
        return e->status;
    if (local_of(local_behind(o->object.backend), name, FOLDER_ABSENT_IS_MADE, &folder, &last, e) <
        0)
        return e->status;
    if (give_name(o, folder, last, e) < 0)
        return e->status;
    if (FAULT("object-published", e) < 0)
        return e->status;
    return fsync(folder) < 0 ? error_errno(e, "make its name durable") : OK;
}

int local_publish(struct backend_object *object, const char *name, uint64_t bytes,
                  const uint8_t sum[32], struct error *e)
{
    int rc = publish((struct local_object *)object, name, bytes, e);

    (void)sum; /* between us and the disk nobody checks it */
    local_discard(object);
    return rc < 0 ? error_prefix(e, "%s", name) : OK;
}

/* ---- what others have left ---- */

static bool are_digits(const char *text)
{
    return strspn(text, "0123456789abcdef") >= DIGITS;
}

static bool take_part_name(const char *name, char run[DIGITS + 1])
{
    if (strlen(name) != PART_BYTES - 1 || name[0] != '.')
        return false;
    if (!are_digits(name + 1) || name[1 + DIGITS] != '-' || !are_digits(name + 2 + DIGITS))
        return false;
    if (strcmp(name + 2 + 2 * DIGITS, PART_END) != 0)
        return false;
    memcpy(run, name + 1, DIGITS);
    run[DIGITS] = '\0';
    return true;
}

static int remove_part(int dirfd, const char *name, uint64_t *bytes, struct error *e)
{
    struct stat st;

    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? OK : error_errno(e, "%s: stat", name);
    if (!S_ISREG(st.st_mode))
        return OK;
    if (unlinkat(dirfd, name, 0) < 0)
        return errno == ENOENT ? OK : error_errno(e, "%s: remove", name);
    /* Else it was published, and its writer killed right after. */
    if (st.st_nlink == 1)
        *bytes += (uint64_t)st.st_blocks * 512;
    return OK;
}

int local_clean(struct backend *b, bool (*is_live)(void *arg, const char *run), void *arg,
                uint64_t *bytes, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    char run[DIGITS + 1];
    const char *name;

    *bytes = 0;
    if (list_in(local_behind(b)->dirfd, FOLDER_PACKS, &dir, e) < 0)
        return e->status == NOT_FOUND ? OK : e->status;
    while ((name = dir_next(dir))) {
        if (!take_part_name(name, run) || is_live(arg, run))
            continue;
        if (remove_part(dirfd(dir), name, bytes, e) < 0)
            return error_prefix(e, FOLDER_PACKS);
    }
    return errno ? error_errno(e, FOLDER_PACKS ": list") : OK;
}

/* ---- files that are no objects ---- */

int local_temporary(struct backend *b, int *fd, uint64_t *free_bytes, struct error *e)
{
    struct folder *f = local_behind(b);
    struct local_object o = {.fd = -1, .packs = -1};
    struct statvfs vfs;
    int rc = OK;

    *fd = -1;
    if (local_walk(f->dirfd, FOLDER_PACKS, FOLDER_ABSENT_IS_MADE, &o.packs, e) < 0)
        return error_prefix(e, "%s", f->path);
    /* No run: should it be killed here, it is nobody's who lives. */
    if (open_file(&o, "0000000000000000") < 0 || fstatvfs(o.fd, &vfs) < 0)
        rc = error_errno(e, "%s/" FOLDER_PACKS ": temporary file", f->path);
    if (o.fd >= 0 && *o.part)
        unlinkat(o.packs, o.part, 0);
    close(o.packs);
    if (rc == OK) {
        *fd = o.fd;
        *free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    } else if (o.fd >= 0) {
        close(o.fd);
    }
    return rc;
}
