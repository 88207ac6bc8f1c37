/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shelf/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/seal.h"

/* A manifest of 256 disks has some 100 KiB. */
#define MANIFEST_MAX_BYTES (1u << 20)

static char *staged_name(const char *name)
{
    return format_text(".%s.part", name);
}

int folder_open(const char *path, int *dirfd, struct error *e)
{
    *dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *dirfd < 0 ? error_errno(e, "%s: open", path) : OK;
}

int folder_open_resolved(const char *path, int *dirfd, struct error *e)
{
    return open_in(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, dirfd, e);
}

int folder_check_free(int dirfd, const json_t *names, struct error *e)
{
    const json_t *item;
    struct stat st;
    size_t i;

    if (faccessat(dirfd, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return error_errno(e, "can't write there");
    json_array_foreach (names, i, item) {
        const char *name = json_string_value(item);
        AUTO_FREE char *staged = staged_name(name);

        if (!staged)
            return error_set(e, NO_SPACE, "out of memory");
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return error_set(e, BUSY, "%s exists, and nothing is overwritten; take another folder",
                             name);
        if (fstatat(dirfd, staged, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return error_set(e, BUSY,
                             "%s exists: somebody else writes there, or an interrupted run "
                             "left it (`domsnap recover`)",
                             staged);
    }
    return OK;
}

int folder_space(int dirfd, uint64_t *free_bytes, struct error *e)
{
    struct statvfs vfs;

    if (fstatvfs(dirfd, &vfs) < 0)
        return error_errno(e, "free space");
    *free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return OK;
}

int folder_stage(int dirfd, const char *name, int *fd, struct error *e)
{
    AUTO_FREE char *staged = staged_name(name);

    if (!staged)
        return error_set(e, NO_SPACE, "out of memory");
    *fd = openat(dirfd, staged, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *fd < 0 ? error_errno(e, "%s: create", name) : FAULT("folder-file-made", e);
}

int folder_write_manifest(int dirfd, const struct manifest *m, struct error *e)
{
    AUTO_FREE char *staged = staged_name(FOLDER_MANIFEST);
    AUTO_JSON json_t *json = manifest_to_json(m);

    if (!staged || !json)
        return error_set(e, NO_SPACE, "out of memory");
    return seal_write(dirfd, staged, json, e);
}

/* By a run before us. */
static bool was_published(int dirfd, const char *name, int err)
{
    struct stat st;

    return err == ENOENT && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int folder_publish(int dirfd, const json_t *names, struct error *e)
{
    const json_t *item;
    size_t i;

    json_array_foreach (names, i, item) {
        const char *name = json_string_value(item);
        AUTO_FREE char *staged = staged_name(name);

        if (!staged)
            return error_set(e, NO_SPACE, "out of memory");
        if (file_rename_new(dirfd, staged, name) < 0 && !was_published(dirfd, name, errno))
            return error_errno(e, "%s: give it its final name", name);
        if (FAULT("folder-file-published", e) < 0)
            return e->status;
        /* The manifest, last, says that the others are there: they must be first on the disk too.
         */
        if (fsync(dirfd) < 0)
            return error_errno(e, "make the folder durable");
    }
    return OK;
}

int folder_abandon(int dirfd, const json_t *names, struct error *e)
{
    const json_t *item;
    size_t i;

    json_array_foreach (names, i, item) {
        AUTO_FREE char *staged = staged_name(json_string_value(item));
        AUTO_FREE char *half = staged ? format_text(".%s.new", staged) : NULL;

        if (!half)
            return error_set(e, NO_SPACE, "out of memory");
        if ((unlinkat(dirfd, staged, 0) < 0 && errno != ENOENT) ||
            (unlinkat(dirfd, half, 0) < 0 && errno != ENOENT))
            return error_errno(e, "%s: remove", staged);
        if (FAULT("folder-file-removed", e) < 0)
            return e->status;
    }
    /* The journal, which may be on another disk, forgets them next. */
    return fsync(dirfd) < 0 ? error_errno(e, "make the folder durable") : OK;
}

int folder_read_manifest(int dirfd, struct manifest *m, struct error *e)
{
    AUTO_JSON json_t *json = NULL;

    if (json_read(dirfd, FOLDER_MANIFEST, MANIFEST_MAX_BYTES, &json, e) < 0)
        return e->status;
    if (seal_check(json, e) < 0 || manifest_parse(m, json, MANIFEST_FOLDER, e) < 0)
        return error_prefix(e, FOLDER_MANIFEST);
    return OK;
}

int folder_open_file(int dirfd, const struct manifest_file *f, int *fd, struct error *e)
{
    uint64_t size;

    if (open_in(dirfd, f->file, O_RDONLY, fd, e) < 0)
        return e->status;
    if (file_size(*fd, f->file, &size, e) == OK) {
        if (size == f->bytes)
            return OK;
        error_set(e, DAMAGED, "%s has %" PRIu64 " bytes, and the manifest says %" PRIu64, f->file,
                  size, f->bytes);
    }
    close(*fd);
    *fd = -1;
    return e->status;
}
