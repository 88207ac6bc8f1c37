/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver "folder": an object is a file of the same name. What is being written has no name at
 * all (O_TMPFILE), or where the file system can't do that, ".RUN-RANDOM.part" in packs/.
 */
#include "repo/backend_folder_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"

#define LEGAL "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static const char *const folders[] = {
    FOLDER_PACKS, "snapshots", "log", "state", "copy/snapshots", "copy/log", "copy/state",
};

/* ---- names ---- */

/* The length of what is in front of a slash or the end; 0: no object or folder is named so. */
static size_t part_length(const char *name)
{
    size_t n = strspn(name, LEGAL);

    return name[0] == '.' || (name[n] != '\0' && name[n] != '/') ? 0 : n;
}

static int open_or_make(int dirfd, const char *name, enum local_absent absent, int *fd,
                        struct error *e)
{
    int rc = open_in(dirfd, name, O_RDONLY | O_DIRECTORY, fd, e);

    if (rc != NOT_FOUND || absent == FOLDER_ABSENT_FAILS)
        return rc;
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return error_errno(e, "%s: mkdir", name);
    if (fsync(dirfd) < 0)
        return error_errno(e, "%s: make it durable", name);
    return open_in(dirfd, name, O_RDONLY | O_DIRECTORY, fd, e);
}

int local_walk(int dirfd, const char *path, enum local_absent absent, int *fd, struct error *e)
{
    AUTO_CLOSE int at = -1;
    char part[BACKEND_NAME_MAX];

    for (;;) {
        size_t n = part_length(path);
        int next;

        if (n == 0 || n >= sizeof part)
            return error_set(e, USAGE, "\"%s\": no folder of a repository has such a name", path);
        memcpy(part, path, n);
        part[n] = '\0';
        if (open_or_make(at < 0 ? dirfd : at, part, absent, &next, e) < 0)
            return e->status;
        if (at >= 0)
            close(at);
        at = next;
        if (path[n] == '\0')
            break;
        path += n + 1;
    }
    *fd = at;
    at = -1;
    return OK;
}

int local_of(const struct folder *f, const char *name, enum local_absent absent, int *fd,
             const char **last, struct error *e)
{
    const char *slash = strrchr(name, '/');
    char folder[BACKEND_NAME_MAX];

    *last = slash ? slash + 1 : name;
    if (strlen(name) >= BACKEND_NAME_MAX || part_length(*last) == 0)
        return error_set(e, USAGE, "\"%s\": no object has such a name", name);
    if (!slash)
        return open_in(f->dirfd, ".", O_RDONLY | O_DIRECTORY, fd, e);
    memcpy(folder, name, (size_t)(slash - name));
    folder[slash - name] = '\0';
    return local_walk(f->dirfd, folder, absent, fd, e);
}

/* ---- making and opening ---- */

static bool local_is_mine(const char *where)
{
    return !strstr(where, "://");
}

static int check_empty(const char *path, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = opendir(path);
    const char *file;

    if (!dir)
        return error_errno(e, "%s", path);
    file = dir_next(dir);
    if (!file && errno)
        return error_errno(e, "%s", path);
    return file ? error_set(e, BUSY,
                            "%s is not empty: it holds \"%s\"; name a folder that is not there yet "
                            "(or, if an interrupted init has left that, remove it)",
                            path, file)
                : OK;
}

static int local_make(const char *where, struct error *e)
{
    AUTO_CLOSE int dirfd = -1;

    if (dir_make(where, e) < 0 || check_empty(where, e) < 0)
        return e->status;
    dirfd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0 || fchmod(dirfd, 0700) < 0)
        return error_errno(e, "%s", where);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        AUTO_CLOSE int fd = -1;

        if (local_walk(dirfd, folders[i], FOLDER_ABSENT_IS_MADE, &fd, e) < 0)
            return error_prefix(e, "%s", where);
    }
    return OK;
}

static void local_close(struct backend *b)
{
    struct folder *f = (struct folder *)b;

    local_forget_all(f);
    if (f->dirfd >= 0)
        close(f->dirfd);
    pthread_mutex_destroy(&f->mutex);
    free(f->path);
    free(f);
}

