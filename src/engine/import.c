/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * import: a manifest for files that were made by hand, as in
 *
 *     xl save -p linux01 linux01.sav
 *     dd if=/dev/xenvols/linux01 of=linux01.xvda.img
 *     xl unpause linux01
 *
 * so that restore can check them and bring them back. The files themselves are only read.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/seal.h"
#include "domain/savefile.h"
#include "domain/xlcfg.h"
#include "copy/ingest.h"
#include "engine/describe.h"
#include "shelf/folder.h"

struct import {
    struct engine *engine;
    const struct import_params *params;
    int dirfd;
    struct domain saved;
    struct manifest m;
};

/* ---- which files ---- */

static int find_save_file(struct import *im, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = opendir(im->params->folder);
    const char *file;

    if (im->params->save_file) {
        im->m.ram.file = strdup(im->params->save_file);
        return im->m.ram.file ? OK : error_set(e, NO_SPACE, "out of memory");
    }
    if (!dir)
        return error_errno(e, "open");
    while ((file = dir_next(dir))) {
        size_t len = strlen(file);

        if (file[0] == '.' || len < 5 || strcmp(file + len - 4, ".sav") != 0)
            continue;
        if (im->m.ram.file)
            return error_set(e, USAGE, "more than one .sav file is there; name the one with --sav");
        im->m.ram.file = strdup(file);
    }
    return im->m.ram.file ? OK
                          : error_set(e, NOT_FOUND, "no .sav file is there; name it with --sav");
}

static int read_saved_domain(struct import *im, struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    AUTO_CLOSE int fd = -1;

    if (open_in(im->dirfd, im->m.ram.file, O_RDONLY, &fd, e) < 0)
        return e->status;
    if (savefile_read_head(fd, &config, e) < 0 || domain_parse(&im->saved, config, e) < 0)
        return error_prefix(e, "%s", im->m.ram.file);
    return OK;
}

static char *image_of(const struct import *im, const struct domain_disk *disk)
{
    for (size_t i = 0; i < im->params->disk_count; i++)
        if (strcmp(im->params->disks[i].vdev, disk->vdev) == 0)
            return strdup(im->params->disks[i].file);
    return format_text("%s.%s.img", im->saved.name, disk->vdev);
}

static int check_disk_options(const struct import *im, struct error *e)
{
    for (size_t i = 0; i < im->params->disk_count; i++) {
        size_t j = 0;

        while (j < im->saved.disk_count &&
               strcmp(im->saved.disks[j].vdev, im->params->disks[i].vdev) != 0)
            j++;
        if (j == im->saved.disk_count)
            return error_set(e, USAGE, "%s has no disk %s", im->saved.name,
                             im->params->disks[i].vdev);
    }
    return OK;
}

static int add_disk(struct import *im, const struct domain_disk *disk, struct error *e)
{
    const char *why = describe_left_out(disk);
    struct manifest_left_out *out;
    struct manifest_disk *d;

    if (why) {
        out = &im->m.left_out[im->m.left_out_count++];
        out->vdev = strdup(disk->vdev);
        out->why = strdup(why);
        return out->vdev && out->why ? OK : error_set(e, NO_SPACE, "out of memory");
    }
    d = &im->m.disks[im->m.disk_count++];
    d->vdev = strdup(disk->vdev);
    d->path = strdup(disk->path);
    d->driver = strdup("unknown");
    d->image.file = image_of(im, disk);
    return d->vdev && d->path && d->driver && d->image.file
               ? OK
               : error_set(e, NO_SPACE, "out of memory");
}

static int describe(struct import *im, struct error *e)
{
    struct manifest *m = &im->m;

    if (describe_origin(m, &im->saved, "import", "unknown", e) < 0)
        return e->status;
    m->config.file = format_text("%s.cfg", im->saved.name);
    m->disks = calloc(im->saved.disk_count + 1, sizeof *m->disks);
    m->left_out = calloc(im->saved.disk_count + 1, sizeof *m->left_out);
    if (!m->config.file || !m->disks || !m->left_out)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < im->saved.disk_count; i++)
        if (add_disk(im, &im->saved.disks[i], e) < 0)
            return e->status;
    return OK;
}

/* ---- their sums ---- */

