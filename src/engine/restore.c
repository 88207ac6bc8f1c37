/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * restore: a domain back to the instant that a folder holds.
 *
 *     read     manifest and save file's head; the volumes; everything compared; nothing is touched
 *     verify   every byte against its sum
 *     replace  commit point: the journal says so; a running domain of this name is destroyed
 *     write    the images onto the volumes
 *     start    the save file through a pipe into the toolstack's own restore; without RAM, a boot
 *              from the configuration
 *
 * Past the commit point there is only forward: the journal names the folder, and recover does it
 * again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/time.h"
#include "copy/copy.h"
#include "domain/savefile.h"
#include "engine/engine.h"
#include "engine/journal.h"
#include "repo/folder.h"

struct restoration {
    struct engine *engine;
    const struct restore_params *params;
    char *folder; /* absolute */
    int dirfd;
    struct manifest m;
    struct domain saved;      /* the configuration in the save file */
    struct volume **volumes;  /* one a disk of the manifest */
    int start_fd, *image_fds; /* what the domain is started from: its RAM, or its configuration */
    struct copy *copies;
    struct domain_id running; /* destroyed before; domid 0: there is none */
    struct journal journal;
};

/* What the domain is started from. */
static const struct manifest_file *start_file(const struct restoration *r)
{
    return r->m.ram.file ? &r->m.ram : &r->m.config;
}

/* ---- read ---- */

static int open_folder(struct restoration *r, struct error *e)
{
    r->folder = realpath(r->params->folder, NULL);
    if (!r->folder)
        return error_errno(e, "%s", r->params->folder);
    if (folder_open(r->folder, &r->dirfd, e) < 0)
        return e->status;
    if (folder_read_manifest(r->dirfd, &r->m, e) == OK)
        return OK;
    if (e->status == NOT_FOUND)
        return error_set(e, NOT_FOUND,
                         "%s has no manifest.json: it holds no snapshot; for files made by hand, "
                         "`domsnap import` writes one",
                         r->folder);
    return error_prefix(e, "%s", r->folder);
}

static int allocate(struct restoration *r, struct error *e)
{
    r->volumes = calloc(r->m.disk_count + 1, sizeof *r->volumes);
    r->image_fds = calloc(r->m.disk_count + 1, sizeof *r->image_fds);
    r->copies = calloc(r->m.disk_count + 1, sizeof *r->copies);
    if (!r->volumes || !r->image_fds || !r->copies)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < r->m.disk_count; i++)
        r->image_fds[i] = -1;
    return OK;
}

static int open_files(struct restoration *r, struct error *e)
{
    if (allocate(r, e) < 0 || folder_open_file(r->dirfd, start_file(r), &r->start_fd, e) < 0)
        return e->status;
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (folder_open_file(r->dirfd, &r->m.disks[i].image, &r->image_fds[i], e) < 0)
            return e->status;
    return OK;
}

/* The domain that will run is the one in the save file; the manifest must speak of the same. */
static int read_saved_domain(struct restoration *r, struct error *e)
{
    AUTO_JSON json_t *config = NULL;

    if (!r->m.ram.file)
        return OK;
    if (savefile_read_head(r->start_fd, &config, e) < 0 || domain_parse(&r->saved, config, e) < 0)
        return error_prefix(e, "%s", r->m.ram.file);
    if (strcmp(r->saved.name, r->m.domain_name) != 0)
        return error_set(e, DAMAGED, "manifest.json is of %s, and %s of %s", r->m.domain_name,
                         r->m.ram.file, r->saved.name);
    for (size_t i = 0; i < r->m.disk_count; i++) {
        const struct manifest_disk *d = &r->m.disks[i];
        size_t j = 0;

        while (j < r->saved.disk_count && strcmp(r->saved.disks[j].vdev, d->vdev) != 0)
            j++;
        if (j == r->saved.disk_count || strcmp(r->saved.disks[j].path, d->path) != 0)
            return error_set(e, DAMAGED, "manifest.json has disk %s on %s, and %s does not",
                             d->vdev, d->path, r->m.ram.file);
    }
    return OK;
}

static int open_volume(struct restoration *r, size_t i, struct error *e)
{
    const struct manifest_disk *d = &r->m.disks[i];

    if (volume_open(r->engine->volumes, d->path, &r->volumes[i], e) < 0) {
        if (e->status == NOT_FOUND)
            error_append(e, "make it first, with %" PRIu64 " bytes (lvcreate, truncate)",
                         d->image.bytes);
        return error_prefix(e, "disk %s", d->vdev);
    }
    if (r->volumes[i]->size_bytes == d->image.bytes)
        return OK;
    return error_set(e, UNSUPPORTED,
                     "disk %s: the image has %" PRIu64 " bytes, and %s has %" PRIu64
                     "; they must be the same (lvresize, truncate)",
                     d->vdev, d->image.bytes, d->path, r->volumes[i]->size_bytes);
}

