/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/store_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/seal.h"

#define FORMAT           "domsnap-repository"
#define VERSION          1
#define CONFIG_MAX_BYTES 4096

#define LOCK_POLL_MS 200

/* ---- making and opening ---- */

static bool is_chunk_size(json_int_t bytes)
{
    return bytes >= CHUNK_MIN_BYTES && bytes <= CHUNK_MAX_BYTES && (bytes & (bytes - 1)) == 0;
}

static int write_config(int dirfd, uint32_t chunk_bytes, struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    uint8_t random[16];
    char id[33];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return error_errno(e, "random number");
    hex_put(id, random, sizeof random);
    config =
        json_pack("{s:s, s:i, s:s, s:I, s:s, s:s}", "format", FORMAT, "version", VERSION, "id", id,
                  "chunk_bytes", (json_int_t)chunk_bytes, "hash", "sha256", "cipher", "none");
    if (!config)
        return error_set(e, NO_SPACE, "out of memory");
    return seal_write(dirfd, "config", config, e);
}

static int check_empty(const char *path, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = opendir(path);
    const char *file;

    if (!dir)
        return error_errno(e, "%s", path);
    file = dir_next(dir);
    return file ? error_set(e, BUSY,
                            "%s is not empty: it holds \"%s\"; name a folder that is not there yet "
                            "(or, if an interrupted init has left that, remove it)",
                            path, file)
                : OK;
}

int store_init(const char *path, uint32_t chunk_bytes, struct error *e)
{
    static const char *const folders[] = {"packs", "index", "snapshots", "locks"};
    AUTO_CLOSE int dirfd = -1;

    if (!is_chunk_size(chunk_bytes))
        return error_set(e, USAGE, "chunks of %u bytes: it must be a power of two from %u to %u",
                         chunk_bytes, CHUNK_MIN_BYTES, CHUNK_MAX_BYTES);
    if (dir_make(path, e) < 0 || check_empty(path, e) < 0)
        return e->status;
    dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0 || fchmod(dirfd, 0700) < 0)
        return error_errno(e, "%s", path);
    for (size_t i = 0; i < 4; i++)
        if (mkdirat(dirfd, folders[i], 0700) < 0)
            return error_errno(e, "%s/%s", path, folders[i]);
    /* Last: without it the folder is no repository. */
    return write_config(dirfd, chunk_bytes, e) < 0 ? error_prefix(e, "%s", path) : OK;
}

static int no_repository(struct error *e)
{
    return error_set(
        e, NOT_FOUND,
        "it is no repository; is its file system mounted? (`domsnap init` makes a new one)");
}

static int read_config(struct store *s, struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    const char *format, *hash, *cipher;
    json_int_t version, chunk_bytes;

    if (json_read(s->dirfd, "config", CONFIG_MAX_BYTES, &config, e) < 0)
        return e->status == NOT_FOUND ? no_repository(e) : e->status;
    format = json_string_value(json_object_get(config, "format"));
    if (!format || strcmp(format, FORMAT) != 0)
        return error_set(e, DAMAGED, "its config is not that of a repository");
    version = json_integer_value(json_object_get(config, "version"));
    if (version != VERSION)
        return error_set(
            e, UNSUPPORTED,
            "a repository of version %lld, and this domsnap knows version %d; use a newer one",
            (long long)version, VERSION);
    if (seal_check(config, e) < 0)
        return error_prefix(e, "config");
    hash = json_string_value(json_object_get(config, "hash"));
    cipher = json_string_value(json_object_get(config, "cipher"));
    if (!hash || strcmp(hash, "sha256") != 0 || !cipher || strcmp(cipher, "none") != 0)
        return error_set(e, UNSUPPORTED,
                         "it uses a hash or a cipher that this domsnap does not know");
    chunk_bytes = json_integer_value(json_object_get(config, "chunk_bytes"));
    if (!is_chunk_size(chunk_bytes))
        return error_set(e, DAMAGED, "its chunks have %lld bytes", (long long)chunk_bytes);
    s->chunk_bytes = (uint32_t)chunk_bytes;
    return OK;
}

