/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot into plain files in one folder, for xl and dd. */
#include "engine/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "copy/ingest.h"
#include "repo/folder.h"

/* Room in the folder for the configuration, the manifest, the save stream's records and the file
 * system's own needs, beyond RAM and disks. */
#define SLACK_BYTES (UINT64_C(8) << 20)

struct sink {
    const struct sink_request *r;
    char *path;    /* absolute */
    json_t *names; /* of the files, manifest.json last */
    int dirfd, ram_fd;
    int *image_fds;              /* one a disk */
    struct ingest_image *images; /* one a disk */
    size_t disk_count;
};

/* The lock on the folder goes with its descriptor. */
static void folder_let_go(struct sink *k)
{
    if (k->dirfd >= 0)
        close(k->dirfd);
    k->dirfd = -1;
}

static void folder_close(struct sink *k)
{
    if (!k)
        return;
    folder_let_go(k);
    for (size_t i = 0; k->image_fds && i < k->disk_count; i++)
        if (k->image_fds[i] >= 0)
            close(k->image_fds[i]);
    if (k->ram_fd >= 0)
        close(k->ram_fd);
    json_decref(k->names);
    free(k->path);
    free(k->image_fds);
    free(k->images);
    free(k);
}

/* ---- open ---- */

/* The folder's path must hold in another process, with another working directory. */
static int find_path(struct sink *k, struct error *e)
{
    AUTO_FREE char *copy = strdup(k->r->to->folder);
    AUTO_FREE char *parent = NULL;
    char *slash;
    size_t len;

    if (!copy || !*copy)
        return error_set(e, USAGE, "--to wants the path of a folder");
    for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
        copy[len - 1] = '\0';
    k->path = realpath(copy, NULL);
    if (k->path)
        return OK;
    slash = strrchr(copy, '/');
    if (errno != ENOENT || (slash && !slash[1]))
        return error_errno(e, "%s", copy);
    if (slash)
        *slash = '\0';
    parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
    if (!parent)
        return error_errno(e, "%s: the folder that is to hold the new one", slash ? copy : ".");
    k->path = format_text("%s/%s", parent, slash ? slash + 1 : copy);
    return k->path ? OK : error_out_of_memory(e);
}

static int name_files(struct sink *k, struct error *e)
{
    const char *name = k->r->d->domain.name;
    struct manifest *m = k->r->m;
    const struct manifest_file *f;
    bool ok;

    ok = (m->config.file = format_text("%s.cfg", name)) != NULL;
    if (k->r->ram)
        ok = (m->ram.file = format_text("%s.sav", name)) != NULL && ok;
    for (size_t i = 0; i < m->disk_count; i++)
        ok = (m->disks[i].image.file = format_text("%s.%s.img", name, m->disks[i].vdev)) != NULL &&
             ok;
    k->names = json_array();
    for (size_t i = 0; ok && (f = manifest_image(m, i)); i++)
        if (f->file)
            ok = json_array_append_new(k->names, json_string(f->file)) == 0;
    ok = ok && json_array_append_new(k->names, json_string(FOLDER_MANIFEST)) == 0;
    return ok ? OK : error_out_of_memory(e);
}

static int allocate(struct sink *k, struct error *e)
{
    k->images = calloc(k->disk_count + 1, sizeof *k->images);
    k->image_fds = calloc(k->disk_count + 1, sizeof *k->image_fds);
    if (!k->images || !k->image_fds)
        return error_out_of_memory(e);
    for (size_t i = 0; i < k->disk_count; i++)
        k->image_fds[i] = -1;
    return OK;
}

