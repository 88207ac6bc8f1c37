/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot in a repository. */
#include "engine/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "copy/extract.h"
#include "repo/records.h"

struct place {
    struct store *store;
};

static void repository_close(struct place *p)
{
    if (p)
        store_close(p->store);
    free(p);
}

static int repository_open(struct place **out, const struct snapshot_ref *ref, struct manifest *m,
                           struct error *e)
{
    struct place *p = calloc(1, sizeof *p);

    if (!p)
        return error_errno(e, "%s", ref->repo);
    if (store_open(&p->store, ref->repo, STORE_SHARED, e) == OK &&
        record_read(store_dirfd(p->store), ref->domain, ref->name, m, e) == OK) {
        *out = p;
        return OK;
    }
    repository_close(p);
    return e->status;
}

static int repository_check(struct place *p, const struct manifest *m, struct error *e)
{
    (void)p, (void)m, (void)e;
    return OK;
}

/* One of the record's images; damage in the record is told by it. */
static int fill_image(struct extract_image *image, const struct manifest_file *f, const char *name,
                      int target, enum copy_target kind, struct error *e)
{
    *image =
        (struct extract_image){.bytes = f->bytes, .target = target, .name = name, .kind = kind};
    return chunk_id_from_hex(&image->root, f->root, e);
}

static int run(struct place *p, const struct extract_image *images, size_t count,
               struct progress *progress, struct error *e)
{
    struct extract x = {
        .store = p->store,
        .images = images,
        .count = count,
        .progress = progress,
    };

    return extract_run(&x, NULL, NULL, e);
}

/* To check a snapshot is to check all of it, its configuration too. */
static int repository_verify(struct place *p, const struct manifest *m, struct progress *progress,
                             struct error *e)
{
    AUTO_FREE struct extract_image *images = calloc(m->disk_count + 2, sizeof *images);
    size_t count = 0;

    if (!images)
        return error_set(e, NO_SPACE, "out of memory");
    for (; count < m->disk_count; count++)
        if (fill_image(&images[count], &m->disks[count].image, m->disks[count].vdev, -1,
                       COPY_TO_NOTHING, e) < 0)
            return e->status;
    if (manifest_has(&m->ram) &&
        fill_image(&images[count++], &m->ram, "RAM", -1, COPY_TO_NOTHING, e) < 0)
        return e->status;
    if (manifest_has(&m->config) &&
        fill_image(&images[count++], &m->config, "configuration", -1, COPY_TO_NOTHING, e) < 0)
        return e->status;
    return run(p, images, count, progress, e);
}

static int repository_write(struct place *p, const struct manifest *m,
                            const struct place_target targets[], struct progress *progress,
                            struct error *e)
{
    AUTO_FREE struct extract_image *images = calloc(m->disk_count + 1, sizeof *images);

    if (!images)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < m->disk_count; i++)
        if (fill_image(&images[i], &m->disks[i].image, m->disks[i].path, targets[i].fd,
                       targets[i].kind, e) < 0)
            return e->status;
    return run(p, images, m->disk_count, progress, e);
}

static int repository_open_start(struct place *p, const struct manifest *m, int *fd,
                                 struct error *e)
{
    struct progress ignored = {0};
    struct extract_image image;
    int memory = memfd_create("domsnap", MFD_CLOEXEC);

    if (memory < 0)
        return error_errno(e, "configuration");
    if (fill_image(&image, &m->config, "configuration", memory, COPY_TO_NEW, e) == OK &&
        run(p, &image, 1, &ignored, e) == OK) {
        *fd = memory;
        return OK;
    }
    close(memory);
    return e->status;
}

const struct place_driver place_repository = {
    .open = repository_open,
    .close = repository_close,
    .check = repository_check,
    .verify = repository_verify,
    .write = repository_write,
    .open_start = repository_open_start,
};
