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
 * Where the store is encrypted, a device "cipher" lies between it and the snapshot.
 *
 * LVM knows of the store only, which carries our tag; after a reset the volume is plainly itself
 * again. It would complain of a volume that is a snapshot-origin itself, so that is one device
 * further down. The price: an LVM command that loads a table into the volume meanwhile (lvextend,
 * lvchange --refresh, pvmove) ends the snapshot without knowing. So watch looks at the volume's
 * table: an image is good only if it was ours all the time. And our table is loaded only in hold,
 * though that costs the guest a moment: whatever resumes the volume brings it to life, and LVM
 * loads none of its own where it finds one, so that a pvmove would copy what the guest still writes
 * to.
 *
 * Whatever is done to the volume's tables is done under LVM's lock, by the volume's UUID, and only
 * where both of its slots hold what they should: LVM loads its tables in one step, and makes them
 * live in another.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/log.h"
#include "volume/dm.h"
#include "volume/lvm.h"
#include "volume/lvm_lock.h"

#define SECTOR_BYTES 512

/* Of stores that are encrypted. */
#define CIPHER    "aes-xts-plain64"
#define KEY_BYTES 64

/* How often the window recedes, at most, in the course of a copy, and by how much at least. */
#define RECEDE_STEPS       8
#define RECEDE_LEAST_BYTES (UINT64_C(64) << 20)

/* The guest pays for its snapshot until then, but does not wait. */
#define DISCARD_LOCK_MS 600000

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

/* The size of what a table maps. */
static uint64_t table_sectors(const char *table)
{
    uint64_t start, length, end = 0;

    for (const char *line = table; *line; line = strchrnul(line, '\n') + 1) {
        if (sscanf(line, "%" SCNu64 " %" SCNu64, &start, &length) == 2)
            end = start + length;
        if (!strchr(line, '\n'))
            break;
    }
    return end;
}

static int transient_open(const char *path, struct volume **v, struct error *e)
{
    AUTO_FREE char *table = NULL;

    if (lvm_open(&volume_lvm_transient, path, v, e) < 0)
        return e->status;
    if (dm_table_read(lvm_of(*v)->device, DM_LIVE, &table, e) == OK && only_maps(table))
        return OK;
    lvm_close(*v);
    *v = NULL;
    return error_set(e, UNSUPPORTED, "it is not merely linear or striped");
}

/* ---- plan ---- */

/* The devices that are made for a volume, in the order in which they can go. "cipher" only where
 * its store is encrypted. */
static const char *const made[] = {"origin", "snapshot", "cipher", "real"};
#define MADE (sizeof made / sizeof *made)

static int record_device(const struct lvm_volume *l, const char *which, struct error *e)
{
    AUTO_FREE char *name = format_text("%s-%s", l->own_name, which);
    char uuid[DM_UUID_BYTES];

    if (!name)
        return error_set(e, NO_SPACE, "out of memory");
    dm_own_uuid(uuid, name);
    return json_object_set_new(l->base.record, which, json_string(uuid)) < 0
               ? error_set(e, NO_SPACE, "out of memory")
               : OK;
}

static int transient_plan(struct volume *const vs[], size_t count, const char *id, struct error *e)
{
    if (lvm_plan(vs, count, id, e) < 0)
        return e->status;
    for (size_t i = 0; i < count; i++) {
        struct lvm_volume *l = lvm_of(vs[i]);

        free(l->own_name);
        l->own_name = format_text(DM_OWN_NAME "%s-%zu", id, i);
        if (!l->own_name)
            return error_set(e, NO_SPACE, "out of memory");
        for (size_t which = 0; which < MADE; which++) {
            if (!vs[i]->encrypt_store && strcmp(made[which], "cipher") == 0)
                continue;
            if (record_device(l, made[which], e) < 0)
                return e->status;
        }
    }
    return OK;
}

/* In a record, of a device its UUID; "" if there is none. */
static const char *text_in(const json_t *record, const char *which)
{
    const char *text = json_string_value(json_object_get(record, which));

    return text ? text : "";
}