/* Alone: another run's files would be taken for ours, and undone with them. */
static int take_folder(struct sink *k, struct error *e)
{
    if (folder_open_resolved(k->path, &k->dirfd, e) < 0)
        return e->status;
    /* What can't lock a folder (NFS) does without. */
    if (flock(k->dirfd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return error_set(e, BUSY, "%s: another domsnap writes there", k->path);
    return folder_check_free(k->dirfd, k->names, e) < 0 ? error_prefix(e, "%s", k->path) : OK;
}

static int take_if_there(struct sink *k, struct error *e)
{
    struct stat st;

    return lstat(k->path, &st) < 0 && errno == ENOENT ? OK : take_folder(k, e);
}

static int folder_open_keep(struct sink **out, const struct sink_request *r, struct error *e)
{
    struct sink *k = calloc(1, sizeof *k);

    if (!k)
        return error_out_of_memory(e);
    k->r = r;
    k->dirfd = k->ram_fd = -1;
    k->disk_count = r->d->disk_count;
    if (allocate(k, e) == OK && find_path(k, e) == OK && name_files(k, e) == OK &&
        take_if_there(k, e) == OK) {
        *out = k;
        return OK;
    }
    folder_close(k);
    return e->status;
}

static int folder_journal(const struct sink *k, json_t **kept, struct error *e)
{
    *kept = json_pack("{s:s, s:b, s:O}", "folder", k->path, "folder_made", k->dirfd < 0, "files",
                      k->names);
    return *kept ? OK
                 : error_set(e, UNSUPPORTED,
                             "%s: the journal can't hold a path that is not UTF-8; take another",
                             k->path);
}

/* ---- prepare ---- */

static int check_space(const struct sink *k, uint64_t save_bytes, struct error *e)
{
    uint64_t need = save_bytes + SLACK_BYTES, free_bytes;

    for (size_t i = 0; i < k->disk_count; i++)
        need += k->r->d->disks[i].volume->copy_bytes;
    if (folder_space(k->dirfd, &free_bytes, e) < 0)
        return e->status;
    if (free_bytes >= need)
        return OK;
    return error_set(e, NO_SPACE,
                     "the snapshot can take up to %" PRIu64 " MiB, and %" PRIu64 " MiB are free "
                     "there; nothing was done",
                     need >> 20, free_bytes >> 20);
}

static int make_folder(struct sink *k, uint64_t save_bytes, struct error *e)
{
    if (k->dirfd < 0 && (mkdir(k->path, 0700) < 0 || sync_parent(k->path) < 0))
        return error_errno(e, "%s: mkdir", k->path);
    if (FAULT("folder-made", e) < 0 || (k->dirfd < 0 && take_folder(k, e) < 0))
        return e->status;
    return check_space(k, save_bytes, e) < 0 ? error_prefix(e, "%s", k->path) : OK;
}

/* Read a file once more, and note its sum. */
static int sum_file(int fd, struct manifest_file *f, uint64_t bytes, struct error *e)
{
    struct progress ignored = {NULL};
    struct ingest_image image = {.source = fd, .name = f->file, .bytes = bytes};

    if (ingest_copy(&image, 1, FOLDER_CHUNK_BYTES, 0, &ignored, NULL, e) < 0)
        return e->status;
    f->bytes = bytes;
    chunk_id_to_hex(&image.root, f->root);
    return OK;
}

static int write_config(struct sink *k, const char *text, struct error *e)
{
    struct manifest_file *f = &k->r->m->config;
    AUTO_CLOSE int fd = -1;

    if (folder_stage(k->dirfd, f->file, &fd, e) < 0)
        return e->status;
    if (write_full(fd, text, strlen(text)) < 0 || fsync(fd) < 0)
        return error_errno(e, "%s: write", f->file);
    return sum_file(fd, f, strlen(text), e);
}

static int folder_prepare(struct sink *k, uint64_t save_bytes, const char *config, struct error *e)
{
    struct manifest *m = k->r->m;

    if (make_folder(k, save_bytes, e) < 0 || write_config(k, config, e) < 0 ||
        (m->ram.file && folder_stage(k->dirfd, m->ram.file, &k->ram_fd, e) < 0))
        return e->status;
    for (size_t i = 0; i < k->disk_count; i++)
        if (folder_stage(k->dirfd, m->disks[i].image.file, &k->image_fds[i], e) < 0)
            return e->status;
    return OK;
}

static int folder_open_ram(struct sink *k, int *fd, const char **name, struct error *e)
{
    (void)e;
    *fd = k->ram_fd;
    *name = k->r->m->ram.file;
    return OK;
}

/* ---- put ---- */

static int folder_put_disks(struct sink *k, const struct team_watch *watch, struct error *e)
{
    struct manifest *m = k->r->m;

    for (size_t i = 0; i < k->disk_count; i++)
        k->images[i] = (struct ingest_image){
            .source = k->r->d->disks[i].source,
            .name = k->r->d->disks[i].volume->name,
            .bytes = k->r->d->disks[i].volume->size_bytes,
            .target = {k->image_fds[i], TARGET_NEW, m->disks[i].image.file},
        };
    if (ingest_copy(k->images, k->disk_count, FOLDER_CHUNK_BYTES, k->r->to->bytes_per_second,
                    k->r->progress, watch, e) < 0)
        return e->status;
    for (size_t i = 0; i < k->disk_count; i++) {
        m->disks[i].image.bytes = k->images[i].bytes;
        chunk_id_to_hex(&k->images[i].root, m->disks[i].image.root);
    }
    return OK;
}

static uint64_t folder_position(const struct sink *k, size_t disk)
{
    return atomic_load(&k->images[disk].position);
}

static int folder_put_ram(struct sink *k, uint64_t bytes, struct error *e)
{
    return sum_file(k->ram_fd, &k->r->m->ram, bytes, e);
}

static int folder_finish(struct sink *k, struct create_stats *stats, struct error *e)
{
    (void)stats;
    return folder_write_manifest(k->dirfd, k->r->m, e);
}

static int folder_publish_keep(struct sink *k, struct error *e)
{
    return folder_publish(k->dirfd, k->names, e);
}

const struct sink_driver sink_folder = {
    .open = folder_open_keep,
    .let_go = folder_let_go,
    .close = folder_close,
    .journal = folder_journal,
    .prepare = folder_prepare,
    .open_ram = folder_open_ram,
    .put_disks = folder_put_disks,
    .position = folder_position,
    .put_ram = folder_put_ram,
    .finish = folder_finish,
    .publish = folder_publish_keep,
};
