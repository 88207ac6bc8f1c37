/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* More are merged into one. */
#define SEGMENTS_MAX 8

/* So many records are kept in memory before they go to a file: 16 MiB of them. */
#define FRESH_MAX (1u << 19)

struct index {
    int dirfd, packs_dirfd; /* index/, packs/ */
    pthread_mutex_t lock;   /* guards all that follows */
    struct index_pack *packs;
    size_t pack_count, listed_count; /* those that were there at the start are sorted by name */
    struct segment segments[SEGMENTS_MAX + 1];
    size_t segment_count;
    struct entry *fresh; /* open addressing; stored_bytes 0: empty */
    size_t fresh_slots, fresh_count;
    bool in_memory; /* files can't be written */
};

/* ---- packs by name ---- */

static int add_pack(struct index *ix, const char *name, uint64_t bytes, uint32_t *number,
                    struct error *e)
{
    struct index_pack *packs;

    /* Doubling at each power of two. */
    if ((ix->pack_count & (ix->pack_count - 1)) == 0) {
        packs = realloc(ix->packs, (ix->pack_count ? 2 * ix->pack_count : 1) * sizeof *packs);
        if (!packs)
            return error_set(e, NO_SPACE, "out of memory");
        ix->packs = packs;
    }
    *number = (uint32_t)ix->pack_count++;
    ix->packs[*number] = (struct index_pack){.fd = -1};
    snprintf(ix->packs[*number].name, PACK_NAME, "%s", name);
    ix->packs[*number].bytes = bytes;
    return OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct index_pack *)a)->name, ((const struct index_pack *)b)->name);
}

static bool is_pack_file(const char *name)
{
    return strlen(name) == PACK_NAME - 1 + 5 && strspn(name, "0123456789abcdef") == PACK_NAME - 1 &&
           strcmp(name + PACK_NAME - 1, ".pack") == 0;
}

static int list_packs(struct index *ix, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    const char *file;
    uint32_t number;

    if (list_in(ix->packs_dirfd, ".", &dir, e) < 0)
        return error_prefix(e, "packs");
    while ((file = dir_next(dir))) {
        char name[PACK_NAME];
        struct stat st;

        if (!is_pack_file(file))
            continue;
        /* One that was collected meanwhile. */
        if (fstatat(ix->packs_dirfd, file, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno == ENOENT)
                continue;
            return error_errno(e, "packs/%s", file);
        }
        snprintf(name, sizeof name, "%.*s", PACK_NAME - 1, file);
        if (add_pack(ix, name, (uint64_t)st.st_size, &number, e) < 0)
            return e->status;
    }
    if (errno)
        return error_errno(e, "packs: list");
    if (ix->pack_count)
        qsort(ix->packs, ix->pack_count, sizeof *ix->packs, compare_names);
    ix->listed_count = ix->pack_count;
    return OK;
}

static uint32_t pack_number(void *arg, const char *name, uint64_t bytes)
{
    const struct index *ix = arg;
    struct index_pack key, *found = NULL;

    snprintf(key.name, PACK_NAME, "%s", name);
    if (ix->listed_count)
        found = bsearch(&key, ix->packs, ix->listed_count, sizeof key, compare_names);
    /* Of our own. */
    for (size_t i = ix->listed_count; !found && i < ix->pack_count; i++)
        if (strcmp(ix->packs[i].name, name) == 0)
            found = &ix->packs[i];
    if (!found || found->bytes != bytes)
        return SEGMENT_PACK_GONE;
    found->indexed = true;
    return (uint32_t)(found - ix->packs);
}

/* ---- entries in memory ---- */

static size_t slot_of(const struct index *ix, const uint8_t prefix[PREFIX_BYTES])
{
    uint64_t hash;
    size_t slot;

    memcpy(&hash, prefix, sizeof hash);
    for (slot = hash & (ix->fresh_slots - 1); ix->fresh[slot].stored_bytes;
         slot = (slot + 1) & (ix->fresh_slots - 1))
        if (memcmp(ix->fresh[slot].prefix, prefix, PREFIX_BYTES) == 0)
            break;
    return slot;
}

