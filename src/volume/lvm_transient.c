/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linear and striped logical volumes snapshotted by device-mapper tables of our own, as long as they are copied, over a store
 * that need not survive:
 *
 *     before      origin: linear…                   (the guest writes here, before, then and after)
 *     prepare     real:     linear…                 a second device with the origin's table
 *                 snapshot: snapshot of real → store
 *                 origin:   linear…, and in its inactive slot "snapshot-origin real"
 *     commit      origin:   snapshot-origin real    suspended and resumed, which takes milliseconds
 *     discard     origin:   linear…, taken from real; then snapshot, real and store go
 *
 * LVM knows of the store only, which carries our tag; after a reset the origin is plainly itself again. The price: an
 * LVM command that loads a table into the origin meanwhile (lvextend, lvchange --refresh, pvmove) ends the
 * snapshot without knowing. So watch looks at the origin's table: an image is good only if it was ours all the time.
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
    return error_set(e, UNSUPPORTED, "it is not merely linear or striped");
}

static int transient_can_snapshot(const struct volume *v, struct error *e)
{
    (void)v, (void)e;
    return OK;
}

/* ---- plan ---- */

static int transient_plan(struct volume *const vs[], size_t count, const char *id, struct error *e)
{
    if (lvm_plan(vs, count, id, e) < 0)
        return e->status;
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *real = format_text("domsnap-%s-%zu-real", id, i);
        AUTO_FREE char *snapshot = format_text("domsnap-%s-%zu-snapshot", id, i);
        AUTO_JSON json_t *more = json_pack("{s:s, s:s, s:s}", "origin", lvm_of(vs[i])->device, "real",
                                           real, "snapshot", snapshot);

        if (!real || !snapshot || !more || json_object_update(vs[i]->record, more) < 0)
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

static int make_device(const struct volume *v, const char *which, unsigned serial, const char *table,
                       struct error *e)
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

static int make_snapshot(struct volume *v, unsigned index, struct error *e)
{
    struct lvm_volume *l = lvm_of(v);
    char real[DM_NUMBER_BYTES], store[DM_NUMBER_BYTES];
    AUTO_FREE char *store_device = dm_lvm_device(l->vg, lvm_store_of(v));
    AUTO_FREE char *params = NULL;
    AUTO_FREE char *table = NULL;
    AUTO_FREE char *mapping = NULL;

    if (!store_device)
        return error_set(e, NO_SPACE, "out of memory");
    if (dm_table_read(l->device, &mapping, e) < 0 ||
        make_device(v, "real", 2 * index, mapping, e) < 0 ||
        number_of(name_in(v->record, "real"), real, e) < 0 || number_of(store_device, store, e) < 0)
        return e->status;
    /* N: the store keeps no metadata, so each of the guest's first writes to a chunk costs one write less. */
    params = format_text("%s %s N %u", real, store, STORE_CHUNK_BYTES / SECTOR_BYTES);
    table = params ? whole(v, "snapshot", params) : NULL;
    if (!table)
        return error_set(e, NO_SPACE, "out of memory");
    return make_device(v, "snapshot", 2 * index + 1, table, e);
}

static int load_origin(struct volume *v, struct error *e)
{
    AUTO_FREE char *table = NULL;
    char real[DM_NUMBER_BYTES];

    if (number_of(name_in(v->record, "real"), real, e) < 0)
        return e->status;
    table = whole(v, "snapshot-origin", real);
    if (!table)
        return error_set(e, NO_SPACE, "out of memory");
    return dm_table_load(lvm_of(v)->device, table, e);
}

static int transient_prepare(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (lvm_store_make(lvm_of(vs[i]), e) < 0 || make_snapshot(vs[i], (unsigned)i, e) < 0 ||
            load_origin(vs[i], e) < 0)
            return error_prefix(e, "snapshot of %s", vs[i]->name);
    return OK;
}

/* ---- commit: the barrier falls on all origins, then it is lifted ---- */

static int transient_commit(struct volume *const vs[], size_t count, struct error *e)
{
    struct error ignored;
    size_t suspended = 0;
    int rc = OK;

    for (; rc == OK && suspended < count; suspended++)
        rc = dm_device_suspend(lvm_of(vs[suspended])->device, e);
    for (size_t i = 0; i < suspended; i++)
        if (dm_device_resume(lvm_of(vs[i])->device, rc == OK ? e : &ignored) < 0)
            rc = FAILED;
    return rc;
}

static int transient_lift(const json_t *record, struct error *e)
{
    const char *origin = name_in(record, "origin");
    struct dm_state state;

    if (dm_device_state(origin, &state, e) < 0)
        return e->status;
    return state.suspended ? dm_device_resume(origin, e) : OK;
}

/* ---- while it is copied ---- */

static int transient_open_image(const struct volume *v, int *fd, struct error *e)
{
    return lvm_open_snapshot(v, name_in(v->record, "snapshot"), fd, e);
}

/* Whether the origin's live table is the one that was loaded by us. */
static int is_ours(const json_t *record, bool *ours, struct error *e)
{
    AUTO_FREE char *table = NULL;
    char real[DM_NUMBER_BYTES], found[DM_NUMBER_BYTES] = "";

    *ours = false;
    if (number_of(name_in(record, "real"), real, e) < 0 ||
        dm_table_read(name_in(record, "origin"), &table, e) < 0)
        return e->status;
    *ours = sscanf(table, "0 %*u snapshot-origin %23s", found) == 1 && strcmp(found, real) == 0;
    return OK;
}

static int transient_watch(struct volume *v, struct error *e)
{
    bool ours;

    if (is_ours(v->record, &ours, e) < 0)
        return e->status;
    if (!ours)
        return error_set(e, FAILED,
                         "snapshot of %s: another program has changed the volume's table (lvextend, lvchange, "
                         "pvmove?), so its image would be worth nothing; try again, or use --lvm-snapshot",
                         v->name);
    return lvm_store_watch(v, name_in(v->record, "snapshot"), e);
}

/* ---- discard ---- */

/* Back to the table that real has kept; an origin that somebody has given another one since keeps that. */
static int restore_origin(const json_t *record, struct error *e)
{
    const char *origin = name_in(record, "origin"), *real = name_in(record, "real");
    AUTO_FREE char *mapping = NULL;
    struct dm_state real_state, state;
    bool ours;

    if (dm_device_state(real, &real_state, e) < 0 || dm_device_state(origin, &state, e) < 0)
        return e->status;
    /* Without real there never was a table on top of it. */
    if (!real_state.exists || !state.exists)
        return OK;
    if (is_ours(record, &ours, e) < 0)
        return e->status;
    if (!ours && !state.suspended && !state.loaded)
        return OK;
    if (dm_table_read(real, &mapping, e) < 0 || dm_table_load(origin, mapping, e) < 0)
        return e->status;
    return dm_device_resume(origin, e);
}

static int transient_discard(const json_t *record, struct error *e)
{
    const char *real = name_in(record, "real"), *snapshot = name_in(record, "snapshot");

    if (!*name_in(record, "origin") || strncmp(real, "domsnap-", 8) != 0 ||
        strncmp(snapshot, "domsnap-", 8) != 0)
        return error_set(e, DAMAGED, "the journal's record of a snapshot is garbled");
    if (restore_origin(record, e) < 0 || dm_device_remove(snapshot, e) < 0 ||
        dm_device_remove(real, e) < 0)
        return e->status;
    return lvm_store_remove(record, e);
}

const struct volume_driver volume_lvm_transient = {
    .name = "lvm-transient",
    .method = "a transient snapshot",
    .open = transient_open,
    .close = lvm_close,
    .can_snapshot = transient_can_snapshot,
    .plan = transient_plan,
    .prepare = transient_prepare,
    .commit = transient_commit,
    .lift = transient_lift,
    .open_image = transient_open_image,
    .watch = transient_watch,
    .discard = transient_discard,
};