/* ---- prepare ---- */

static int make_device(const struct volume *v, const char *which, const char *table,
                       struct error *e)
{
    AUTO_FREE char *name = format_text("%s-%s", lvm_of(v)->own_name, which);

    return name ? dm_device_create(name, table, e) : error_set(e, NO_SPACE, "out of memory");
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

static int make_real(const struct volume *v, char number[static DM_NUMBER_BYTES], struct error *e)
{
    struct lvm_volume *l = lvm_of(v);

    if (dm_table_read(l->device, DM_LIVE, &l->table, e) < 0)
        return e->status;
    if (make_device(v, "real", l->table, e) < 0)
        return e->status;
    return number_of(text_in(v->record, "real"), number, e);
}

/* The key is nowhere but in the kernel's memory and ours. */
static int make_key(struct lvm_volume *l, struct error *e)
{
    uint8_t key[KEY_BYTES];

    l->key = malloc(2 * sizeof key + 1);
    if (!l->key)
        return error_set(e, NO_SPACE, "out of memory");
    if (getrandom(key, sizeof key, 0) != sizeof key)
        return error_errno(e, "random number");
    hex_put(l->key, key, sizeof key);
    explicit_bzero(key, sizeof key);
    return OK;
}

/* As long as the store is by now. */
static int cipher_table(const struct lvm_volume *l, char **table, struct error *e)
{
    AUTO_FREE char *path = NULL;
    char store[DM_NUMBER_BYTES];
    AUTO_CLOSE int fd = -1;
    uint64_t bytes;

    if (number_of(l->store_device, store, e) < 0)
        return e->status;
    if (dm_device_node(l->store_device, &path, e) < 0)
        return e->status;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(e, "%s", path);
    if (file_size(fd, path, &bytes, e) < 0)
        return e->status;
    *table = format_text("0 %" PRIu64 " crypt " CIPHER " %s 0 %s 0\n", bytes / SECTOR_BYTES, l->key,
                         store);
    return *table ? OK : error_set(e, NO_SPACE, "out of memory");
}

static void forget_table(char *table)
{
    if (table)
        explicit_bzero(table, strlen(table));
    free(table);
}

static int make_cipher(const struct volume *v, struct error *e)
{
    char *table = NULL;
    int rc = make_key(lvm_of(v), e);

    if (rc == OK)
        rc = cipher_table(lvm_of(v), &table, e);
    if (rc == OK)
        rc = make_device(v, "cipher", table, e);
    forget_table(table);
    return rc < 0 ? error_prefix(e, "encrypt its exception store (dm-crypt)") : OK;
}

static int extend_cipher(const struct volume *v, struct error *e)
{
    const char *cipher = text_in(v->record, "cipher");
    char *table = NULL;
    int rc = cipher_table(lvm_of(v), &table, e);

    if (rc == OK)
        rc = dm_table_load(cipher, table, e);
    if (rc == OK)
        rc = dm_device_resume(cipher, e);
    forget_table(table);
    return rc;
}

static int make_snapshot(const struct volume *v, const char *real, struct error *e)
{
    AUTO_FREE char *params = NULL;
    AUTO_FREE char *table = NULL;
    char store[DM_NUMBER_BYTES];
    const struct lvm_volume *l = lvm_of(v);

    if (v->encrypt_store && make_cipher(v, e) < 0)
        return e->status;
    if (number_of(v->encrypt_store ? text_in(v->record, "cipher") : l->store_device, store, e) < 0)
        return e->status;
    /* N: the store keeps no metadata, so each of the guest's first writes to a chunk costs one
     * write less. */
    params = format_text("%s %s N %u", real, store, STORE_CHUNK_BYTES / SECTOR_BYTES);
    table = params ? whole(v, "snapshot", params) : NULL;
    return table ? make_device(v, "snapshot", table, e) : error_set(e, NO_SPACE, "out of memory");
}

static int make_origin(const struct volume *v, const char *real, struct error *e)
{
    AUTO_FREE char *table = whole(v, "snapshot-origin", real);
    AUTO_FREE char *params = NULL;
    char origin[DM_NUMBER_BYTES];

    if (!table)
        return error_set(e, NO_SPACE, "out of memory");
    if (make_device(v, "origin", table, e) < 0)
        return e->status;
    if (number_of(text_in(v->record, "origin"), origin, e) < 0)
        return e->status;
    params = format_text("%s 0", origin);
    lvm_of(v)->our_table = params ? whole(v, "linear", params) : NULL;
    return lvm_of(v)->our_table ? OK : error_set(e, NO_SPACE, "out of memory");
}

static int prepare_volume(struct volume *v, struct error *e)
{
    char real[DM_NUMBER_BYTES];

    if (lvm_store_make(lvm_of(v), e) < 0)
        return e->status;
    if (make_real(v, real, e) < 0)
        return e->status;
    if (make_snapshot(v, real, e) < 0)
        return e->status;
    return make_origin(v, real, e);
}

static int transient_prepare(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (prepare_volume(vs[i], e) < 0)
            return error_prefix(e, "snapshot of %s", vs[i]->name);
    return OK;
}

/* ---- hold, commit ---- */

static int changed_by_others(const struct volume *v, struct error *e)
{
    return error_set(e, AGAIN,
                     "snapshot of %s: another program has changed the volume's table meanwhile "
                     "(lvextend, lvrename, lvchange, pvmove?), so that its image is worth nothing",
                     v->name);
}

/* Whether nothing waits to take the place of its live table. */
static int check_at_rest(const struct volume *v, struct error *e)
{
    struct dm_state state;

    if (dm_device_state(lvm_of(v)->device, &state, e) < 0)
        return e->status;
    return state.exists && !state.suspended && !state.loaded ? OK : changed_by_others(v, e);
}

/* The same, and that the live table is `live`. */
static int check_tables(const struct volume *v, const char *live, struct error *e)
{
    AUTO_FREE char *found = NULL;

    if (check_at_rest(v, e) < 0)
        return e->status;
    if (dm_table_read(lvm_of(v)->device, DM_LIVE, &found, e) < 0)
        return e->status;
    return strcmp(found, live) == 0 ? OK : changed_by_others(v, e);
}

/* real has the table that the volume had. If that lies elsewhere since (pvmove), so does real. */
static int follow(struct volume *v, struct error *e)
{
    struct lvm_volume *l = lvm_of(v);
    AUTO_FREE char *live = NULL;
    const char *real = text_in(v->record, "real");

    if (dm_table_read(l->device, DM_LIVE, &live, e) < 0)
        return e->status;
    if (strcmp(live, l->table) == 0)
        return OK;
    if (!only_maps(live) || table_sectors(live) != table_sectors(l->table))
        return changed_by_others(v, e);
    if (dm_table_load(real, live, e) < 0 || dm_device_resume(real, e) < 0)
        return error_prefix(e, "snapshot of %s", v->name);
    free(l->table);
    l->table = live;
    live = NULL;
    return OK;
}

static int transient_hold(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        struct lvm_volume *l = lvm_of(vs[i]);

        if (check_at_rest(vs[i], e) < 0)
            return e->status;
        if (follow(vs[i], e) < 0)
            return e->status;
        if (dm_table_load(l->device, l->our_table, e) < 0)
            return e->status;
    }
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
    return lvm_open_snapshot(v, text_in(v->record, "snapshot"), fd, e);
}