/* Find whom we would replace, and whether we may. */
static int look_for_running(struct restoration *r, struct error *e)
{
    struct domain running;
    int rc = r->engine->domains->describe(r->engine->host, r->m.domain_name, &running, e);

    if (rc == NOT_FOUND)
        return OK;
    if (rc < 0)
        return rc;
    r->running = (struct domain_id){r->m.domain_name, running.domid, ""};
    memcpy(r->running.uuid, running.uuid, sizeof running.uuid);
    domain_release(&running);
    if (r->params->replace)
        return OK;
    return error_set(e, BUSY, "%s is running; --replace destroys it and takes its place",
                     r->m.domain_name);
}

/* With nobody to replace, nobody may use the volumes. (Else this is seen once the domain is gone.)
 */
static int check_idle(struct restoration *r, struct error *e)
{
    for (size_t i = 0; !r->running.domid && i < r->m.disk_count; i++) {
        int fd;

        if (volume_open_idle(r->volumes[i], &fd, e) < 0)
            return error_prefix(e, "disk %s", r->m.disks[i].vdev);
        close(fd);
    }
    return OK;
}

static int read_all(struct restoration *r, struct error *e)
{
    progress_begin(&r->engine->progress, "read", 0);
    if (open_files(r, e) < 0 || read_saved_domain(r, e) < 0)
        return error_prefix(e, "%s", r->folder);
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (open_volume(r, i, e) < 0)
            return e->status;
    return look_for_running(r, e) < 0 ? e->status : check_idle(r, e);
}

/* ---- verify and write: the same copies, to nothing or to the volumes ---- */

static uint64_t images_bytes(const struct restoration *r)
{
    uint64_t total = 0;

    for (size_t i = 0; i < r->m.disk_count; i++)
        total += r->m.disks[i].image.bytes;
    return total;
}

static void fill_copy(struct copy *p, struct restoration *r, int fd, const struct manifest_file *f)
{
    *p = (struct copy){
        .source = fd,
        .target = -1,
        .source_name = f->file,
        .size_bytes = f->bytes,
        .kind = COPY_TO_NOTHING,
        .progress = &r->engine->progress,
    };
}

static int compare_sum(const struct copy *p, const struct manifest_file *f, struct error *e)
{
    if (strcmp(p->sha256, f->sha256) == 0)
        return OK;
    return error_set(e, DAMAGED, "%s is damaged: its SHA-256 is not the manifest's", f->file);
}

static int compare_images(const struct restoration *r, struct error *e)
{
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (compare_sum(&r->copies[i], &r->m.disks[i].image, e) < 0)
            return e->status;
    return OK;
}

static int verify(struct restoration *r, struct error *e)
{
    progress_begin(&r->engine->progress, "verify", images_bytes(r) + start_file(r)->bytes);
    for (size_t i = 0; i < r->m.disk_count; i++)
        fill_copy(&r->copies[i], r, r->image_fds[i], &r->m.disks[i].image);
    fill_copy(&r->copies[r->m.disk_count], r, r->start_fd, start_file(r));
    if (copy_all(r->copies, r->m.disk_count + 1, NULL, NULL, e) < 0 || compare_images(r, e) < 0 ||
        compare_sum(&r->copies[r->m.disk_count], start_file(r), e) < 0)
        return error_prefix(e, "%s", r->folder);
    return OK;
}

static int write_images(struct restoration *r, struct error *e)
{
    int rc = OK;

    progress_begin(&r->engine->progress, "write", images_bytes(r));
    for (size_t i = 0; i < r->m.disk_count; i++)
        fill_copy(&r->copies[i], r, r->image_fds[i], &r->m.disks[i].image);
    for (size_t i = 0; rc == OK && i < r->m.disk_count; i++) {
        struct copy *copy = &r->copies[i];

        copy->kind = COPY_OVER_OLD;
        copy->target_name = r->m.disks[i].path;
        rc = volume_open_idle(r->volumes[i], &copy->target, e);
    }
    if (rc == OK)
        rc = copy_all(r->copies, r->m.disk_count, NULL, NULL, e);
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (r->copies[i].target >= 0)
            close(r->copies[i].target);
    /* Read a second time: it may have been damaged since. */
    return rc == OK ? compare_images(r, e) : rc;
}

/* ---- start ---- */

struct feeder {
    int file, pipe;
    struct progress *progress;
};

