/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot into plain files in one folder, for xl and dd. */
#include "shelf/sink.h"

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
#include "shelf/folder.h"

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
static void folder_let_go(struct sink *s)
{
    if (s->dirfd >= 0)
        close(s->dirfd);
    s->dirfd = -1;
}

static void folder_close(struct sink *s)
{
    if (!s)
        return;
    folder_let_go(s);
    for (size_t i = 0; s->image_fds && i < s->disk_count; i++)
        if (s->image_fds[i] >= 0)
            close(s->image_fds[i]);
    if (s->ram_fd >= 0)
        close(s->ram_fd);
    json_decref(s->names);
    free(s->path);
    free(s->image_fds);
    free(s->images);
    free(s);
}

/* ---- open ---- */

/* The folder's path must hold in another process, with another working directory. */
static int find_path(struct sink *s, struct error *e)
{
    AUTO_FREE char *copy = strdup(s->r->to->folder);
    AUTO_FREE char *parent = NULL;
    char *slash;
    size_t len;

    if (!copy || !*copy)
        return error_set(e, USAGE, "--to wants the path of a folder");
    for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
        copy[len - 1] = '\0';
    s->path = realpath(copy, NULL);
    if (s->path)
        return OK;
    slash = strrchr(copy, '/');
    if (errno != ENOENT || (slash && !slash[1]))
        return error_errno(e, "%s", copy);
    if (slash)
        *slash = '\0';
    parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
    if (!parent)
        return error_errno(e, "%s: the folder that is to hold the new one", slash ? copy : ".");
    s->path = format_text("%s/%s", parent, slash ? slash + 1 : copy);
    return s->path ? OK : error_out_of_memory(e);
}

static int name_files(struct sink *s, struct error *e)
{
    const char *name = s->r->domain;
    struct manifest *m = s->r->m;
    const struct manifest_file *f;
    bool ok;

    ok = (m->config.file = format_text("%s.cfg", name)) != NULL;
    if (s->r->ram)
        ok = (m->ram.file = format_text("%s.sav", name)) != NULL && ok;
    for (size_t i = 0; i < m->disk_count; i++)
        ok = (m->disks[i].image.file = format_text("%s.%s.img", name, m->disks[i].vdev)) != NULL &&
             ok;
    s->names = json_array();
    for (size_t i = 0; ok && (f = manifest_image(m, i)); i++)
        if (f->file)
            ok = json_array_append_new(s->names, json_string(f->file)) == 0;
    ok = ok && json_array_append_new(s->names, json_string(FOLDER_MANIFEST)) == 0;
    return ok ? OK : error_out_of_memory(e);
}

static int allocate(struct sink *s, struct error *e)
{
    s->images = calloc(s->disk_count + 1, sizeof *s->images);
    s->image_fds = calloc(s->disk_count + 1, sizeof *s->image_fds);
    if (!s->images || !s->image_fds)
        return error_out_of_memory(e);
    for (size_t i = 0; i < s->disk_count; i++)
        s->image_fds[i] = -1;
    return OK;
}