static int local_open(struct backend **b, const char *where, struct error *e)
{
    struct folder *f = calloc(1, sizeof *f);

    if (!f)
        return error_out_of_memory(e);
    f->backend.driver = &backend_folder;
    pthread_mutex_init(&f->mutex, NULL);
    f->path = strdup(where);
    f->dirfd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->path && f->dirfd >= 0) {
        *b = &f->backend;
        return OK;
    }
    error_errno(e, "%s: open", where);
    local_close(&f->backend);
    return e->status;
}

/* ---- the objects of a folder ---- */

/* Whatever else lies there must not stop anything: "lost+found", a pipe, what somebody copies. */
static bool is_object(int dirfd, const char *name, struct stat *st, int *err)
{
    *err = 0;
    if (part_length(name) == 0)
        return false;
    if (fstatat(dirfd, name, st, AT_SYMLINK_NOFOLLOW) == 0)
        return S_ISREG(st->st_mode);
    /* It was removed meanwhile. */
    *err = errno == ENOENT ? 0 : errno;
    return false;
}

static int list_dir(DIR *dir, size_t name_max, backend_sink sink, void *arg, struct error *e)
{
    const char *name;
    struct stat st;
    int err;

    while ((name = dir_next(dir))) {
        if (strlen(name) > name_max)
            continue;
        if (is_object(dirfd(dir), name, &st, &err)) {
            if (sink(arg, name, (uint64_t)st.st_size, e) < 0)
                return e->status;
        } else if (err) {
            errno = err;
            return error_errno(e, "%s: stat", name);
        }
    }
    return errno ? error_errno(e, "list") : OK;
}

static int local_list(struct backend *b, const char *folder, backend_sink sink, void *arg,
                      struct error *e)
{
    struct folder *f = (struct folder *)b;
    AUTO_CLOSEDIR DIR *dir = NULL;
    int fd, rc;

    if (local_walk(f->dirfd, folder, FOLDER_ABSENT_FAILS, &fd, e) < 0)
        return e->status == NOT_FOUND ? OK : error_prefix(e, "%s", folder);
    dir = fdopendir(fd);
    if (!dir) {
        error_errno(e, "%s: open", folder);
        close(fd);
        return e->status;
    }
    rc = list_dir(dir, BACKEND_NAME_MAX - 2 - strlen(folder), sink, arg, e);
    return rc < 0 ? error_prefix(e, "%s", folder) : OK;
}

/* The folder is not synced: a power cut may bring the object back, which does no harm (nothing
 * needs what is removed), and objects are removed by the thousand. */
static int local_remove(struct backend *b, const char *name, struct error *e)
{
    struct folder *f = (struct folder *)b;
    AUTO_CLOSE int fd = -1;
    const char *last;

    if (local_of(f, name, FOLDER_ABSENT_FAILS, &fd, &last, e) < 0)
        return e->status == NOT_FOUND ? OK : error_prefix(e, "%s", name);
    if (unlinkat(fd, last, 0) < 0 && errno != ENOENT)
        return error_errno(e, "%s: remove", name);
    /* Only now: who reads it meanwhile must not have it kept again. */
    local_forget(f, name);
    return FAULT("object-removed", e);
}

static int local_room(struct backend *b, uint64_t *bytes, struct error *e)
{
    struct folder *f = (struct folder *)b;
    struct statvfs vfs;

    if (fstatvfs(f->dirfd, &vfs) < 0)
        return error_errno(e, "%s: free space", f->path);
    *bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return OK;
}

const struct backend_driver backend_folder = {
    .name = "folder",
    .is_mine = local_is_mine,
    .make = local_make,
    .open = local_open,
    .close = local_close,
    .list = local_list,
    .get = local_get,
    .create = local_create,
    .write = local_write,
    .publish = local_publish,
    .discard = local_discard,
    .remove = local_remove,
    .clean = local_clean,
    .room = local_room,
    .temporary = local_temporary,
};
