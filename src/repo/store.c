/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "repo/store_private.h"

/* ---- open and close ---- */

static int add_pack(void *arg, const struct pack_name *name, uint64_t bytes,
                    const struct table_entry *entries, size_t count, struct error *e)
{
    struct store *s = arg;
    struct view_pack *more;
    uint32_t number;

    pthread_mutex_lock(&s->mutex);
    more = reallocarray(s->packs, s->put_count + 1, sizeof *more);
    if (more) {
        s->packs = more;
        more[s->put_count++] = (struct view_pack){.name = *name, .bytes = bytes};
    }
    pthread_mutex_unlock(&s->mutex);
    return more ? index_add_pack(s->index, name, bytes, entries, count, &number, e)
                : error_out_of_memory(e);
}

static int make_packers(struct store *s, struct error *e)
{
    for (enum pack_kind kind = PACK_DATA; kind <= PACK_LISTS; kind++)
        if (packer_new(&s->packers[kind - PACK_DATA], repo_backend(s->repo), repo_run(s->repo),
                       kind, add_pack, s, e) < 0)
            return e->status;
    return OK;
}

static int copy_damage(struct view_pack *to, const struct view_pack *from, struct error *e)
{
    const struct view_damage *damage = from ? from->damage : NULL;
    size_t bytes = damage ? damage->count * sizeof *damage->offsets : 0;

    if (!damage)
        return OK;
    to->damage = calloc(1, sizeof *to->damage);
    if (!to->damage)
        return error_out_of_memory(e);
    to->damage->offsets = malloc(bytes + 1);
    if (!to->damage->offsets)
        return error_out_of_memory(e);
    if (bytes)
        memcpy(to->damage->offsets, damage->offsets, bytes);
    to->damage->count = damage->count;
    return OK;
}

static int copy_all_damage(struct store *s, struct error *e)
{
    s->said = calloc(s->pack_count + (size_t)1, sizeof *s->said);
    if (!s->said)
        return error_out_of_memory(e);
    for (uint32_t n = 0; n < s->pack_count; n++)
        if (copy_damage(&s->said[n],
                        view_find_pack(repo_view(s->repo), &index_pack(s->index, n)->name), e) < 0)
            return e->status;
    return OK;
}

static void release_damage(struct store *s)
{
    for (uint32_t n = 0; s->said && n < s->pack_count; n++)
        if (s->said[n].damage) {
            free(s->said[n].damage->offsets);
            free(s->said[n].damage);
        }
    free(s->said);
}

/* Whether the log has said so. Without an offset: of the whole pack. */
static bool is_said(const struct store *s, uint32_t number, const uint32_t *offset)
{
    return number < s->pack_count && view_is_damaged(&s->said[number], offset);
}

static int open_all(struct store *s, struct error *e)
{
    if (index_open(&s->index, repo_backend(s->repo), repo_view(s->repo), repo_id(s->repo), NULL,
                   e) < 0)
        return e->status;
    while (index_pack(s->index, s->pack_count))
        s->pack_count++;
    s->relied = calloc(s->pack_count + (size_t)1, sizeof *s->relied);
    if (!s->relied || !s->damaged || !s->mended)
        return error_out_of_memory(e);
    if (copy_all_damage(s, e) < 0)
        return e->status;
    return *repo_run(s->repo) ? make_packers(s, e) : OK;
}

static struct store *new_store(void)
{
    struct store *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    pthread_mutex_init(&s->mutex, NULL);
    s->damaged = json_object();
    s->mended = json_object();
    return s;
}

int store_open(struct store **out, struct repo *r, struct error *e)
{
    struct store *s = new_store();

    if (!s)
        return error_out_of_memory(e);
    s->repo = r;
    s->chunk_bytes = repo_chunk_bytes(r);
    if (open_all(s, e) == OK) {
        *out = s;
        return OK;
    }
    store_close(s);
    return e->status;
}

int store_none(struct store **out, uint32_t chunk_bytes, struct error *e)
{
    struct store *s = new_store();

    if (!s)
        return error_out_of_memory(e);
    s->chunk_bytes = chunk_bytes;
    *out = s;
    return OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < 2; i++)
        packer_free(s->packers[i]);
    index_close(s->index);
    store_note_damage(s);
    json_decref(s->damaged);
    json_decref(s->mended);
    free(s->relied);
    release_damage(s);
    free(s->packs);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

uint32_t store_chunk_bytes(const struct store *s)
{
    return s->chunk_bytes;
}

struct repo *store_repo(const struct store *s)
{
    return s->repo;
}

struct index *store_index(const struct store *s)
{
    return s->index;
}

struct store_stats store_stats(const struct store *s)
{
    return (struct store_stats){atomic_load(&s->put_bytes), atomic_load(&s->known_bytes),
                                atomic_load(&s->stored_bytes)};
}

