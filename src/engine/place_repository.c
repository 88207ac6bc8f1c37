/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot in a repository. */
#include "engine/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "copy/extract.h"
#include "domain/savestream.h"
#include "repo/reader.h"
#include "repo/records.h"

struct place {
    struct store *store;
    uint8_t **there; /* of each disk: what verify found on its target; NULL before */
    size_t disk_count;
    int record; /* held; -1: not */
};

static void repository_close(struct place *p)
{
    for (size_t i = 0; p && p->there && i < p->disk_count; i++)
        free(p->there[i]);
    if (p) {
        if (p->record >= 0)
            close(p->record);
        free(p->there);
        store_close(p->store);
    }
    free(p);
}

static int repository_open(struct place **out, const struct snapshot_ref *ref, struct manifest *m,
                           struct error *e)
{
    struct place *p;

    /* Before they become part of a path. */
    if (domain_name_check(ref->domain, e) < 0 || record_name_check(ref->name, e) < 0)
        return e->status;
    p = calloc(1, sizeof *p);
    if (!p)
        return error_errno(e, "%s", ref->repo);
    p->record = -1;
    if (store_open(&p->store, ref->repo, STORE_SHARED, e) == OK &&
        record_read(store_dirfd(p->store), ref->domain, ref->name, m, e) == OK) {
        *out = p;
        return OK;
    }
    repository_close(p);
    return e->status;
}

static int repository_hold(struct place *p, const struct manifest *m, struct error *e)
{
    return record_hold(store_dirfd(p->store), m->domain_name, m->name, RECORD_KEEP, &p->record, e);
}

static int repository_check(struct place *p, const struct manifest *m, struct error *e)
{
    (void)p, (void)m, (void)e;
    return OK;
}

/* One of the record's images; damage in the record is told by it. */
static int fill_image(struct extract_image *image, const struct manifest_file *f, const char *name,
                      struct target target, struct error *e)
{
    *image = (struct extract_image){.bytes = f->bytes, .name = name, .target = target};
    return chunk_id_from_hex(&image->root, f->root, e);
}

static int write_images(struct place *p, const struct extract_image *images, size_t count,
                        struct progress *progress, struct error *e)
{
    struct extract x = {
        .mode = EXTRACT_WRITE,
        .store = p->store,
        .images = images,
        .count = count,
        .progress = progress,
    };

    return extract_run(&x, e);
}

static int begin_there(struct place *p, const struct manifest *m, struct error *e)
{
    p->disk_count = m->disk_count;
    p->there = calloc(m->disk_count + 1, sizeof *p->there);
    for (size_t i = 0; p->there && i < m->disk_count; i++) {
        p->there[i] = calloc(m->disks[i].image.bytes / store_chunk_bytes(p->store) / 8 + 1, 1);
        if (!p->there[i])
            return error_set(e, NO_SPACE, "out of memory");
    }
    return p->there ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* To check a snapshot is to check all of it, its configuration too. */
static int repository_verify(struct place *p, const struct manifest *m,
                             const struct place_verify *how, struct progress *progress,
                             struct error *e)
{
    AUTO_FREE struct extract_image *images = calloc(m->disk_count + 4, sizeof *images);
    struct extract x = {
        .mode = EXTRACT_VERIFY,
        .percent = how->percent,
        .seen = how->seen,
        .store = p->store,
        .images = images,
        .progress = progress,
    };
    const struct manifest_file *f;

    if (!images)
        return error_set(e, NO_SPACE, "out of memory");
    if (how->targets && begin_there(p, m, e) < 0)
        return e->status;
    for (size_t i = 0; (f = manifest_image(m, i)); i++) {
        struct extract_image *image = &images[x.count];
        struct target none = {.kind = TARGET_NONE};

        if (!manifest_has(f))
            continue;
        if (fill_image(image, f, manifest_image_name(m, i), none, e) < 0)
            return e->status;
        x.count++;
        for (size_t d = 0; how->targets && d < m->disk_count; d++)
            if (f == &m->disks[d].image && how->targets[d].kind == TARGET_OLD) {
                image->target = how->targets[d];
                image->there = p->there[d];
            }
    }
    return extract_run(&x, e);
}

static int repository_write(struct place *p, const struct manifest *m,
                            const struct target targets[], struct progress *progress,
                            struct error *e)
{
    AUTO_FREE struct extract_image *images = calloc(m->disk_count + 1, sizeof *images);

    if (!images)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < m->disk_count; i++) {
        if (fill_image(&images[i], &m->disks[i].image, m->disks[i].path, targets[i], e) < 0)
            return e->status;
        images[i].there = p->there ? p->there[i] : NULL;
    }
    return write_images(p, images, m->disk_count, progress, e);
}

/* ---- RAM: read in order, at the pace of who takes it ---- */

struct ram {
    struct reader *readers[SAVE_PARTS];
    struct progress *progress;
};

static int read_part(void *arg, enum save_part part, void *to, size_t bytes, uint64_t offset,
                     struct error *e)
{
    struct ram *ram = arg;

    progress_add(ram->progress, bytes);
    return reader_read(ram->readers[part], to, bytes, offset, e);
}

/* A stream that was not understood is there as it was. */
static int write_whole(struct ram *ram, uint64_t bytes, int to, struct error *e)
{
    uint8_t block[1 << 16];

    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < sizeof block ? bytes - at : sizeof block;

        if (read_part(ram, SAVE_REST, block, n, at, e) < 0)
            return e->status;
        if (write_full(to, block, n) < 0)
            return error_errno(e, "RAM: into the pipe");
        at += n;
    }
    return OK;
}

static int repository_write_ram(struct place *p, const struct manifest *m, int to,
                                struct progress *progress, struct error *e)
{
    const struct manifest_file *files[SAVE_PARTS] = {
        [SAVE_REST] = &m->ram, [SAVE_TYPES] = &m->ram_types, [SAVE_FRAMES] = &m->ram_frames};
    struct ram ram = {.progress = progress};
    struct save_parts parts = {.pages_at = m->ram_pages_at, .read = read_part, .arg = &ram};
    int rc = OK;

    for (int i = 0; rc == OK && i < SAVE_PARTS; i++) {
        parts.bytes[i] = files[i]->bytes;
        if (manifest_has(files[i]))
            rc = reader_open(&ram.readers[i], p->store, files[i]->root, files[i]->bytes, "RAM", e);
    }
    if (rc == OK)
        rc = manifest_has(&m->ram_frames) ? save_parts_join(&parts, to, e)
                                          : write_whole(&ram, m->ram.bytes, to, e);
    for (int i = 0; i < SAVE_PARTS; i++)
        reader_close(ram.readers[i]);
    return rc;
}

static int repository_open_config(struct place *p, const struct manifest *m, int *fd,
                                  struct error *e)
{
    struct progress ignored = {NULL};
    struct extract_image image;
    int memory = memfd_create("domsnap", MFD_CLOEXEC);
    struct target target = {memory, TARGET_NEW, "memory"};

    if (memory < 0)
        return error_errno(e, "configuration");
    if (fill_image(&image, &m->config, "configuration", target, e) == OK &&
        write_images(p, &image, 1, &ignored, e) == OK) {
        *fd = memory;
        return OK;
    }
    close(memory);
    return e->status;
}

const struct place_driver place_repository = {
    .open = repository_open,
    .close = repository_close,
    .hold = repository_hold,
    .check = repository_check,
    .verify = repository_verify,
    .write = repository_write,
    .write_ram = repository_write_ram,
    .open_config = repository_open_config,
};