/* Somebody removes packs, and that ends. A lock can't be waited for together with the user's wish to stop. */
static int wait_for_lock(int lock, struct error *e)
{
    struct pollfd fd = {interrupt_fd(), POLLIN, 0};

    log_note("another domsnap frees space in the repository; waiting for it");
    while (flock(lock, LOCK_SH | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return error_errno(e, "locks/use");
        if (interrupt_check(e) < 0)
            return e->status;
        poll(&fd, 1, LOCK_POLL_MS);
    }
    return OK;
}

static int take_lock(struct store *s, enum store_use use, struct error *e)
{
    /* What is only read may be on a file system that can't be written. */
    int access = use == STORE_EXCLUSIVE ? O_RDWR : O_RDONLY;
    AUTO_CLOSE int locks = -1;

    if (open_in(s->dirfd, "locks", O_RDONLY | O_DIRECTORY, &locks, e) < 0)
        return e->status;
    if (open_in(locks, "use", access | O_CREAT, &s->lock, e) < 0)
        return error_prefix(e, "locks");
    if (flock(s->lock, (use == STORE_EXCLUSIVE ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        return OK;
    if (errno != EWOULDBLOCK)
        return error_errno(e, "locks/use");
    return use == STORE_EXCLUSIVE ? error_set(e, BUSY, "another domsnap uses it just now")
                                  : wait_for_lock(s->lock, e);
}

static int open_packs(struct store *s, struct error *e)
{
    return open_in(s->dirfd, "packs", O_RDONLY | O_DIRECTORY, &s->packs_dirfd, e);
}

int store_open(struct store **out, const char *path, enum store_use use, struct error *e)
{
    struct store *s = calloc(1, sizeof *s);

    if (!s)
        return error_errno(e, "%s", path);
    s->lock = s->packs_dirfd = -1;
    pthread_mutex_init(&s->mutex, NULL);
    s->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dirfd < 0)
        errno == ENOENT ? no_repository(e) : error_errno(e, "open");
    else if (read_config(s, e) == OK && take_lock(s, use, e) == OK && open_packs(s, e) == OK &&
             (use == STORE_RECORDS || index_open(&s->index, s->dirfd, e) == OK)) {
        *out = s;
        return OK;
    }
    store_close(s);
    return error_prefix(e, "repository %s", path);
}

int store_none(struct store **out, uint32_t chunk_bytes, struct error *e)
{
    struct store *s = calloc(1, sizeof *s);

    if (!s)
        return error_set(e, NO_SPACE, "out of memory");
    s->dirfd = s->lock = s->packs_dirfd = -1;
    s->chunk_bytes = chunk_bytes;
    pthread_mutex_init(&s->mutex, NULL);
    *out = s;
    return OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    index_close(s->index);
    for (size_t i = 0; i < s->unsaved_count; i++)
        pack_discard(s->packs_dirfd, s->unsaved[i]);
    free(s->unsaved);
    if (s->packs_dirfd >= 0)
        close(s->packs_dirfd);
    if (s->lock >= 0)
        close(s->lock);
    if (s->dirfd >= 0)
        close(s->dirfd);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

uint32_t store_chunk_bytes(const struct store *s)
{
    return s->chunk_bytes;
}

int store_dirfd(const struct store *s)
{
    return s->dirfd;
}

struct index *store_index(struct store *s)
{
    return s->index;
}

int store_temporary(const struct store *s, int *fd, uint64_t *free_bytes, struct error *e)
{
    struct statvfs fs;

    *fd = openat(s->packs_dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    /* NFS, for one, has none without names. */
    if (*fd < 0 && errno == EOPNOTSUPP) {
        *fd = openat(s->packs_dirfd, ".temporary", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (*fd >= 0)
            unlinkat(s->packs_dirfd, ".temporary", 0);
    }
    if (*fd < 0 || fstatvfs(*fd, &fs) < 0)
        return error_errno(e, "packs: temporary file");
    *free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return OK;
}

int store_save(struct store *s, struct error *e)
{
    struct error why;

    if (keeps_nothing(s))
        return OK;
    /* In the order in which they were closed: what a patch is of comes before it. */
    for (size_t i = 0; i < s->unsaved_count; i++)
        if (pack_publish(s->packs_dirfd, s->unsaved[i], e) < 0)
            return e->status;
    s->unsaved_count = 0;
    if (fsync(s->packs_dirfd) < 0)
        return error_errno(e, "packs: make them durable");
    if (index_save(s->index, &why) < 0)
        log_warning("the index could not be written, which costs time when it is needed next: %s",
                    why.text);
    return OK;
}
