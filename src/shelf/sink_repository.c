/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot into a repository. Nothing there is seen by others before its `add` is in the
 * log, so that there is nothing to undo: what a run that died has left is removed by the next
 * sweep.
 */
#include "shelf/sink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "copy/ingest.h"
#include "domain/savestream.h"
#include "repo/commit.h"
#include "repo/records.h"
#include "repo/sweep.h"

struct sink {
    const struct sink_request *r;
    struct repo *repo;
    struct store *store;
    struct ingest *ingest;
    struct manifest before;      /* the snapshot before; all zero: none */
    struct store_worker *worker; /* for reading that */
    struct tree *trees;          /* one a disk, as it was before; all zero: none */
    struct ingest_image *images; /* one a disk */
    int ram_fd;
};

static void repository_close(struct sink *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->trees && i < s->r->disk_count; i++)
        tree_release(&s->trees[i]);
    if (s->ram_fd >= 0)
        close(s->ram_fd);
    store_worker_free(s->worker);
    ingest_free(s->ingest);
    store_close(s->store);
    repo_close(s->repo);
    manifest_release(&s->before);
    free(s->trees);
    free(s->images);
    free(s);
}

/* ---- open ---- */

static int name_snapshot(struct sink *s, struct error *e)
{
    const char *name = s->r->to->name, *domain = s->r->domain;
    char now[17];

    record_name_of_now(now);
    s->r->m->name = strdup(name ? name : now);
    if (!s->r->m->name)
        return error_out_of_memory(e);
    if (record_name_check(s->r->m->name, e) < 0)
        return e->status;
    if (view_find_snapshot(repo_view(s->repo), domain, s->r->m->name))
        return error_set(e, BUSY, "there is a snapshot %s@%s already", domain, s->r->m->name);
    return OK;
}

/* The latest that can be read: what is damaged costs space, not the snapshot. */
static int find_before(struct sink *s, struct error *e)
{
    struct error why;
    size_t count;
    const struct view_snapshot *list = view_domain(repo_view(s->repo), s->r->domain, &count);

    while (count--) {
        if (record_get(s->repo, &list[count], &s->before, &why) == OK)
            return OK;
        if (why.status != DAMAGED && why.status != UNSUPPORTED) {
            *e = why;
            return e->status;
        }
        log_warning("%s", why.text);
    }
    return OK;
}

static int begin_run(struct sink *s, struct error *e)
{
    AUTO_FREE char *command = format_text("create %s", s->r->domain);

    if (!command)
        return error_out_of_memory(e);
    return repo_begin(s->repo, REPO_WRITES, command, "", e) < 0
               ? error_prefix(e, "repository %s", s->r->to->repo)
               : OK;
}

static int open_all(struct sink *s, struct error *e)
{
    AUTO_FREE char *path = NULL;

    if (shelf_resolve(s->r->to->repo, &path, e) < 0)
        return e->status;
    if (repo_open(&s->repo, s->r->to->repo, e) < 0 || name_snapshot(s, e) < 0)
        return e->status;
    if (begin_run(s, e) < 0 || store_open(&s->store, s->repo, e) < 0)
        return e->status;
    return find_before(s, e);
}

static int repository_open(struct sink **out, const struct sink_request *r, struct error *e)
{
    struct sink *s = calloc(1, sizeof *s);

    if (!s)
        return error_out_of_memory(e);
    s->r = r;
    s->ram_fd = -1;
    s->trees = calloc(r->disk_count + 1, sizeof *s->trees);
    s->images = calloc(r->disk_count + 1, sizeof *s->images);
    if (!s->trees || !s->images)
        error_out_of_memory(e);
    else if (open_all(s, e) == OK) {
        *out = s;
        return OK;
    }
    repository_close(s);
    return e->status;
}

static int repository_journal(const struct sink *s, json_t **kept, struct error *e)
{
    (void)s, (void)e;
    *kept = NULL;
    return OK;
}

/* ---- put ---- */

/* What an image was before, if that can be read: else it is stored anew. */
static const struct tree *find_tree(struct sink *s, const struct manifest_file *f, const char *what,
                                    struct tree *tree)
{
    struct chunk_id root;
    struct error why = {0};

