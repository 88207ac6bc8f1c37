/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linear and striped logical volumes snapshotted by device-mapper tables of our own, as long as
 * they are copied, over a store that need not survive:
 *
 *     before      volume:   linear…                 (the guest writes here, before, then and after)
 *     prepare     real:     linear…                 a second device with the volume's table
 *                 snapshot: snapshot of real → store
 *                 origin:   snapshot-origin of real
 *     hold        volume:   linear…, and in its inactive slot "linear origin"; then suspended
 *     commit      volume:   linear origin           resumed; all of it takes milliseconds
 *     watch       volume:   linear real, as far as the image is read; then linear origin
 *     discard     volume:   linear…, taken from real; then origin, snapshot, real and store go
 *
 * LVM knows of the store only, which carries our tag; after a reset the volume is plainly itself
 * again. It would complain of a volume that is a snapshot-origin itself, so that is one device
 * further down. The price: an LVM command that loads a table into the volume meanwhile (lvextend,
 * lvchange --refresh, pvmove) ends the snapshot without knowing. So watch looks at the volume's
 * table: an image is good only if it was ours all the time. And our table is loaded only in hold,
 * though that costs the guest a moment: whatever resumes the volume brings it to life, and LVM loads
 * none of its own where it finds one, so that a pvmove would copy what the guest still writes to.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "volume/dm.h"
#include "volume/lvm.h"

#define SECTOR_BYTES 512

/* How often the window recedes, at most, in the course of a copy, and by how much at least. */
#define RECEDE_STEPS       8
#define RECEDE_LEAST_BYTES (UINT64_C(64) << 20)

/* ---- open: only what these tables can do ---- */

/* Whether every target only maps: no snapshots yet, no mirror, nothing with a state. */
static bool only_maps(const char *table)
{
    char type[32];

    for (const char *line = table; *line; line = strchrnul(line, '\n') + 1) {
        if (sscanf(line, "%*u %*u %31s", type) != 1 ||
            (strcmp(type, "linear") != 0 && strcmp(type, "striped") != 0))
            return false;
        if (!strchr(line, '\n'))
            break;
    }
    return *table;
}

static int transient_open(const char *path, struct volume **v, struct error *e)
{
    AUTO_FREE char *table = NULL;

    if (lvm_open(&volume_lvm_transient, path, v, e) < 0)
        return e->status;
    if (dm_table_read(lvm_of(*v)->device, &table, e) == OK && only_maps(table))
        return OK;
    lvm_close(*v);
    *v = NULL;
    return error_set(e, UNSUPPORTED, "it is not merely linear or striped");
}

/* ---- plan ---- */

static int transient_plan(struct volume *const vs[], size_t count, const char *id, struct error *e)
{
    if (lvm_plan(vs, count, id, e) < 0)
        return e->status;
    for (size_t i = 0; i < count; i++) {
        json_t *record = vs[i]->record;

        if (json_object_set_new(record, "real", json_sprintf("domsnap-%s-%zu-real", id, i)) < 0 ||
            json_object_set_new(record, "snapshot",
                                json_sprintf("domsnap-%s-%zu-snapshot", id, i)) < 0 ||
            json_object_set_new(record, "origin", json_sprintf("domsnap-%s-%zu-origin", id, i)) < 0)
            return error_set(e, NO_SPACE, "out of memory");
    }
    return OK;
}

/* A name in a record, "" if it has none. */
static const char *name_in(const json_t *record, const char *key)
{
    const char *name = json_string_value(json_object_get(record, key));

    return name ? name : "";
}

/* ---- prepare ---- */

static int make_device(const struct volume *v, const char *which, unsigned serial,
                       const char *table, struct error *e)
{
    const char *name = name_in(v->record, which);
    char uuid[DM_UUID_BYTES];

    dm_uuid(uuid, lvm_store_of(v), serial);
    return dm_device_create(name, uuid, table, e);
}

/* "0 131072 TARGET PARAMS", the whole volume in one target. Free it. */
static char *whole(const struct volume *v, const char *target, const char *params)
{
    return format_text("0 %" PRIu64 " %s %s\n", v->size_bytes / SECTOR_BYTES, target, params);
}

static int number_of(const char *device, char number[static DM_NUMBER_BYTES], struct error *e)
{
    struct dm_state state;

    if (dm_device_state(device, &state, e) < 0)
        return e->status;
    if (!state.exists)
        return error_set(e, NOT_FOUND, "%s is not active", device);
    snprintf(number, DM_NUMBER_BYTES, "%u:%u", state.major, state.minor);
    return OK;
}

static int make_real(const struct volume *v, unsigned serial, char number[static DM_NUMBER_BYTES],
                     struct error *e)
{
    struct lvm_volume *l = lvm_of(v);