static int make_room(struct index *ix, struct error *e)
{
    struct index bigger = {.fresh_slots = ix->fresh_slots ? 2 * ix->fresh_slots : 4096};

    if (2 * ix->fresh_count < ix->fresh_slots)
        return OK;
    bigger.fresh = calloc(bigger.fresh_slots, sizeof *bigger.fresh);
    if (!bigger.fresh)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < ix->fresh_slots; i++)
        if (ix->fresh[i].stored_bytes)
            bigger.fresh[slot_of(&bigger, ix->fresh[i].prefix)] = ix->fresh[i];
    free(ix->fresh);
    ix->fresh = bigger.fresh;
    ix->fresh_slots = bigger.fresh_slots;
    return OK;
}

static int put_fresh(struct index *ix, const struct chunk_id *id, const struct location *where,
                     struct error *e)
{
    struct entry *to;

    if (make_room(ix, e) < 0)
        return e->status;
    to = &ix->fresh[slot_of(ix, id->bytes)];
    /* What is there whole is not to be had as a patch: it may be a patch's base. */
    if (to->stored_bytes && to->pack != PACK_OPEN && where->patch && !entry_location(to).patch)
        return OK;
    ix->fresh_count += !to->stored_bytes;
    memcpy(to->prefix, id->bytes, PREFIX_BYTES);
    to->pack = where->pack;
    to->offset = where->offset;
    to->stored_bytes = where->stored_bytes | (where->patch ? ENTRY_PATCH : 0);
    return OK;
}

/* A closed pack's table. */
static int put_table(struct index *ix, uint32_t pack, const struct table_entry *entries,
                     size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        struct location where = {
            .pack = pack,
            .offset = entries[i].offset,
            .stored_bytes = entries[i].stored_bytes,
            .patch = entries[i].encoding == ENCODING_PATCH,
        };

        if (put_fresh(ix, &entries[i].id, &where, e) < 0)
            return e->status;
    }
    return OK;
}

/* ---- to files ---- */

static int add_segment(struct index *ix, const char *name, struct error *e)
{
    int rc = segment_map(&ix->segments[ix->segment_count], ix->dirfd, name, pack_number, ix, e);

    ix->segment_count += rc == OK;
    return rc;
}

static int compare_entries(const void *a, const void *b)
{
    return memcmp(a, b, PREFIX_BYTES);
}

/* The entries of closed packs, sorted; those of open ones stay in memory. */
static size_t take_closed(struct index *ix, struct entry *sorted)
{
    size_t count = 0;

    for (size_t i = 0; i < ix->fresh_slots; i++)
        if (ix->fresh[i].stored_bytes && ix->fresh[i].pack != PACK_OPEN)
            sorted[count++] = ix->fresh[i];
    qsort(sorted, count, sizeof *sorted, compare_entries);
    return count;
}

static void forget_closed(struct index *ix)
{
    struct index less = {.fresh_slots = ix->fresh_slots};

    less.fresh = calloc(less.fresh_slots, sizeof *less.fresh);
    /* Without memory they stay: known twice. */
    if (!less.fresh)
        return;
    for (size_t i = 0; i < ix->fresh_slots; i++)
        if (ix->fresh[i].stored_bytes && ix->fresh[i].pack == PACK_OPEN) {
            less.fresh[slot_of(&less, ix->fresh[i].prefix)] = ix->fresh[i];
            less.fresh_count++;
        }
    free(ix->fresh);
    ix->fresh = less.fresh;
    ix->fresh_count = less.fresh_count;
}

static int save(struct index *ix, struct error *e)
{
    AUTO_FREE struct entry *sorted = malloc((ix->fresh_count + 1) * sizeof *sorted);
    struct segment_source sources[SEGMENTS_MAX + 1];
    AUTO_FREE char *name = NULL;
    size_t old = ix->segment_count, fresh_count, count = 0;
    bool all = old == SEGMENTS_MAX;

    if (!sorted)
        return error_set(e, NO_SPACE, "out of memory");
    fresh_count = take_closed(ix, sorted);
    if (!fresh_count)
        return OK;
    sources[count++] = (struct segment_source){sorted, sorted + fresh_count, NULL};
    for (size_t i = 0; all && i < old; i++) {
        const struct segment *s = &ix->segments[i];

        sources[count++] = (struct segment_source){s->entries, s->entries + s->count, s};
    }
    if (segment_write(ix->dirfd, sources, count, ix->packs, ix->pack_count, &name, e) < 0 ||
        add_segment(ix, name, e) < 0)
        return e->status;
    forget_closed(ix);
    if (!all)
        return OK;
    for (size_t i = 0; i < old; i++) {
        unlinkat(ix->dirfd, ix->segments[i].name, 0);
        segment_unmap(&ix->segments[i]);
    }
    ix->segments[0] = ix->segments[old];
    ix->segment_count = 1;
    return OK;
}

