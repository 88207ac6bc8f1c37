/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"

int read_full(int fd, void *buf, size_t len)
{
    while (len) {
        ssize_t n = read(fd, buf, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        buf = (char *)buf + n;
        len -= n;
    }
    return 0;
}

int write_full(int fd, const void *buf, size_t len)
{
    while (len) {
        ssize_t n = write(fd, buf, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        buf = (const char *)buf + n;
        len -= n;
    }
    return 0;
}

int pread_full(int fd, void *buf, size_t len, uint64_t offset)
{
    while (len) {
        ssize_t n = pread(fd, buf, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        buf = (char *)buf + n;
        len -= n;
        offset += n;
    }
    return 0;
}

int pwrite_full(int fd, const void *buf, size_t len, uint64_t offset)
{
    while (len) {
        ssize_t n = pwrite(fd, buf, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        buf = (const char *)buf + n;
        len -= n;
        offset += n;
    }
    return 0;
}

int open_in(int dirfd, const char *name, int flags, int *fd, struct error *e)
{
    struct stat st;
    int err;

    *fd = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (*fd >= 0)
        return OK;
    err = errno;
    if ((err == ELOOP || err == ENOTDIR) && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(st.st_mode))
        return error_set(e, DAMAGED, "%s is a symbolic link, and none is followed here", name);
    errno = err;
    return error_errno(e, "%s: open", name);
}

int list_in(int dirfd, const char *name, DIR **dir, struct error *e)
{
    int fd;

    if (open_in(dirfd, name, O_RDONLY | O_DIRECTORY, &fd, e) < 0)
        return e->status;
    *dir = fdopendir(fd);
    if (*dir)
        return OK;
    error_errno(e, "%s: open", name);
    close(fd);
    return e->status;
}

const char *dir_next(DIR *dir)
{
    struct dirent *entry;

    do {
        errno = 0;
        entry = readdir(dir);
    } while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry ? entry->d_name : NULL;
}

int sync_parent(const char *path)
{
    AUTO_FREE char *copy = strdup(path);
    AUTO_CLOSE int fd = -1;
    char *slash;

    if (!copy)
        return -1;
    slash = strrchr(copy, '/');
    if (slash)
        slash[slash == copy] = '\0';
    fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

int dir_make(const char *path, struct error *e)
{
    char copy[PATH_MAX];

    if (!*path || strlen(path) >= sizeof copy)
        return error_set(e, USAGE, "\"%s\": a path has 1 to %d bytes", path, PATH_MAX - 1);
    strcpy(copy, path);
    for (char *p = copy + 1;; p++) {
        char saved = *p;

        if (saved != '/' && saved != '\0')
            continue;
        *p = '\0';
        if (mkdir(copy, 0700) == 0) {
            if (sync_parent(copy) < 0)
                return error_errno(e, "%s: sync of its folder", copy);
        } else if (errno != EEXIST) {
            return error_errno(e, "%s: mkdir", copy);
        }
        *p = saved;
        if (saved == '\0')
            return OK;
    }
}

static char *temporary_name(const char *name)
{
    return format_text(".%s.new", name);
}

int file_remove_temporary(int dirfd, const char *name, struct error *e)
{
    AUTO_FREE char *temp = temporary_name(name);

    if (!temp)
        return error_set(e, NO_SPACE, "out of memory");
    if (unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT)
        return error_errno(e, "%s: remove", temp);
    return OK;
}

/* Keeps errno if not. */
static bool are_one_file(int dirfd, const char *a, const char *b)
{
    int saved = errno;
    struct stat x, y;

    if (fstatat(dirfd, a, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
        fstatat(dirfd, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_dev == y.st_dev &&
        x.st_ino == y.st_ino)
        return true;
    errno = saved;
    return false;
}

int file_rename_new(int dirfd, const char *from, const char *to)
{
    if (renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0)
        return 0;
    /* Not every file system has it (NFS); a link can't replace anything either. If it is there, it
     * may be that of a run that died before it unlinked. */
    if (errno != EINVAL ||
        (linkat(dirfd, from, dirfd, to, 0) < 0 && !are_one_file(dirfd, from, to)))
        return -1;
    unlinkat(dirfd, from, 0);
    return 0;
}

int file_write_durable(int dirfd, const char *name, const void *data, size_t len, struct error *e)
{
    AUTO_FREE char *temp = temporary_name(name);
    AUTO_CLOSE int fd = -1;

    if (!temp)
        return error_errno(e, "%s", name);
    if (file_remove_temporary(dirfd, name, e) < 0)
        return e->status;
    fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(e, "%s: create", temp);
    if (write_full(fd, data, len) < 0 || fsync(fd) < 0 || FAULT("file-written", e) < 0 ||
        renameat(dirfd, temp, dirfd, name) < 0 || FAULT("file-renamed", e) < 0 ||
        fsync(dirfd) < 0) {
        int rc = error_errno(e, "%s: write", name);

        unlinkat(dirfd, temp, 0);
        return rc;
    }
    return OK;
}

int json_read(int dirfd, const char *name, size_t max_bytes, json_t **out, struct error *e)
{
    AUTO_CLOSE int fd = -1;
    AUTO_FREE char *text = NULL;
    json_error_t why;
    struct stat st;

    if (open_in(dirfd, name, O_RDONLY, &fd, e) < 0)
        return e->status;
    if (fstat(fd, &st) < 0)
        return error_errno(e, "%s: stat", name);
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)max_bytes)
        return error_set(e, DAMAGED, "%s: not a file of at most %zu bytes", name, max_bytes);
    text = malloc((size_t)st.st_size + 1);
    if (!text || read_full(fd, text, (size_t)st.st_size) < 0)
        return error_errno(e, "%s: read", name);
    *out = json_loadb(text, (size_t)st.st_size, JSON_REJECT_DUPLICATES, &why);
    if (!*out)
        return error_set(e, DAMAGED, "%s: line %d: not valid JSON: %s", name, why.line, why.text);
    return OK;
}

int json_write_durable(int dirfd, const char *name, const json_t *json, struct error *e)
{
    AUTO_FREE char *text = json_dumps(json, JSON_INDENT(2));
    AUTO_FREE char *lines = text ? format_text("%s\n", text) : NULL;

    if (!lines)
        return error_set(e, NO_SPACE, "%s: out of memory", name);
    return file_write_durable(dirfd, name, lines, strlen(lines), e);
}

int file_size(int fd, const char *path, uint64_t *size_bytes, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_errno(e, "%s: stat", path);
    if (S_ISREG(st.st_mode)) {
        *size_bytes = (uint64_t)st.st_size;
        return OK;
    }
    if (!S_ISBLK(st.st_mode))
        return error_set(e, UNSUPPORTED, "%s: neither a file nor a block device", path);
    if (ioctl(fd, BLKGETSIZE64, size_bytes) < 0)
        return error_errno(e, "%s: BLKGETSIZE64", path);
    return OK;
}

char *format_text(const char *fmt, ...)
{
    va_list ap;
    char *text;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    return n < 0 ? NULL : text;
}