    if (!manifest_has(f))
        return NULL;
    if (chunk_id_from_hex(&root, f->root, &why) == OK &&
        tree_get(tree, s->worker, &root, f->bytes, store_chunk_bytes(s->store), NULL, &why) == OK)
        return tree;
    log_warning("%s@%s, %s: %s", s->before.domain_name, s->before.name, what, why.text);
    return NULL;
}

static const struct tree *find_disk(struct sink *s, size_t i)
{
    const char *vdev = s->r->disks[i].vdev;

    for (size_t j = 0; j < s->before.disk_count; j++)
        if (strcmp(s->before.disks[j].vdev, vdev) == 0)
            return find_tree(s, &s->before.disks[j].image, vdev, &s->trees[i]);
    return NULL;
}

/* An image that was put. */
static void name_image(struct manifest_file *f, const struct ingest_image *image)
{
    f->bytes = image->bytes;
    chunk_id_to_hex(&image->root, f->root);
}

/* Put what is small, out of a file in memory. */
static int put_small(struct sink *s, int fd, const char *name, struct manifest_file *f,
                     struct error *e)
{
    struct ingest_image image = {.source = fd, .name = name};

    if (file_size(fd, name, &image.bytes, e) < 0 || ingest_put(s->ingest, &image, 1, NULL, e) < 0)
        return e->status;
    name_image(f, &image);
    return OK;
}

static int open_memory(int *fd, const char *what, struct error *e)
{
    *fd = memfd_create("domsnap", MFD_CLOEXEC);
    return *fd < 0 ? error_errno(e, "memory for %s", what) : OK;
}

static int put_config(struct sink *s, const char *text, struct error *e)
{
    AUTO_CLOSE int fd = -1;

    if (open_memory(&fd, "the configuration", e) < 0)
        return e->status;
    if (write_full(fd, text, strlen(text)) < 0)
        return error_errno(e, "memory for the configuration");
    return put_small(s, fd, "configuration", &s->r->m->config, e);
}

/* The save stream goes to a file without a name first, since only its end tells which pages are
 * the last of their frames. */
static int make_ram_file(struct sink *s, uint64_t save_bytes, struct error *e)
{
    uint64_t need = save_bytes + s->r->memory_bytes, free_bytes;
    struct backend *b = repo_backend(s->repo);

    if (!s->r->ram)
        return OK;
    if (b->driver->temporary(b, &s->ram_fd, &free_bytes, e) < 0)
        return e->status;
    if (free_bytes >= need)
        return OK;
    return error_set(e, NO_SPACE,
                     "repository %s: RAM can take up to %" PRIu64 " MiB, and %" PRIu64
                     " MiB are free there; nothing was done",
                     s->r->to->repo, need >> 20, free_bytes >> 20);
}

static int repository_prepare(struct sink *s, uint64_t save_bytes, const char *config,
                              struct error *e)
{
    if (ingest_new(&s->ingest, s->store, 0, s->r->progress, e) < 0 ||
        (s->before.name && store_worker_new(&s->worker, s->store, e) < 0) ||
        make_ram_file(s, save_bytes, e) < 0)
        return e->status;
    for (size_t i = 0; i < s->r->disk_count; i++) {
        const struct sink_disk *disk = &s->r->disks[i];

        s->images[i] = (struct ingest_image){
            .name = disk->name, .bytes = disk->bytes, .previous = find_disk(s, i)};
    }
    return put_config(s, config, e);
}

static int repository_open_ram(struct sink *s, int *fd, const char **name, struct error *e)
{
    (void)e;
    *fd = s->ram_fd;
    *name = "the save stream";
    return OK;
}

/* What the caller looks at, and that our run is seen to be alive. */
struct looking {
    struct repo *repo;
    const struct team_watch *callers;
};

static int look(void *arg, struct error *e)
{
    const struct looking *l = arg;

    if (l->callers && l->callers->look(l->callers->arg, e) < 0)
        return e->status;
    return repo_sign(l->repo, e);
}

