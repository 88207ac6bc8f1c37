/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot as plain files: what `create --to` made, or somebody by hand (import). */
#include "shelf/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "copy/ingest.h"
#include "domain/savefile.h"
#include "shelf/folder.h"

struct source {
    int dirfd, start_fd;
    int *image_fds; /* one a disk */
    size_t disk_count;
    struct ingest_image *images; /* one a disk, and one more */
};

static void folder_close(struct source *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->image_fds && i < s->disk_count; i++)
        if (s->image_fds[i] >= 0)
            close(s->image_fds[i]);
    if (s->start_fd >= 0)
        close(s->start_fd);
    if (s->dirfd >= 0)
        close(s->dirfd);
    free(s->image_fds);
    free(s->images);
    free(s);
}

static int folder_open_source(struct source **out, const struct snapshot_ref *ref,
                              struct manifest *m, struct error *e)
{
    struct source *s = calloc(1, sizeof *s);

    if (!s)
        return error_errno(e, "%s", ref->folder);
    s->dirfd = s->start_fd = -1;
    if (folder_open(ref->folder, &s->dirfd, e) == OK) {
        if (folder_read_manifest(s->dirfd, m, e) == OK) {
            *out = s;
            return OK;
        }
        if (e->status == NOT_FOUND)
            error_set(e, NOT_FOUND,
                      "%s has no manifest.json: it holds no snapshot; for files made by hand, "
                      "`domsnap import` writes one",
                      ref->folder);
        else
            error_prefix(e, "%s", ref->folder);
    }
    folder_close(s);
    return e->status;
}

/* What the domain is started from. */
static const struct manifest_file *start_file(const struct manifest *m)
{
    return m->ram.file ? &m->ram : &m->config;
}

static int allocate(struct source *s, size_t disks, struct error *e)
{
    s->image_fds = calloc(disks + 1, sizeof *s->image_fds);
    s->images = calloc(disks + 1, sizeof *s->images);
    if (!s->image_fds || !s->images)
        return error_out_of_memory(e);
    s->disk_count = disks;
    for (size_t i = 0; i < disks; i++)
        s->image_fds[i] = -1;
    return OK;
}

/* The domain that will run is the one in the save file; the manifest must speak of the same. */
static int compare_domain(const struct manifest *m, const struct domain *saved, struct error *e)
{
    if (strcmp(saved->name, m->domain_name) != 0)
        return error_set(e, DAMAGED, "manifest.json describes guest %s, and %s holds guest %s",
                         m->domain_name, m->ram.file, saved->name);
    for (size_t i = 0; i < m->disk_count; i++) {
        const struct manifest_disk *d = &m->disks[i];
        size_t j = 0;

        while (j < saved->disk_count && strcmp(saved->disks[j].vdev, d->vdev) != 0)
            j++;
        if (j == saved->disk_count || strcmp(saved->disks[j].path, d->path) != 0)
            return error_set(e, DAMAGED, "manifest.json has disk %s on %s, and %s does not",
                             d->vdev, d->path, m->ram.file);
    }
    return OK;
}

static int check_saved_domain(struct source *s, const struct manifest *m, struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    struct domain saved = {0};
    int rc;

    if (!m->ram.file)
        return OK;
    if (savefile_read_head(s->start_fd, &config, e) < 0 || domain_parse(&saved, config, e) < 0)
        return error_prefix(e, "%s", m->ram.file);
    rc = compare_domain(m, &saved, e);
    domain_release(&saved);
    return rc;
}

static int folder_check(struct source *s, const struct manifest *m, struct error *e)
{
    if (allocate(s, m->disk_count, e) < 0 ||
        folder_open_file(s->dirfd, start_file(m), &s->start_fd, e) < 0)
        return e->status;
    for (size_t i = 0; i < m->disk_count; i++)
        if (folder_open_file(s->dirfd, &m->disks[i].image, &s->image_fds[i], e) < 0)
            return e->status;
    return check_saved_domain(s, m, e);
}

/* ---- the same files, to nothing or to the volumes ---- */

static void fill_image(struct ingest_image *image, int fd, const struct manifest_file *f)
{
    *image = (struct ingest_image){.source = fd, .name = f->file, .bytes = f->bytes};
}

static int compare_root(const struct ingest_image *image, const struct manifest_file *f,
                        struct error *e)
{
    char root[ID_HEX];

    chunk_id_to_hex(&image->root, root);
    if (strcmp(root, f->root) == 0)
        return OK;
    return error_set(e, DAMAGED,
                     "%s is damaged: its checksum differs from the one in manifest.json", f->file);
}

static int compare_disks(const struct source *s, const struct manifest *m, struct error *e)
{
    for (size_t i = 0; i < m->disk_count; i++)
        if (compare_root(&s->images[i], &m->disks[i].image, e) < 0)
            return e->status;
    return OK;
}

static int folder_verify(struct source *s, const struct manifest *m,
                         const struct source_verify *how, struct progress *progress,
                         struct error *e)
{
    size_t count = m->disk_count;

    if (how->sample.percent < 100)
        return error_set(e, UNSUPPORTED,
                         "plain files can only be checked as a whole, not by a sample");
    for (size_t i = 0; i < count; i++)
        fill_image(&s->images[i], s->image_fds[i], &m->disks[i].image);
    fill_image(&s->images[count], s->start_fd, start_file(m));
    if (ingest_copy(s->images, count + 1, FOLDER_CHUNK_BYTES, 0, progress, NULL, e) < 0 ||
        compare_disks(s, m, e) < 0)
        return e->status;
    return compare_root(&s->images[count], start_file(m), e);
}

static int folder_write(struct source *s, const struct manifest *m, const struct target targets[],
                        struct progress *progress, struct error *e)
{
    for (size_t i = 0; i < m->disk_count; i++) {
        fill_image(&s->images[i], s->image_fds[i], &m->disks[i].image);
        s->images[i].target = targets[i];
    }
    /* Read a second time: it may have been damaged since. */
    return ingest_copy(s->images, m->disk_count, FOLDER_CHUNK_BYTES, 0, progress, NULL, e) < 0
               ? e->status
               : compare_disks(s, m, e);
}

static int folder_write_ram(struct source *s, const struct manifest *m, int to,
                            struct progress *progress, struct error *e)
{
    enum { BLOCK = 1 << 20 };
    AUTO_FREE char *block = malloc(BLOCK);
    AUTO_CLOSE int from = -1;
    ssize_t n;

    if (!block)
        return error_out_of_memory(e);
    if (folder_open_file(s->dirfd, &m->ram, &from, e) < 0)
        return e->status;
    while ((n = read(from, block, BLOCK)) > 0) {
        if (write_full(to, block, (size_t)n) < 0)
            return error_errno(e, "%s: into the pipe", m->ram.file);
        progress_add(progress, (uint64_t)n);
    }
    return n < 0 ? error_errno(e, "%s: read", m->ram.file) : OK;
}

static int folder_open_config(struct source *s, const struct manifest *m, int *fd, struct error *e)
{
    return folder_open_file(s->dirfd, &m->config, fd, e);
}

const struct source_driver source_folder = {
    .open = folder_open_source,
    .close = folder_close,
    .check = folder_check,
    .verify = folder_verify,
    .write = folder_write,
    .write_ram = folder_write_ram,
    .open_config = folder_open_config,
};