enum owner {
    NOBODY, /* there is none */
    OURS,   /* it leads to our origin at its end */
    BACK,   /* it is what the volume had, which real has kept */
    OTHERS
};

/* Whose table is in the slot of a volume. */
static int owner_of(const json_t *record, enum dm_slot slot, enum owner *owner, struct error *e)
{
    AUTO_FREE char *table = NULL;
    AUTO_FREE char *kept = NULL;
    char origin[DM_NUMBER_BYTES], found[DM_NUMBER_BYTES] = "";
    uint64_t start = 0, from = 1;
    const char *last;

    if (dm_table_read(text_in(record, "device"), slot, &table, e) < 0)
        return e->status;
    *owner = NOBODY;
    if (!*table)
        return OK;
    if (dm_table_read(text_in(record, "real"), DM_LIVE, &kept, e) < 0)
        return e->status;
    *owner = strcmp(table, kept) == 0 ? BACK : OTHERS;
    if (number_of(text_in(record, "origin"), origin, e) < 0)
        return e->status;
    table[strlen(table) - 1] = '\0';
    last = strrchr(table, '\n');
    if (sscanf(last ? last + 1 : table, "%" SCNu64 " %*u linear %23s %" SCNu64, &start, found,
               &from) == 3 &&
        strcmp(found, origin) == 0 && from == start)
        *owner = OURS;
    return OK;
}