    if (dm_table_read(l->device, &l->table, e) < 0 ||
        make_device(v, "real", serial, l->table, e) < 0)
        return e->status;
    return number_of(name_in(v->record, "real"), number, e);
}

static int make_snapshot(const struct volume *v, unsigned serial, const char *real, struct error *e)
{
    AUTO_FREE char *device = dm_lvm_device(lvm_of(v)->vg, lvm_store_of(v));
    AUTO_FREE char *params = NULL;
    AUTO_FREE char *table = NULL;
    char store[DM_NUMBER_BYTES];

    if (!device)
        return error_set(e, NO_SPACE, "out of memory");
    if (number_of(device, store, e) < 0)
        return e->status;
    /* N: the store keeps no metadata, so each of the guest's first writes to a chunk costs one
     * write less. */
    params = format_text("%s %s N %u", real, store, STORE_CHUNK_BYTES / SECTOR_BYTES);
    table = params ? whole(v, "snapshot", params) : NULL;
    return table ? make_device(v, "snapshot", serial, table, e)
                 : error_set(e, NO_SPACE, "out of memory");
}

static int make_origin(const struct volume *v, unsigned serial, const char *real, struct error *e)
{
    AUTO_FREE char *table = whole(v, "snapshot-origin", real);
    AUTO_FREE char *params = NULL;
    char origin[DM_NUMBER_BYTES];

    if (!table)
        return error_set(e, NO_SPACE, "out of memory");
    if (make_device(v, "origin", serial, table, e) < 0 ||
        number_of(name_in(v->record, "origin"), origin, e) < 0)
        return e->status;
    params = format_text("%s 0", origin);
    lvm_of(v)->table_on_origin = params ? whole(v, "linear", params) : NULL;
    return lvm_of(v)->table_on_origin ? OK : error_set(e, NO_SPACE, "out of memory");
}

static int transient_prepare(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        unsigned serial = 3 * (unsigned)i;
        char real[DM_NUMBER_BYTES];

        if (lvm_store_make(lvm_of(vs[i]), e) < 0 || make_real(vs[i], serial, real, e) < 0 ||
            make_snapshot(vs[i], serial + 1, real, e) < 0 ||
            make_origin(vs[i], serial + 2, real, e) < 0)
            return error_prefix(e, "snapshot of %s", vs[i]->name);
    }
    return OK;
}

/* ---- hold, commit ---- */

static int changed_by_others(const struct volume *v, struct error *e)
{
    return error_set(
        e, FAILED,
        "snapshot of %s: another program has changed the volume's table (lvextend, lvchange, "
        "pvmove?), so its image would be worth nothing; try again, or use --lvm-snapshot",
        v->name);
}

/* Nobody has changed the volume's table since real was given the same. */
static int check_unchanged(const struct volume *v, struct error *e)
{
    AUTO_FREE char *live = NULL;

    if (dm_table_read(lvm_of(v)->device, &live, e) < 0)
        return e->status;
    return strcmp(lvm_of(v)->table, live) == 0 ? OK : changed_by_others(v, e);
}

static int transient_hold(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (check_unchanged(vs[i], e) < 0 ||
            dm_table_load(lvm_of(vs[i])->device, lvm_of(vs[i])->table_on_origin, e) < 0)
            return e->status;
    return lvm_hold(vs, count, e);
}

/* The instant is one only if nobody has let the requests to one of them go on before. */
static int check_held(struct volume *const vs[], size_t count, struct error *e)
{
    struct dm_state state;

    for (size_t i = 0; i < count; i++)
        if (dm_device_state(lvm_of(vs[i])->device, &state, e) < 0)
            return e->status;
        else if (!state.suspended)
            return changed_by_others(vs[i], e);
    return OK;
}

static int transient_commit(struct volume *const vs[], size_t count, struct error *e)
{
    if (check_held(vs, count, e) < 0)
        return e->status;
    for (size_t i = 0; i < count; i++)
        if (dm_device_resume(lvm_of(vs[i])->device, e) < 0)
            return e->status;
    return OK;
}

/* ---- while it is copied ---- */

static int transient_open_image(const struct volume *v, int *fd, struct error *e)
{
    return lvm_open_snapshot(v, name_in(v->record, "snapshot"), fd, e);
}

