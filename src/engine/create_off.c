/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * create, of a domain that does not run: its disks, into a repository. Nothing outside the repository is changed, so there is
 * nothing to undo: what a run that died has put there is found by the next collection.
 *
 *     describe   its configuration; that it does not run; the volumes, which nobody may use meanwhile
 *     put        the disks and the configuration, against the snapshot before
 *     publish    commit point: the record
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/time.h"
#include "copy/ingest.h"
#include "engine/describe.h"
#include "engine/engine.h"
#include "engine/journal.h"
#include "repo/records.h"

#define CONFIG_MAX_BYTES (1u << 20)

struct creation {
    struct engine *engine;
    const struct create_off_params *params;
    struct description d;
    struct journal lock; /* nobody else works on this domain meanwhile */
    int config_fd;
    uint64_t config_bytes;
    struct store *store;
    int *sources;                /* one a disk, held so that nobody else opens it */
    struct tree *previous;       /* one a disk; all zero: none */
    struct ingest_image *images; /* one a disk, and the configuration */
    struct manifest m;
};

/* ---- describe ---- */

/* A copy of it, since the file may change meanwhile. */
static int read_config(struct creation *c, char **text, struct error *e)
{
    const char *file = c->params->config_file;
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_errno(e, "%s: open", file);
    if (file_size(fd, file, &c->config_bytes, e) < 0)
        return e->status;
    if (c->config_bytes > CONFIG_MAX_BYTES)
        return error_set(e, UNSUPPORTED, "%s is too large for a configuration", file);
    *text = calloc(1, c->config_bytes + 1);
    if (!*text || read_full(fd, *text, c->config_bytes) < 0)
        return error_errno(e, "%s: read", file);
    c->config_fd = memfd_create("domsnap", MFD_CLOEXEC);
    if (c->config_fd < 0 || write_full(c->config_fd, *text, c->config_bytes) < 0)
        return error_errno(e, "memory for the configuration");
    return OK;
}

/* Without a hypervisor nobody runs. */
static int check_off(struct creation *c, struct error *e)
{
    struct domain running;
    int rc = engine_connect(c->engine, e);

    if (rc == UNSUPPORTED)
        return OK;
    if (rc == OK)
        rc = c->engine->domains->describe(c->engine->host, c->d.domain.name, &running, e);
    if (rc == NOT_FOUND)
        return OK;
    if (rc < 0)
        return rc;
    domain_release(&running);
    return error_set(e, BUSY, "it is running; without --config it is snapshotted as it runs");
}

/* Held to the end: no guest, mount or loop device can take a block device then. */
static int open_sources(struct creation *c, struct error *e)
{
    c->sources = malloc((c->d.disk_count + 1) * sizeof *c->sources);
    if (!c->sources)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < c->d.disk_count; i++)
        c->sources[i] = -1;
    for (size_t i = 0; i < c->d.disk_count; i++)
        if (volume_open_idle(c->d.disks[i].volume, &c->sources[i], e) < 0)
            return error_prefix(e, "disk %s", c->d.disks[i].disk->vdev);
    return OK;
}

static int check_name(struct creation *c, struct error *e)
{
    char now[17];

    if (c->params->domain && strcmp(c->params->domain, c->d.domain.name) != 0)
        return error_set(e, USAGE, "%s is the configuration of %s", c->params->config_file,
                         c->d.domain.name);
    record_name_of_now(now);
    c->m.name = strdup(c->params->name ? c->params->name : now);
    if (!c->m.name)
        return error_set(e, NO_SPACE, "out of memory");
    if (record_name_check(c->m.name, e) < 0)
        return e->status;
    if (record_exists(store_dirfd(c->store), c->d.domain.name, c->m.name))
        return error_set(e, BUSY, "there is a snapshot %s@%s already", c->d.domain.name, c->m.name);
    return OK;
}

static int describe(struct creation *c, struct error *e)
{
    AUTO_FREE char *text = NULL;

    if (read_config(c, &text, e) < 0 ||
        c->engine->domains->describe_config(text, c->config_bytes, c->params->config_file,
                                            &c->d.domain, e) < 0 ||
        store_open(&c->store, c->params->repo, STORE_SHARED, e) < 0 || check_name(c, e) < 0 ||
        journal_open(&c->lock, c->engine, c->d.domain.name, NULL, e) < 0 || check_off(c, e) < 0 ||
        description_open_disks(&c->d, c->engine, e) < 0)
        return e->status;
    for (size_t i = 0; i < c->d.left_out_count; i++)
        log_note("disk %s is left out: %s", c->d.left_out[i].disk->vdev, c->d.left_out[i].why);
    return open_sources(c, e);
}

/* ---- put ---- */

