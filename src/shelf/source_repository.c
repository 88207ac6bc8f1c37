/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot in a repository. */
#include "shelf/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "copy/extract.h"
#include "domain/savestream.h"
#include "repo/image.h"
#include "repo/log.h"
#include "repo/records.h"

struct source {
    struct repo *repo;
    struct store *store;
    bool borrowed;   /* both: they are somebody else's */
    uint8_t **there; /* of each disk: what verify found on its target; NULL before */
    size_t disk_count;
    bool skip_damaged;
    atomic_uint_least64_t skipped_bytes;
};

static void repository_close(struct source *s)
{
    for (size_t i = 0; s && s->there && i < s->disk_count; i++)
        free(s->there[i]);
    if (s)
        free(s->there);
    if (s && !s->borrowed) {
        store_close(s->store);
        repo_close(s->repo);
    }
    free(s);
}

static int begin_run(struct source *s, const struct view_snapshot *kept, struct error *e)
{
    AUTO_FREE char *reads = format_text("%s@%s", kept->domain, kept->name);

    return reads ? repo_begin(s->repo, REPO_READS, "read", reads, e) : error_out_of_memory(e);
}

/* A snapshot can be deleted at any time, unless our run says that it reads it. */
static int get_record(struct source *s, const char *run, struct manifest *m, struct error *e)
{
    const struct view_snapshot *kept = view_find_made_by(repo_view(s->repo), run);
    struct error why;

    if (kept && record_get(s->repo, kept, m, &why) == OK)
        return OK;
    if (kept && log_read(repo_log(s->repo), e) < 0)
        return e->status;
    if (!kept || !view_find_made_by(repo_view(s->repo), run))
        return error_set(e, NOT_FOUND, "the snapshot has been deleted");
    *e = why;
    return e->status;
}

static int open_all(struct source *s, const struct snapshot_ref *ref, struct manifest *m,
                    struct error *e)
{
    const struct view_snapshot *kept;
    char run[RUN_ID];

    if (repo_open(&s->repo, ref->repo, e) < 0 ||
        record_find(s->repo, ref->domain, ref->name, &kept, e) < 0)
        return e->status;
    memcpy(run, kept->run, RUN_ID);
    if (begin_run(s, kept, e) < 0 || get_record(s, run, m, e) < 0)
        return e->status;
    if (store_open(&s->store, s->repo, e) == OK)
        return OK;
    manifest_release(m);
    return e->status;
}

static int repository_open(struct source **out, const struct snapshot_ref *ref, struct manifest *m,
                           struct error *e)
{
    struct source *s;

    if (domain_name_check(ref->domain, e) < 0)
        return e->status;
    s = calloc(1, sizeof *s);
    if (!s)
        return error_out_of_memory(e);
    if (open_all(s, ref, m, e) == OK) {
        *out = s;
        return OK;
    }
    repository_close(s);
    return e->status;
}

int source_of_store(struct source **out, struct store *store, const char *run, struct manifest *m,
                    struct error *e)
{
    struct source *s = calloc(1, sizeof *s);

    if (!s)
        return error_out_of_memory(e);
    *s = (struct source){.repo = store_repo(store), .store = store, .borrowed = true};
    if (get_record(s, run, m, e) == OK) {
        *out = s;
        return OK;
    }
    repository_close(s);
    return e->status;
}

static int repository_check(struct source *s, const struct manifest *m, struct error *e)
{
    (void)s, (void)m, (void)e;
    return OK;
}

/* One of the record's images; damage in the record is told by it. */
static int fill_image(struct extract_image *image, const struct manifest_file *f, const char *name,
                      struct target target, struct error *e)
{
    *image = (struct extract_image){.bytes = f->bytes, .name = name, .target = target};
    return chunk_id_from_hex(&image->root, f->root, e);
}

static int sign(void *arg, struct error *e)
{
    return repo_sign(arg, e);
}

/* ---- what is not to be had ---- */

/* Only of disks: RAM with holes would be a guest that breaks later, nobody knows where. */
static bool is_disk(const struct extract_image *image)
{
    for (size_t i = 0; i < 4; i++)
        if (image->name == manifest_image_name(NULL, i))
            return false;
    return true;
}

static int refuse_or_count(void *arg, const struct extract_image *image, uint64_t offset,
                           uint64_t bytes, const struct error *why, struct error *e)
{
    struct source *s = arg;

    if (!is_disk(image)) {
        *e = *why;
        return error_prefix(e, "%s", image->name);
    }
    (void)offset;
    atomic_fetch_add(&s->skipped_bytes, bytes);
    return OK;
}

static int tell_hole(void *arg, const struct extract_image *image, uint64_t offset, uint64_t bytes,
                     const struct error *why, struct error *e)
{
    (void)arg, (void)e;
    log_warning("%s: %" PRIu64 " bytes at %" PRIu64 " are zeros now: %s", image->name, bytes,
                offset, why->text);
    return OK;
}

static int write_images(struct source *s, const struct extract_image *images, size_t count,
                        struct progress *progress, struct error *e)
{
    struct team_watch watch = {.look = sign, .arg = s->repo};
    struct extract x = {
        .mode = EXTRACT_WRITE,
        .watch = &watch,
        .store = s->store,
        .images = images,
        .count = count,
        .bad = s->skip_damaged ? tell_hole : NULL,
        .bad_arg = s,
        .progress = progress,
    };