/*
 * The receding window: where the image is read, the guest's writes need not be kept apart any more.
 * A table costs the guest milliseconds, so there are few.
 */
static int recede_to(struct lvm_volume *l, uint64_t done_bytes, struct error *e)
{
    uint64_t split = done_bytes / SECTOR_BYTES, sectors = l->base.size_bytes / SECTOR_BYTES;
    char real[DM_NUMBER_BYTES], origin[DM_NUMBER_BYTES];
    char *table;

    if (number_of(text_in(l->base.record, "real"), real, e) < 0)
        return e->status;
    if (number_of(text_in(l->base.record, "origin"), origin, e) < 0)
        return e->status;
    table =
        format_text("0 %" PRIu64 " linear %s 0\n%" PRIu64 " %" PRIu64 " linear %s %" PRIu64 "\n",
                    split, real, split, sectors - split, origin, split);
    if (!table)
        return error_set(e, NO_SPACE, "out of memory");
    free(l->our_table);
    l->our_table = table;
    if (dm_table_load(l->device, table, e) < 0)
        return e->status;
    /* It suspends and resumes in one call: nobody can die in between. */
    if (dm_device_resume(l->device, e) < 0)
        return e->status;
    l->receded_bytes = done_bytes;
    return OK;
}

static int recede(struct volume *v, uint64_t done_bytes, struct error *e)
{
    struct lvm_volume *l = lvm_of(v);
    uint64_t step = v->size_bytes / RECEDE_STEPS,
             done = done_bytes / STORE_CHUNK_BYTES * STORE_CHUNK_BYTES;
    AUTO_CLOSE int lock = -1;

    if (step < RECEDE_LEAST_BYTES)
        step = RECEDE_LEAST_BYTES;
    if (done < l->receded_bytes + step || done >= v->size_bytes)
        return OK;
    /* While LVM is at work there, the window stays; the next look may find it done. */
    if (lvm_lock_take(l->lock_dir, l->device, 0, &lock, e) < 0)
        return e->status == BUSY ? OK : e->status;
    if (check_tables(v, l->our_table, e) < 0)
        return e->status;
    return recede_to(l, done, e) < 0 ? error_prefix(e, "snapshot of %s", v->name) : OK;
}

static int transient_watch(struct volume *v, uint64_t done_bytes, struct error *e)
{
    AUTO_FREE char *live = NULL;
    bool extended;

    if (dm_table_read(lvm_of(v)->device, DM_LIVE, &live, e) < 0)
        return e->status;
    if (strcmp(live, lvm_of(v)->our_table) != 0)
        return changed_by_others(v, e);
    if (recede(v, done_bytes, e) < 0)
        return e->status;
    if (lvm_store_watch(v, text_in(v->record, "snapshot"), &extended, e) < 0)
        return e->status;
    return extended && v->encrypt_store ? extend_cipher(v, e) : OK;
}

/* ---- lift, discard ---- */