/* ---- what was put ---- */

int store_finish(struct store *s, struct error *e)
{
    struct error why;

    for (int i = 0; i < 2; i++)
        if (s->packers[i] && packer_finish(s->packers[i], e) < 0)
            return e->status;
    if (s->index && index_save(s->index, &why) < 0)
        log_debug("the index could not be written, which costs time when it is needed next: %s",
                  why.text);
    return OK;
}

const struct view_pack *store_packs(const struct store *s, size_t *count)
{
    *count = s->put_count;
    return s->packs;
}

json_t *store_packs_to_json(const struct store *s)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < s->put_count; i++)
        if (json_array_append_new(list, pack_to_json(&s->packs[i].name, s->packs[i].bytes)) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* It is there as long as this run is, but nobody after us will find anything in it. */
static int distrust(struct store *s, uint32_t n, bool *lost, struct error *e)
{
    *lost |= atomic_load(&s->relied[n]);
    return index_mark_pack(s->index, n, e);
}

int store_follow(struct store *s, bool *lost, struct error *e)
{
    const struct view *view = repo_view(s->repo);

    *lost = false;
    for (uint32_t n = 0; n < s->pack_count; n++)
        if (!view_find_pack(view, &index_pack(s->index, n)->name) && distrust(s, n, lost, e) < 0)
            return e->status;
    for (uint32_t n = 0; *lost && n < s->pack_count; n++)
        atomic_store(&s->relied[n], false);
    return OK;
}

/* ---- damage ---- */

/* Under the mutex. Without an offset it is the whole pack. */
static int add_damage(struct store *s, const char *pack, const uint32_t *offset, struct error *e)
{
    json_t *offsets = json_object_get(s->damaged, pack);

    if (!s->damaged)
        return error_out_of_memory(e);
    if (offsets && json_array_size(offsets) == 0)
        return OK; /* all of it */
    if (!offsets || !offset) {
        offsets = json_array();
        if (json_object_set_new(s->damaged, pack, offsets) < 0)
            return error_out_of_memory(e);
    }
    if (offset && json_array_append_new(offsets, json_integer(*offset)) < 0)
        return error_out_of_memory(e);
    s->damaged_count++;
    return OK;
}

static int mark(struct store *s, uint32_t number, const uint32_t *offset, struct error *e)
{
    const struct index_pack *pack = index_pack(s->index, number);
    char text[PACK_NAME_TEXT];
    int rc;

    if (!pack || is_said(s, number, offset))
        return OK;
    pack_name_to_text(&pack->name, text);
    pthread_mutex_lock(&s->mutex);
    rc = add_damage(s, text, offset, e);
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

int store_mark(struct store *s, const struct place *place, struct error *e)
{
    if (place->damaged)
        return OK;
    if (mark(s, place->pack, &place->offset, e) < 0)
        return e->status;
    return index_mark(s->index, place, e);
}

int store_mark_pack(struct store *s, uint32_t pack, struct error *e)
{
    if (mark(s, pack, NULL, e) < 0)
        return e->status;
    return index_mark_pack(s->index, pack, e);
}

/* What was found so far; NULL: nothing. */
static json_t *take(struct store *s, json_t **found)
{
    json_t *taken = NULL;

    pthread_mutex_lock(&s->mutex);
    if (json_object_size(*found)) {
        taken = *found;
        *found = json_object();
    }
    pthread_mutex_unlock(&s->mutex);
    return taken;
}

void store_note_damage(struct store *s)
{
    json_t *damaged = take(s, &s->damaged), *mended = take(s, &s->mended);

    if (mended)
        repo_note(s->repo, "mended", mended);
    if (damaged)
        repo_note(s->repo, "damage", damaged);
}

/* ---- what is not damaged after all ---- */

int store_mend(struct store *s, uint32_t number, const uint32_t *offset, struct error *e)
{
    const struct index_pack *pack = index_pack(s->index, number);
    char text[PACK_NAME_TEXT];
    json_t *offsets;
    int rc = OK;

    /* One that is damaged as a whole is mended as a whole. */
    if (!pack || !is_said(s, number, offset) || (offset && is_said(s, number, NULL)))
        return OK;
    pack_name_to_text(&pack->name, text);
    pthread_mutex_lock(&s->mutex);
    offsets = json_object_get(s->mended, text);
    if (!offsets) {
        offsets = json_array();
        rc = json_object_set_new(s->mended, text, offsets);
    }
    if (rc == OK && offset)
        rc = json_array_append_new(offsets, json_integer(*offset));
    pthread_mutex_unlock(&s->mutex);
    return rc < 0 ? error_out_of_memory(e) : OK;
}

size_t store_found_damaged(const struct store *s)
{
    return s->damaged_count;
}