/* Without that it takes more memory. */
static void save_some(struct index *ix)
{
    struct error why;

    if (ix->fresh_count <= FRESH_MAX || ix->in_memory || save(ix, &why) == OK)
        return;
    ix->in_memory = true;
    log_debug("the index is kept in memory: %s", why.text);
}

/* ---- opening ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t len = strlen(name), suffix_len = strlen(suffix);

    return len > suffix_len && *name != '.' && strcmp(name + len - suffix_len, suffix) == 0;
}

/* What can't be used is left out: it is only a cache. */
static int map_segments(struct index *ix, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    const char *file;
    struct error why;

    if (list_in(ix->dirfd, ".", &dir, e) < 0)
        return error_prefix(e, "index");
    while (ix->segment_count < SEGMENTS_MAX && (file = dir_next(dir)))
        if (has_suffix(file, ".idx") && add_segment(ix, file, &why) < 0)
            log_debug("index/%s is left out: %s", file, why.text);
    return OK;
}

static int read_pack(struct index *ix, uint32_t number, struct error *e)
{
    const struct index_pack *pack = &ix->packs[number];
    AUTO_FREE struct table_entry *entries = NULL;
    AUTO_CLOSE int fd = -1;
    uint64_t bytes;
    size_t count;

    if (pack_open(ix->packs_dirfd, pack->name, &fd, &bytes, e) < 0)
        return e->status;
    if (pack_read_table(fd, bytes, &entries, &count, e) < 0)
        return error_prefix(e, "pack %s", pack->name);
    return put_table(ix, number, entries, count, e);
}

/* A pack whose table can't be read is as good as absent, and said to be so: what only it holds is
 * lost. */
static int read_other_packs(struct index *ix, struct error *e)
{
    for (uint32_t i = 0; i < ix->pack_count; i++) {
        struct error why;

        if (ix->packs[i].indexed)
            continue;
        if (read_pack(ix, i, &why) == OK) {
            save_some(ix);
            continue;
        }
        if (why.status != DAMAGED && why.status != UNSUPPORTED && why.status != NOT_FOUND) {
            *e = why;
            return e->status;
        }
        log_warning("%s; what it holds is not to be had: `domsnap check` says what needs it",
                    why.text);
    }
    return OK;
}

int index_open(struct index **out, int repo_dirfd, struct error *e)
{
    struct index *ix = calloc(1, sizeof *ix);

    if (!ix)
        return error_errno(e, "index");
    pthread_mutex_init(&ix->lock, NULL);
    ix->dirfd = ix->packs_dirfd = -1;
    if (open_in(repo_dirfd, "index", O_RDONLY | O_DIRECTORY, &ix->dirfd, e) == OK &&
        open_in(repo_dirfd, "packs", O_RDONLY | O_DIRECTORY, &ix->packs_dirfd, e) == OK &&
        make_room(ix, e) == OK && list_packs(ix, e) == OK && map_segments(ix, e) == OK &&
        read_other_packs(ix, e) == OK) {
        *out = ix;
        return OK;
    }
    index_close(ix);
    return e->status;
}

void index_close(struct index *ix)
{
    if (!ix)
        return;
    for (size_t i = 0; i < ix->segment_count; i++)
        segment_unmap(&ix->segments[i]);
    for (size_t i = 0; i < ix->pack_count; i++)
        if (ix->packs[i].fd >= 0)
            close(ix->packs[i].fd);
    if (ix->dirfd >= 0)
        close(ix->dirfd);
    if (ix->packs_dirfd >= 0)
        close(ix->packs_dirfd);
    pthread_mutex_destroy(&ix->lock);
    free(ix->packs);
    free(ix->fresh);
    free(ix);
}

/* ---- finding ---- */

