/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files: reading and writing whole, and in a way that survives a power cut. All files and folders
 * made here are private to their owner (0600, 0700) whatever the umask.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <dirent.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Move all `len` bytes, resuming short transfers. 0, or -1 with errno (EIO for an early end). */
int read_full(int fd, void *buf, size_t len);
int write_full(int fd, const void *buf, size_t len);
int pread_full(int fd, void *buf, size_t len, uint64_t offset);
int pwrite_full(int fd, const void *buf, size_t len, uint64_t offset);

/*
 * Open `name` in the folder `dirfd`, a file or, with O_DIRECTORY, a folder. DAMAGED: it is a
 * symbolic link. Where we keep our own there are none, so somebody has planted it. A new file is
 * 0600; a pipe in the place of a file is not waited for.
 */
int open_in(int dirfd, const char *name, int flags, int *fd, struct error *e);

/* The same, of a folder to list. */
int list_in(int dirfd, const char *name, DIR **dir, struct error *e);

/* The next name in it, but for "." and ".."; valid until the next call. NULL at the end, with errno
 * 0, or if it can't be read, with errno: what is left out by mistake may be taken for gone. */
const char *dir_next(DIR *dir);

/* A name that is new in a folder, or gone, is so durably once the folder is: fsync that of `path`.
 * 0, or -1 and errno. */
int sync_parent(const char *path);

/* mkdir -p, each new folder 0700 and durable in its parent. */
int dir_make(const char *path, struct error *e);

/* Write `name` in the folder `dirfd` so that after a crash there is the old file or the new one:
 * temporary file, fsync, rename, fsync of the folder. Replaces an existing file. */
int file_write_durable(int dirfd, const char *name, const void *data, size_t len, struct error *e);

/* Rename within a folder, unless `to` exists: 0, or -1 with errno (EEXIST). Where that can't be
 * done in one step, `from` may stay. */
int file_rename_new(int dirfd, const char *from, const char *to);

/* What file_write_durable() has left of `name` where it was killed, if it has. Writers of one name
 * hold one lock. */
int file_remove_temporary(int dirfd, const char *name, struct error *e);

/* JSON, bounded in size and with duplicate keys refused. `*out` is the caller's reference. */
int json_read(int dirfd, const char *name, size_t max_bytes, json_t **out, struct error *e);
int json_write_durable(int dirfd, const char *name, const json_t *json, struct error *e);

/* Size of an open regular file or block device. */
int file_size(int fd, const char *path, uint64_t *size_bytes, struct error *e);

/* asprintf() that cannot fail in the caller's face: NULL only when memory is short. */
char *format_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