/* Alone: another run's files would be taken for ours, and undone with them. */
static int take_folder(struct sink *s, struct error *e)
{
    if (folder_open_resolved(s->path, &s->dirfd, e) < 0)
        return e->status;
    /* What can't lock a folder (NFS) does without. */
    if (flock(s->dirfd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return error_set(e, BUSY, "%s: another domsnap writes there", s->path);
    return folder_check_free(s->dirfd, s->names, e) < 0 ? error_prefix(e, "%s", s->path) : OK;
}

static int take_if_there(struct sink *s, struct error *e)
{
    struct stat st;

    return lstat(s->path, &st) < 0 && errno == ENOENT ? OK : take_folder(s, e);
}

static int folder_open_sink(struct sink **out, const struct sink_request *r, struct error *e)
{
    struct sink *s = calloc(1, sizeof *s);

    if (!s)
        return error_out_of_memory(e);
    s->r = r;
    s->dirfd = s->ram_fd = -1;
    s->disk_count = r->disk_count;
    if (allocate(s, e) == OK && find_path(s, e) == OK && name_files(s, e) == OK &&
        take_if_there(s, e) == OK) {
        *out = s;
        return OK;
    }
    folder_close(s);
    return e->status;
}

static int folder_journal(const struct sink *s, json_t **kept, struct error *e)
{
    *kept = json_pack("{s:s, s:b, s:O}", "folder", s->path, "folder_made", s->dirfd < 0, "files",
                      s->names);
    return *kept ? OK
                 : error_set(e, UNSUPPORTED,
                             "%s: the journal can't hold a path that is not UTF-8; take another",
                             s->path);
}

/* ---- prepare ---- */

static int check_space(const struct sink *s, uint64_t save_bytes, struct error *e)
{
    uint64_t need = save_bytes + SLACK_BYTES, free_bytes;

    for (size_t i = 0; i < s->disk_count; i++)
        need += s->r->disks[i].copy_bytes;
    if (folder_space(s->dirfd, &free_bytes, e) < 0)
        return e->status;
    if (free_bytes >= need)
        return OK;
    return error_set(e, NO_SPACE,
                     "the snapshot can take up to %" PRIu64 " MiB, and %" PRIu64 " MiB are free "
                     "there; nothing was done",
                     need >> 20, free_bytes >> 20);
}

static int make_folder(struct sink *s, uint64_t save_bytes, struct error *e)
{
    if (s->dirfd < 0 && (mkdir(s->path, 0700) < 0 || sync_parent(s->path) < 0))
        return error_errno(e, "%s: mkdir", s->path);
    if (FAULT("folder-made", e) < 0 || (s->dirfd < 0 && take_folder(s, e) < 0))
        return e->status;
    return check_space(s, save_bytes, e) < 0 ? error_prefix(e, "%s", s->path) : OK;
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

static int write_config(struct sink *s, const char *text, struct error *e)
{
    struct manifest_file *f = &s->r->m->config;
    AUTO_CLOSE int fd = -1;

    if (folder_stage(s->dirfd, f->file, &fd, e) < 0)
        return e->status;
    if (write_full(fd, text, strlen(text)) < 0 || fsync(fd) < 0)
        return error_errno(e, "%s: write", f->file);
    return sum_file(fd, f, strlen(text), e);
}

static int folder_prepare(struct sink *s, uint64_t save_bytes, const char *config, struct error *e)
{
    struct manifest *m = s->r->m;

    if (make_folder(s, save_bytes, e) < 0 || write_config(s, config, e) < 0 ||
        (m->ram.file && folder_stage(s->dirfd, m->ram.file, &s->ram_fd, e) < 0))
        return e->status;
    for (size_t i = 0; i < s->disk_count; i++)
        if (folder_stage(s->dirfd, m->disks[i].image.file, &s->image_fds[i], e) < 0)
            return e->status;
    return OK;
}

static int folder_open_ram(struct sink *s, int *fd, const char **name, struct error *e)
{
    (void)e;
    *fd = s->ram_fd;
    *name = s->r->m->ram.file;
    return OK;
}

/* ---- put ---- */

static int folder_put_disks(struct sink *s, const int from[], const struct team_watch *watch,
                            struct error *e)
{
    struct manifest *m = s->r->m;

    for (size_t i = 0; i < s->disk_count; i++)
        s->images[i] = (struct ingest_image){
            .source = from[i],
            .name = s->r->disks[i].name,
            .bytes = s->r->disks[i].bytes,
            .target = {s->image_fds[i], TARGET_NEW, m->disks[i].image.file},
        };
    if (ingest_copy(s->images, s->disk_count, FOLDER_CHUNK_BYTES, s->r->to->bytes_per_second,
                    s->r->progress, watch, e) < 0)
        return e->status;
    for (size_t i = 0; i < s->disk_count; i++) {
        m->disks[i].image.bytes = s->images[i].bytes;
        chunk_id_to_hex(&s->images[i].root, m->disks[i].image.root);
    }
    return OK;
}

static uint64_t folder_position(const struct sink *s, size_t disk)
{
    return atomic_load(&s->images[disk].position);
}

static int folder_put_ram(struct sink *s, uint64_t bytes, struct error *e)
{
    return sum_file(s->ram_fd, &s->r->m->ram, bytes, e);
}

static int folder_finish(struct sink *s, struct store_stats *stats, struct error *e)
{
    (void)stats;
    return folder_write_manifest(s->dirfd, s->r->m, e);
}

static int folder_publish_sink(struct sink *s, struct error *e)
{
    return folder_publish(s->dirfd, s->names, e);
}

const struct sink_driver sink_folder = {
    .open = folder_open_sink,
    .let_go = folder_let_go,
    .close = folder_close,
    .journal = folder_journal,
    .prepare = folder_prepare,
    .open_ram = folder_open_ram,
    .put_disks = folder_put_disks,
    .position = folder_position,
    .put_ram = folder_put_ram,
    .finish = folder_finish,
    .publish = folder_publish_sink,
};
