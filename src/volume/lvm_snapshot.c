/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Logical volumes snapshotted by LVM itself. The store is made beforehand; while the guest is
 * paused it is only joined to its origin (lvconvert), which is what `lvcreate -s` ends with, and
 * which lifts the barrier that has been on the origin since hold. LVM knows of all of it; it takes
 * its time.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "volume/dm.h"
#include "volume/lvm.h"

static int snapshot_open(const char *path, struct volume **v, struct error *e)
{
    return lvm_open(&volume_lvm_snapshot, path, v, e);
}

static int snapshot_can(const struct volume *v, struct error *e)
{
    const char *layout = lvm_of(v)->layout;

    if (v->encrypt_store)
        return error_set(e, UNSUPPORTED,
                         "%s is snapshotted by LVM, whose stores can't be encrypted "
                         "(--encrypt-stores)",
                         v->name);
    if (strcmp(layout, "linear") == 0 || strcmp(layout, "striped") == 0)
        return lvm_can_snapshot(v, e);
    return error_set(e, UNSUPPORTED,
                     "%s is a logical volume of the kind \"%s\"; snapshots are taken of linear and "
                     "striped ones; --cold copies it while the guest is paused",
                     v->name, layout);
}

/* lvconvert wants the store inactive. */
static int make_store(struct lvm_volume *l, struct error *e)
{
    AUTO_FREE char *name = NULL;
    const char *deactivate[] = {"lvchange", "--activate", "n", "--", NULL, NULL};

    if (lvm_store_make(l, e) < 0)
        return e->status;
    if (lvm_name_now(l->store_device, &name, e) < 0)
        return e->status;
    deactivate[4] = name;
    return lvm_run(deactivate, NULL, e);
}

static int snapshot_prepare(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (make_store(lvm_of(vs[i]), e) < 0)
            return e->status;
    return OK;
}

/* The guest is paused, and LVM's lock is ours: no waiting for udev's rules (open_image does not
 * need their links), no copy of the metadata in /etc/lvm (removing the snapshot makes one, of what
 * is then the same as before). */
static int convert(const char *origin, const char *store, struct error *e)
{
    AUTO_FREE char *chunk = format_text("%ub", STORE_CHUNK_BYTES);
    const char *const argv[] = {"lvconvert",    "--nolocking", LVM_OWN_CONFIG " backup{backup=0}",
                                "--noudevsync", "--yes",       "--type",
                                "snapshot",     "--zero",      "n",
                                "--chunksize",  chunk,         "--",
                                origin,         store,         NULL};

    return chunk ? lvm_run(argv, NULL, e) : error_set(e, NO_SPACE, "out of memory");
}

/* By the names that they have now; the store is not active, and goes with its group. */
static int join_store(const struct lvm_volume *l, struct error *e)
{
    AUTO_FREE char *vg = NULL;
    AUTO_FREE char *lv = NULL;
    AUTO_FREE char *origin = NULL;
    AUTO_FREE char *store = NULL;

    if (dm_lvm_names(l->device, &vg, &lv, e) < 0)
        return e->status;
    origin = format_text("%s/%s", vg, lv);
    store = format_text("%s/%s", vg, lvm_store_of(&l->base));
    return origin && store ? convert(origin, store, e) : error_set(e, NO_SPACE, "out of memory");
}

static int snapshot_commit(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (join_store(lvm_of(vs[i]), e) < 0)
            return error_prefix(e, "snapshot of %s", vs[i]->name);
    return OK;
}

static int snapshot_open_image(const struct volume *v, int *fd, struct error *e)
{
    return lvm_open_snapshot(v, lvm_of(v)->store_device, fd, e);
}

static int snapshot_watch(struct volume *v, uint64_t done_bytes, struct error *e)
{
    bool extended;

    (void)done_bytes;
    return lvm_store_watch(v, lvm_of(v)->store_device, &extended, e);
}

static int snapshot_lift(const json_t *record, struct error *e)
{
    const char *device = json_string_value(json_object_get(record, "device"));
    struct dm_state state;

    if (!device)
        return error_set(e, DAMAGED, "the journal's record of a snapshot is garbled");
    if (dm_device_state(device, &state, e) < 0)
        return e->status;
    return state.suspended ? dm_device_resume(device, e) : OK;
}

/* A volume that is still held back would make LVM wait for it. */
static int snapshot_discard(const json_t *record, struct error *e)
{
    return snapshot_lift(record, e) < 0 ? e->status : lvm_store_remove(record, e);
}

const struct volume_driver volume_lvm_snapshot = {
    .name = "lvm-snapshot",
    .method = "LVM's own snapshot",
    .open = snapshot_open,
    .close = lvm_close,
    .can_snapshot = snapshot_can,
    .plan = lvm_plan,
    .prepare = snapshot_prepare,
    .lock = lvm_lock,
    .hold = lvm_hold,
    .commit = snapshot_commit,
    .lift = snapshot_lift,
    .open_image = snapshot_open_image,
    .watch = snapshot_watch,
    .aside = lvm_aside,
    .rename = lvm_rename,
    .rename_in_use = true,
    .discard = snapshot_discard,
};