    return extract_run(&x, e);
}

static int begin_there(struct source *s, const struct manifest *m, struct error *e)
{
    s->disk_count = m->disk_count;
    s->there = calloc(m->disk_count + 1, sizeof *s->there);
    for (size_t i = 0; s->there && i < m->disk_count; i++) {
        s->there[i] = calloc(m->disks[i].image.bytes / store_chunk_bytes(s->store) / 8 + 1, 1);
        if (!s->there[i])
            return error_out_of_memory(e);
    }
    return s->there ? OK : error_out_of_memory(e);
}

static bool is_of_ram(const struct manifest *m, const struct manifest_file *f)
{
    return f == &m->ram || f == &m->ram_frames || f == &m->ram_types;
}

/* To check a snapshot is to check all of it, its configuration too. */
static int repository_verify(struct source *s, const struct manifest *m,
                             const struct source_verify *how, struct progress *progress,
                             struct error *e)
{
    AUTO_FREE struct extract_image *images = calloc(m->disk_count + 4, sizeof *images);
    struct team_watch watch = {.look = sign, .arg = s->repo};
    struct extract x = {
        .mode = EXTRACT_VERIFY,
        .watch = &watch,
        .sample = how->sample,
        .seen = how->seen,
        .store = s->store,
        .images = images,
        .bad = how->skip_damaged ? refuse_or_count : NULL,
        .bad_arg = s,
        .progress = progress,
    };
    const struct manifest_file *f;

    if (!images)
        return error_out_of_memory(e);
    s->skip_damaged = how->skip_damaged;
    if (how->targets && begin_there(s, m, e) < 0)
        return e->status;
    for (size_t i = 0; (f = manifest_image(m, i)); i++) {
        struct extract_image *image = &images[x.count];
        struct target none = {.kind = TARGET_NONE};

        if (!manifest_has(f) || (how->without_ram && is_of_ram(m, f)))
            continue;
        if (fill_image(image, f, manifest_image_name(m, i), none, e) < 0)
            return e->status;
        x.count++;
        for (size_t d = 0; how->targets && d < m->disk_count; d++)
            if (f == &m->disks[d].image && how->targets[d].kind == TARGET_OLD) {
                image->target = how->targets[d];
                image->there = s->there[d];
            }
    }
    if (extract_run(&x, e) < 0)
        return e->status;
    if (s->skipped_bytes)
        log_warning("%s@%s: %" PRIu64
                    " bytes of its disks can't be read, and are restored as zeros",
                    m->domain_name, m->name, (uint64_t)s->skipped_bytes);
    return OK;
}

static int repository_write(struct source *s, const struct manifest *m,
                            const struct target targets[], struct progress *progress,
                            struct error *e)
{
    AUTO_FREE struct extract_image *images = calloc(m->disk_count + 1, sizeof *images);

    if (!images)
        return error_out_of_memory(e);
    for (size_t i = 0; i < m->disk_count; i++) {
        if (fill_image(&images[i], &m->disks[i].image, m->disks[i].path, targets[i], e) < 0)
            return e->status;
        images[i].there = s->there ? s->there[i] : NULL;
    }
    return write_images(s, images, m->disk_count, progress, e);
}

/* ---- RAM: read in order, at the pace of who takes it ---- */

struct ram {
    struct image *images[SAVE_PARTS];
    struct progress *progress;
};

static int read_part(void *arg, enum save_part part, void *to, size_t bytes, uint64_t offset,
                     struct error *e)
{
    struct ram *ram = arg;

    progress_add(ram->progress, bytes);
    return image_read(ram->images[part], to, bytes, offset, e);
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

static int repository_write_ram(struct source *s, const struct manifest *m, int to,
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
            rc = image_open(&ram.images[i], s->store, files[i]->root, files[i]->bytes, "RAM", e);
    }
    /* What there is most of. */
    if (rc == OK)
        rc = image_read_ahead(ram.images[manifest_has(&m->ram_frames) ? SAVE_FRAMES : SAVE_REST],
                              team_size_of_readers(0, UINT64_MAX), e);
    if (rc == OK)
        rc = manifest_has(&m->ram_frames) ? save_parts_join(&parts, to, e)
                                          : write_whole(&ram, m->ram.bytes, to, e);
    for (int i = 0; i < SAVE_PARTS; i++)
        image_close(ram.images[i]);
    return rc;
}

static int repository_open_config(struct source *s, const struct manifest *m, int *fd,
                                  struct error *e)
{
    struct progress ignored = {NULL};
    struct extract_image image;
    int memory = memfd_create("domsnap", MFD_CLOEXEC);
    struct target target = {memory, TARGET_NEW, "memory"};

    if (memory < 0)
        return error_errno(e, "configuration");
    if (fill_image(&image, &m->config, "configuration", target, e) == OK &&
        write_images(s, &image, 1, &ignored, e) == OK) {
        *fd = memory;
        return OK;
    }
    close(memory);
    return e->status;
}

const struct source_driver source_repository = {
    .open = repository_open,
    .close = repository_close,
    .check = repository_check,
    .verify = repository_verify,
    .write = repository_write,
    .write_ram = repository_write_ram,
    .open_config = repository_open_config,
};