static int find(struct index *ix, const struct chunk_id *id, struct location *where)
{
    const struct entry *fresh = &ix->fresh[slot_of(ix, id->bytes)];
    struct location one;
    int rc = NOT_FOUND;

    if (fresh->stored_bytes) {
        *where = entry_location(fresh);
        rc = OK;
    }
    for (size_t i = 0; (rc == NOT_FOUND || where->patch) && i < ix->segment_count; i++)
        if (segment_find(&ix->segments[i], id->bytes, &one) && (rc == NOT_FOUND || !one.patch)) {
            *where = one;
            rc = OK;
        }
    return rc;
}

int index_find(struct index *ix, const struct chunk_id *id, struct location *where)
{
    int rc;

    pthread_mutex_lock(&ix->lock);
    rc = find(ix, id, where);
    pthread_mutex_unlock(&ix->lock);
    return rc;
}

static const struct location open_pack = {.pack = PACK_OPEN, .stored_bytes = 1};

int index_claim(struct index *ix, const struct chunk_id *id, struct location *where,
                struct error *e)
{
    int rc;

    pthread_mutex_lock(&ix->lock);
    rc = find(ix, id, where);
    if (rc == NOT_FOUND && put_fresh(ix, id, &open_pack, e) < 0)
        rc = e->status;
    pthread_mutex_unlock(&ix->lock);
    return rc;
}

int index_reclaim(struct index *ix, const struct chunk_id *id, struct error *e)
{
    struct location where;
    int rc;

    pthread_mutex_lock(&ix->lock);
    rc = find(ix, id, &where);
    if (rc == OK && where.patch)
        rc = NOT_FOUND;
    if (rc == NOT_FOUND && put_fresh(ix, id, &open_pack, e) < 0)
        rc = e->status;
    pthread_mutex_unlock(&ix->lock);
    return rc;
}

int index_pack_open(struct index *ix, uint32_t pack, int *fd, char name[PACK_NAME], struct error *e)
{
    uint64_t bytes;
    int rc = OK;

    pthread_mutex_lock(&ix->lock);
    if (pack >= ix->pack_count)
        rc = error_set(e, DAMAGED, "the index names a pack that does not exist");
    else if (ix->packs[pack].fd < 0)
        rc = pack_open(ix->packs_dirfd, ix->packs[pack].name, &ix->packs[pack].fd, &bytes, e);
    if (rc == OK) {
        *fd = ix->packs[pack].fd;
        memcpy(name, ix->packs[pack].name, PACK_NAME);
    }
    pthread_mutex_unlock(&ix->lock);
    return rc;
}

const struct index_pack *index_packs(const struct index *ix, size_t number)
{
    return number < ix->pack_count ? &ix->packs[number] : NULL;
}

int index_pack_remove(const struct index *ix, size_t number, struct error *e)
{
    char file[PACK_NAME + 8];

    snprintf(file, sizeof file, "%s.pack", ix->packs[number].name);
    return unlinkat(ix->packs_dirfd, file, 0) < 0 && errno != ENOENT
               ? error_errno(e, "pack %s: remove", file)
               : OK;
}

/* ---- saving ---- */

int index_save(struct index *ix, struct error *e)
{
    int rc;

    pthread_mutex_lock(&ix->lock);
    rc = save(ix, e);
    pthread_mutex_unlock(&ix->lock);
    return rc;
}

int index_add_pack(void *arg, const char name[PACK_NAME], uint64_t bytes,
                   const struct table_entry *entries, size_t count, struct error *e)
{
    struct index *ix = arg;
    uint32_t number = 0;
    int rc;

    pthread_mutex_lock(&ix->lock);
    rc = add_pack(ix, name, bytes, &number, e);
    if (rc == OK)
        rc = put_table(ix, number, entries, count, e);
    if (rc == OK)
        save_some(ix);
    pthread_mutex_unlock(&ix->lock);
    return rc;
}

int index_drop(int repo_dirfd, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    const char *file;

    if (list_in(repo_dirfd, "index", &dir, e) < 0)
        return e->status;
    /* Those with a dot in front are being written. */
    while ((file = dir_next(dir)))
        if (file[0] != '.' && unlinkat(dirfd(dir), file, 0) < 0 && errno != ENOENT)
            return error_errno(e, "index/%s: remove", file);
    return errno ? error_errno(e, "index: list") : OK;
}