/* The toolstack reads from a pipe, so that a save file need not exist as one. It ends when the pipe
 * breaks: the reader then has its reason. */
static void *feed(void *arg)
{
    enum { BLOCK = 1 << 20 };
    struct feeder *f = arg;
    AUTO_FREE char *block = malloc(BLOCK);
    ssize_t n;

    while (block && (n = read(f->file, block, BLOCK)) > 0) {
        if (write_full(f->pipe, block, (size_t)n) < 0)
            break;
        progress_add(f->progress, (uint64_t)n);
    }
    close(f->pipe);
    return NULL;
}

static int restore_ram(struct restoration *r, struct error *e)
{
    struct feeder feeder = {.file = r->start_fd, .progress = &r->engine->progress};
    pthread_t thread;
    int fds[2], rc;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(e, "%s", r->m.ram.file);
    feeder.pipe = fds[1];
    if ((errno = pthread_create(&thread, NULL, feed, &feeder)) != 0) {
        close(fds[0]);
        close(fds[1]);
        return error_errno(e, "thread for the save file");
    }
    rc =
        r->engine->domains->restore(r->engine->host, r->m.domain_name, fds[0], r->params->start, e);
    close(fds[0]);
    pthread_join(thread, NULL);
    return rc;
}

static int start(struct restoration *r, struct error *e)
{
    progress_begin(&r->engine->progress, "start", start_file(r)->bytes);
    if (lseek(r->start_fd, 0, SEEK_SET) < 0)
        return error_errno(e, "%s", start_file(r)->file);
    if (r->m.ram.file)
        return restore_ram(r, e);
    return r->engine->domains->boot(r->engine->host, r->m.domain_name, r->start_fd,
                                    r->params->start, e);
}

/* ---- the whole ---- */

static int write_journal(struct restoration *r, const char *phase, struct error *e)
{
    char started[sizeof "2026-11-23T01:55:03Z"];
    AUTO_JSON json_t *entry = NULL;

    time_utc_iso8601(started);
    entry =
        json_pack("{s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:b}", "operation", "restore", "phase", phase,
                  "started", started, "domain", "name", r->m.domain_name, "uuid", r->m.domain_uuid,
                  "folder", r->folder, "paused", r->params->start == START_PAUSED);
    if (!entry)
        return error_set(e, NO_SPACE, "out of memory");
    return journal_write(&r->journal, entry, e);
}

static int replace_write_start(struct restoration *r, struct error *e)
{
    /* The commit point. */
    if (interrupt_check(e) < 0 || write_journal(r, PHASE_WRITING, e) < 0)
        return e->status;
    if ((!r->running.domid || r->engine->domains->destroy(r->engine->host, &r->running, e) == OK) &&
        write_images(r, e) == OK && start(r, e) == OK)
        return journal_close(&r->journal, e);
    error_append(e,
                 "the restore of %s has begun and is not complete: don't start it by other means; "
                 "once the cause is gone, `domsnap recover` finishes it",
                 r->m.domain_name);
    return e->status = NEEDS_RECOVER;
}

static void release(struct restoration *r)
{
    for (size_t i = 0; r->volumes && i < r->m.disk_count; i++)
        volume_close(r->volumes[i]);
    for (size_t i = 0; r->image_fds && i < r->m.disk_count; i++)
        if (r->image_fds[i] >= 0)
            close(r->image_fds[i]);
    if (r->start_fd >= 0)
        close(r->start_fd);
    if (r->dirfd >= 0)
        close(r->dirfd);
    journal_release(&r->journal);
    domain_release(&r->saved);
    free(r->volumes);
    free(r->image_fds);
    free(r->copies);
    free(r->folder);
}

int engine_restore(struct engine *engine, const struct restore_params *params, struct manifest *m,
                   struct error *e)
{
    struct restoration r = {
        .engine = engine,
        .params = params,
        .dirfd = -1,
        .start_fd = -1,
        .journal = JOURNAL_NONE,
    };
    int rc = open_folder(&r, e);

    if (rc == OK)
        rc = domain_name_check(r.m.domain_name, e);
    if (rc == OK)
        rc = engine_connect(engine, e);
    if (rc == OK)
        rc = journal_open(&r.journal, engine, r.m.domain_name, "restore", e);
    if (rc == OK)
        rc = read_all(&r, e);
    if (rc == OK)
        rc = verify(&r, e);
    if (rc == OK)
        rc = replace_write_start(&r, e);
    release(&r);
    if (rc < 0) {
        manifest_release(&r.m);
        return error_prefix(e, "restore");
    }
    *m = r.m;
    return OK;
}