/* The tree of the same disk, as of `before`. One that can't be read is no hindrance: the disk is stored anew. */
static void find_tree(struct creation *c, size_t i, const struct manifest *before,
                      struct store_worker *w)
{
    const struct domain_disk *disk = c->d.disks[i].disk;
    struct chunk_id root;
    struct error why = {0};

    for (size_t j = 0; j < before->disk_count; j++) {
        const struct manifest_disk *d = &before->disks[j];

        if (strcmp(d->vdev, disk->vdev) != 0)
            continue;
        if (chunk_id_from_hex(&root, d->image.root, &why) == OK &&
            tree_get(&c->previous[i], w, &root, d->image.bytes, store_chunk_bytes(c->store),
                     &why) == OK)
            c->images[i].previous = &c->previous[i];
        else
            log_warning("%s@%s, disk %s: %s", before->domain_name, before->name, d->vdev, why.text);
    }
}

static int find_previous(struct creation *c, struct error *e)
{
    struct store_worker *w = NULL;
    struct manifest *list;
    size_t count;

    if (record_list(store_dirfd(c->store), c->d.domain.name, RECORD_WARN, &list, &count, e) < 0)
        return e->status;
    if (count && store_worker_new(&w, c->store, e) == OK)
        for (size_t i = 0; i < c->d.disk_count; i++)
            find_tree(c, i, &list[count - 1], w);
    store_worker_free(w);
    record_list_release(list, count);
    return count && !w ? e->status : OK;
}

static int put(struct creation *c, struct create_stats *stats, struct error *e)
{
    struct ingest in = {
        .store = c->store,
        .count = c->d.disk_count + 1,
        .bytes_per_second = c->params->bytes_per_second,
        .progress = &c->engine->progress,
    };
    uint64_t total = c->config_bytes;

    c->previous = calloc(in.count, sizeof *c->previous);
    c->images = calloc(in.count, sizeof *c->images);
    if (!c->previous || !c->images)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < c->d.disk_count; i++) {
        const struct volume *v = c->d.disks[i].volume;

        c->images[i] =
            (struct ingest_image){.source = c->sources[i], .name = v->name, .bytes = v->size_bytes};
        total += v->size_bytes;
    }
    c->images[c->d.disk_count] = (struct ingest_image){
        .source = c->config_fd,
        .name = c->params->config_file,
        .bytes = c->config_bytes,
    };
    if (find_previous(c, e) < 0)
        return e->status;
    in.images = c->images;
    progress_begin(&c->engine->progress, "copy", total);
    if (ingest_run(&in, NULL, NULL, e) < 0)
        return e->status;
    *stats = (struct create_stats){in.stats.put_bytes, in.stats.known_bytes, in.stats.stored_bytes};
    return OK;
}

/* ---- publish ---- */

static void name_tree(struct manifest_file *f, const struct ingest_image *image)
{
    f->bytes = image->bytes;
    chunk_id_to_hex(&image->root, f->root);
}

static int publish(struct creation *c, struct error *e)
{
    if (description_to_manifest(&c->d, c->engine, "off", &c->m, e) < 0)
        return e->status;
    for (size_t i = 0; i < c->m.disk_count; i++)
        name_tree(&c->m.disks[i].image, &c->images[i]);
    name_tree(&c->m.config, &c->images[c->m.disk_count]);
    if (interrupt_check(e) < 0)
        return e->status;
    progress_begin(&c->engine->progress, "publish", 0);
    return record_write(store_dirfd(c->store), &c->m, e);
}

static void release(struct creation *c)
{
    for (size_t i = 0; c->sources && i < c->d.disk_count; i++)
        if (c->sources[i] >= 0)
            close(c->sources[i]);
    for (size_t i = 0; c->previous && i < c->d.disk_count; i++)
        tree_release(&c->previous[i]);
    if (c->config_fd >= 0)
        close(c->config_fd);
    store_close(c->store);
    journal_release(&c->lock);
    description_release(&c->d);
    free(c->sources);
    free(c->previous);
    free(c->images);
}

int engine_create_off(struct engine *engine, const struct create_off_params *params,
                      struct manifest *m, struct create_stats *stats, struct error *e)
{
    struct creation c = {
        .engine = engine,
        .params = params,
        .lock = JOURNAL_NONE,
        .config_fd = -1,
    };
    int rc;

    progress_begin(&engine->progress, "describe", 0);
    rc = describe(&c, e);
    if (rc == OK)
        rc = put(&c, stats, e);
    if (rc == OK)
        rc = publish(&c, e);
    release(&c);
    if (rc < 0) {
        manifest_release(&c.m);
        return error_prefix(e, "create");
    }
    *m = c.m;
    return OK;
}