static int repository_put_disks(struct sink *s, const int from[], const struct team_watch *callers,
                                struct error *e)
{
    struct looking looking = {s->repo, callers};
    struct team_watch watch = {
        .look = look, .arg = &looking, .gives_way = callers && callers->gives_way};
    struct manifest *m = s->r->m;
    int rc;

    for (size_t i = 0; i < m->disk_count; i++)
        s->images[i].source = from[i];
    ingest_limit(s->ingest, s->r->to->bytes_per_second);
    rc = ingest_put(s->ingest, s->images, m->disk_count, &watch, e);
    ingest_limit(s->ingest, 0);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < m->disk_count; i++)
        name_image(&m->disks[i].image, &s->images[i]);
    return OK;
}

static uint64_t repository_position(const struct sink *s, size_t disk)
{
    return atomic_load(&s->images[disk].position);
}

static int read_pages(const void *arg, void *to, size_t bytes, uint64_t offset, struct error *e)
{
    return save_pages_read(arg, to, bytes, offset, e);
}

static uint64_t next_page(const void *arg, uint64_t offset)
{
    return save_pages_next(arg, offset);
}

static int put_pages(struct sink *s, const struct save_pages *pages, struct error *e)
{
    struct manifest *m = s->r->m;
    struct tree tree = {0};
    struct ingest_image image = {
        .read = read_pages,
        .next = next_page,
        .arg = pages,
        .name = "RAM",
        .bytes = save_pages_frames(pages) * DOMAIN_PAGE_BYTES,
        .previous = find_tree(s, &s->before.ram_frames, "RAM", &tree),
    };
    AUTO_CLOSE int types = -1;
    AUTO_CLOSE int rest = -1;
    int rc = ingest_put(s->ingest, &image, 1, NULL, e);

    tree_release(&tree);
    if (rc < 0 || open_memory(&types, "the pages' types", e) < 0 ||
        open_memory(&rest, "the save stream", e) < 0 ||
        save_pages_write_types(pages, types, e) < 0 ||
        save_pages_write_rest(pages, rest, &m->ram_pages_at, e) < 0)
        return e->status;
    name_image(&m->ram_frames, &image);
    return put_small(s, types, "RAM", &m->ram_types, e) < 0 ? e->status
                                                            : put_small(s, rest, "RAM", &m->ram, e);
}

static int repository_put_ram(struct sink *s, uint64_t bytes, struct error *e)
{
    struct ingest_image whole = {.source = s->ram_fd, .name = "RAM", .bytes = bytes};
    struct save_pages *pages;
    struct error why;
    int rc;

    rc = save_pages_find(&pages, s->ram_fd, bytes, &why);
    if (rc == OK) {
        rc = put_pages(s, pages, e);
        save_pages_free(pages);
        return rc;
    }
    if (rc != UNSUPPORTED && rc != DAMAGED) {
        *e = why;
        return e->status;
    }
    log_warning("the RAM is kept as one stream, and shares nothing with other snapshots: %s",
                why.text);
    if (ingest_put(s->ingest, &whole, 1, NULL, e) < 0)
        return e->status;
    name_image(&s->r->m->ram, &whole);
    return OK;
}

static int repository_finish(struct sink *s, struct store_stats *stats, struct error *e)
{
    if (store_finish(s->store, e) < 0)
        return e->status;
    *stats = store_stats(s->store);
    return OK;
}

static int repository_publish(struct sink *s, struct error *e)
{
    size_t damaged = store_found_damaged(s->store);

    if (commit_snapshot(s->store, s->r->m, e) < 0)
        return e->status;
    if (damaged)
        log_warning(
            "%zu pieces of earlier snapshots turned out to be damaged; what the guest still "
            "has of them was stored anew (`domsnap check --read-data` looks for more)",
            damaged);
    sweep_upkeep(s->repo);
    return OK;
}

const struct sink_driver sink_repository = {
    .open = repository_open,
    .close = repository_close,
    .journal = repository_journal,
    .prepare = repository_prepare,
    .open_ram = repository_open_ram,
    .put_disks = repository_put_disks,
    .position = repository_position,
    .put_ram = repository_put_ram,
    .finish = repository_finish,
    .publish = repository_publish,
};