static int open_member(const struct import *im, struct ingest_image *image, struct manifest_file *f,
                       struct error *e)
{
    *image = (struct ingest_image){.source = -1, .name = f->file};
    if (open_in(im->dirfd, f->file, O_RDONLY, &image->source, e) < 0)
        return error_append(e, "name another file with --disk");
    if (file_size(image->source, f->file, &f->bytes, e) < 0)
        return e->status;
    image->bytes = f->bytes;
    atomic_fetch_add(&im->engine->progress.total_bytes, f->bytes);
    return OK;
}

static int sum_all(struct import *im, struct error *e)
{
    size_t count = im->m.disk_count + 2, opened = 0;
    AUTO_FREE struct manifest_file **files = calloc(count, sizeof *files);
    AUTO_FREE struct ingest_image *images = calloc(count, sizeof *images);
    int rc = OK;

    if (!files || !images)
        return error_set(e, NO_SPACE, "out of memory");
    files[0] = &im->m.ram;
    files[1] = &im->m.config;
    for (size_t i = 0; i < im->m.disk_count; i++)
        files[i + 2] = &im->m.disks[i].image;
    progress_begin(&im->engine->progress, "read", 0);
    for (; rc == OK && opened < count; opened++)
        rc = open_member(im, &images[opened], files[opened], e);
    if (rc == OK)
        rc = ingest_copy(images, count, FOLDER_CHUNK_BYTES, 0, &im->engine->progress, NULL, e);
    /* A manifest that is on the disk is not of files that are not. */
    for (size_t i = 0; rc == OK && i < count; i++)
        if (fsync(images[i].source) < 0)
            rc = error_errno(e, "%s: make it durable", files[i]->file);
    for (size_t i = 0; i < opened; i++)
        if (images[i].source >= 0)
            close(images[i].source);
    for (size_t i = 0; rc == OK && i < count; i++)
        chunk_id_to_hex(&images[i].root, files[i]->root);
    return rc;
}

/* ---- the whole ---- */

static bool exists(const struct import *im, const char *name)
{
    struct stat st;

    return fstatat(im->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The configuration is in the save file; a .cfg that the user put there is kept. */
static int write_config(struct import *im, struct error *e)
{
    AUTO_FREE char *text = NULL;

    if (exists(im, im->m.config.file))
        return OK;
    if (xlcfg_from_json(im->saved.config, &text, e) < 0)
        return e->status;
    return file_write_durable(im->dirfd, im->m.config.file, text, strlen(text), e);
}

static int write_manifest(struct import *im, struct error *e)
{
    AUTO_JSON json_t *json = manifest_to_json(&im->m);

    if (!json)
        return error_set(e, NO_SPACE, "out of memory");
    return seal_write(im->dirfd, FOLDER_MANIFEST, json, e);
}

static int carry_out(struct import *im, struct error *e)
{
    if (folder_open(im->params->folder, &im->dirfd, e) < 0)
        return e->status;
    if (exists(im, FOLDER_MANIFEST))
        return error_set(e, BUSY, "it has a manifest.json already; nothing is overwritten");
    if (find_save_file(im, e) < 0 || read_saved_domain(im, e) < 0 ||
        check_disk_options(im, e) < 0 || describe(im, e) < 0)
        return e->status;
    for (size_t i = 0; i < im->m.disk_count; i++)
        if (!exists(im, im->m.disks[i].image.file))
            return error_set(e, NOT_FOUND,
                             "no image of disk %s: %s is not there; name it with "
                             "--disk %s=FILE",
                             im->m.disks[i].vdev, im->m.disks[i].image.file, im->m.disks[i].vdev);
    if (write_config(im, e) < 0 || sum_all(im, e) < 0)
        return e->status;
    return write_manifest(im, e);
}

int engine_import(struct engine *engine, const struct import_params *params, struct manifest *m,
                  struct error *e)
{
    struct import im = {.engine = engine, .params = params, .dirfd = -1};
    int rc = carry_out(&im, e);

    if (im.dirfd >= 0)
        close(im.dirfd);
    domain_release(&im.saved);
    if (rc < 0) {
        manifest_release(&im.m);
        return error_prefix(e, "import %s", params->folder);
    }
    *m = im.m;
    return OK;
}