/* Whether the volume's live table is one that was loaded by us: its end leads to our origin. */
static int is_ours(const json_t *record, bool *ours, struct error *e)
{
    AUTO_FREE char *table = NULL;
    char origin[DM_NUMBER_BYTES], found[DM_NUMBER_BYTES] = "";
    uint64_t start = 0, from = 1;
    const char *last;

    *ours = false;
    if (number_of(name_in(record, "origin"), origin, e) < 0 ||
        dm_table_read(name_in(record, "device"), &table, e) < 0)
        return e->status;
    if (*table)
        table[strlen(table) - 1] = '\0';
    last = strrchr(table, '\n');
    *ours = sscanf(last ? last + 1 : table, "%" SCNu64 " %*u linear %23s %" SCNu64, &start, found,
                   &from) == 3 &&
            strcmp(found, origin) == 0 && from == start;
    return OK;
}

/*
 * The receding window: where the image is read, the guest's writes need not be kept apart any more.
 * A table costs the guest milliseconds, so there are few.
 */
static int recede(struct volume *v, uint64_t done_bytes, struct error *e)
{
    struct lvm_volume *l = lvm_of(v);
    uint64_t step = v->size_bytes / RECEDE_STEPS,
             done = done_bytes / STORE_CHUNK_BYTES * STORE_CHUNK_BYTES;
    uint64_t split = done / SECTOR_BYTES, sectors = v->size_bytes / SECTOR_BYTES;
    char real[DM_NUMBER_BYTES], origin[DM_NUMBER_BYTES];
    AUTO_FREE char *table = NULL;

    if (step < RECEDE_LEAST_BYTES)
        step = RECEDE_LEAST_BYTES;
    if (done < l->receded_bytes + step || done >= v->size_bytes)
        return OK;
    if (number_of(name_in(v->record, "real"), real, e) < 0 ||
        number_of(name_in(v->record, "origin"), origin, e) < 0)
        return e->status;
    table =
        format_text("0 %" PRIu64 " linear %s 0\n%" PRIu64 " %" PRIu64 " linear %s %" PRIu64 "\n",
                    split, real, split, sectors - split, origin, split);
    if (!table)
        return error_set(e, NO_SPACE, "out of memory");
    /* The resume suspends and resumes in one call: nobody can die in between. */
    if (dm_table_load(l->device, table, e) < 0 || dm_device_resume(l->device, e) < 0)
        return error_prefix(e, "snapshot of %s", v->name);
    l->receded_bytes = done;
    return OK;
}

static int transient_watch(struct volume *v, uint64_t done_bytes, struct error *e)
{
    bool ours;

    if (is_ours(v->record, &ours, e) < 0)
        return e->status;
    if (!ours)
        return changed_by_others(v, e);
    if (recede(v, done_bytes, e) < 0)
        return e->status;
    return lvm_store_watch(v, name_in(v->record, "snapshot"), e);
}

/* ---- discard ---- */

/* Back to the table that real has kept; a volume that somebody has given another one since keeps
 * that. */
static int restore_volume(const json_t *record, struct error *e)
{
    const char *volume = name_in(record, "device"), *real = name_in(record, "real");
    AUTO_FREE char *mapping = NULL;
    struct dm_state origin_state, state;
    bool ours;

    if (dm_device_state(name_in(record, "origin"), &origin_state, e) < 0 ||
        dm_device_state(volume, &state, e) < 0)
        return e->status;
    /* Without origin there never was a table on top of it. */
    if (!origin_state.exists || !state.exists)
        return OK;
    if (is_ours(record, &ours, e) < 0)
        return e->status;
    if (!ours && !state.suspended && !state.loaded)
        return OK;
    if (dm_table_read(real, &mapping, e) < 0 || dm_table_load(volume, mapping, e) < 0)
        return e->status;
    return dm_device_resume(volume, e);
}

static int transient_discard(const json_t *record, struct error *e)
{
    static const char *const made[] = {"origin", "snapshot", "real"};

    for (size_t i = 0; i < 3; i++)
        if (strncmp(name_in(record, made[i]), "domsnap-", 8) != 0)
            return error_set(e, DAMAGED, "the journal's record of a snapshot is garbled");
    if (restore_volume(record, e) < 0)
        return e->status;
    for (size_t i = 0; i < 3; i++)
        if (dm_device_remove(name_in(record, made[i]), e) < 0)
            return e->status;
    return lvm_store_remove(record, e);
}

const struct volume_driver volume_lvm_transient = {
    .name = "lvm-transient",
    .method = "a transient snapshot",
    .open = transient_open,
    .close = lvm_close,
    .can_snapshot = lvm_can_snapshot,
    .plan = transient_plan,
    .prepare = transient_prepare,
    .hold = transient_hold,
    .commit = transient_commit,
    .lift = lvm_lift,
    .open_image = transient_open_image,
    .watch = transient_watch,
    .aside = lvm_aside,
    .rename = lvm_rename,
    .rename_in_use = true,
    .discard = transient_discard,
};