static int check_record(const json_t *record, struct error *e)
{
    for (size_t i = 0; i < MADE; i++) {
        if (strcmp(made[i], "cipher") == 0 && !json_object_get(record, made[i]))
            continue;
        if (strncmp(text_in(record, made[i]), DM_OWN_UUID, strlen(DM_OWN_UUID)) != 0)
            return error_set(e, DAMAGED, "the journal's record of a snapshot is garbled");
    }
    if (!*text_in(record, "device") || *text_in(record, "lock_dir") != '/')
        return error_set(e, DAMAGED, "the journal's record of a snapshot is garbled");
    return OK;
}

/* Whom hold has suspended has a table of ours waiting. Where it did not come to that, the table
 * must not wait for somebody else's resume. */
static int transient_lift(const json_t *record, struct error *e)
{
    const char *device = text_in(record, "device");
    enum owner waiting = NOBODY;
    struct dm_state state;

    if (check_record(record, e) < 0)
        return e->status;
    if (dm_device_state(device, &state, e) < 0)
        return e->status;
    if (!state.suspended && !state.loaded)
        return OK;
    if (owner_of(record, DM_INACTIVE, &waiting, e) < 0)
        return e->status;
    if (waiting != OURS)
        return OK;
    return state.suspended ? dm_device_resume(device, e) : dm_table_clear(device, e);
}

/* Back to the table that real has kept. A volume is never left suspended with a table that is not
 * known for ours. */
static int restore_table(const json_t *record, struct error *e)
{
    const char *device = text_in(record, "device");
    AUTO_FREE char *mapping = NULL;

    if (dm_table_read(text_in(record, "real"), DM_LIVE, &mapping, e) < 0)
        return e->status;
    if (dm_table_load(device, mapping, e) < 0)
        return e->status;
    return dm_device_resume(device, e);
}

/*
 * By whose tables are in the volume's two slots, once `lift` was called:
 *
 *     live            waiting               it is
 *     OURS            NOBODY, OURS, BACK    given back its own table
 *     OURS            OTHERS                left to them, who are in the midst of it: BUSY
 *     BACK, OTHERS    whosever              left alone: it has its own, or another by now
 */
static int restore_volume(const json_t *record, struct error *e)
{
    enum owner live = NOBODY, waiting = NOBODY;

    if (transient_lift(record, e) < 0)
        return e->status;
    if (owner_of(record, DM_LIVE, &live, e) < 0)
        return e->status;
    if (owner_of(record, DM_INACTIVE, &waiting, e) < 0)
        return e->status;
    if (live != OURS)
        return OK;
    if (waiting == OTHERS)
        return error_set(e, BUSY, "another program is about to change the table of the volume %s",
                         text_in(record, "device"));
    return restore_table(record, e);
}

static int restore_volume_locked(const json_t *record, struct error *e)
{
    const char *device = text_in(record, "device");
    struct dm_state origin, volume;
    AUTO_CLOSE int lock = -1;

    if (dm_device_state(text_in(record, "origin"), &origin, e) < 0)
        return e->status;
    if (dm_device_state(device, &volume, e) < 0)
        return e->status;
    /* Without origin there never was a table on top of it. */
    if (!origin.exists || !volume.exists)
        return OK;
    if (lvm_lock_take(text_in(record, "lock_dir"), device, DISCARD_LOCK_MS, &lock, e) < 0)
        return e->status;
    return restore_volume(record, e);
}

static int transient_discard(const json_t *record, struct error *e)
{
    if (check_record(record, e) < 0)
        return e->status;
    if (restore_volume_locked(record, e) < 0)
        return e->status;
    for (size_t i = 0; i < MADE; i++)
        if (json_object_get(record, made[i]) && dm_device_remove(text_in(record, made[i]), e) < 0)
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
    .lock = lvm_lock,
    .hold = transient_hold,
    .commit = transient_commit,
    .lift = transient_lift,
    .open_image = transient_open_image,
    .watch = transient_watch,
    .aside = lvm_aside,
    .rename = lvm_rename,
    .rename_in_use = true,
    .discard = transient_discard,
};
