/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/text.h"
#include "repo/view_private.h"

#define NUMBER_MAX  (UINT64_C(1) << 60)
#define TEXT_MAX    255
#define DOMAIN_MAX  128
#define NAME_BYTES  64
#define DISKS_MAX   1024
#define NOTES_DEPTH 8
#define SUM_DIGITS  64

/* ---- names ---- */

static bool is_hex(const char *s, size_t digits)
{
    return strspn(s, "0123456789abcdef") >= digits;
}

bool run_id_is_valid(const char *run)
{
    return run && strlen(run) == RUN_ID - 1 && is_hex(run, RUN_ID - 1);
}

void pack_name_to_text(const struct pack_name *p, char text[static PACK_NAME_TEXT])
{
    hex_put(text, p->run, sizeof p->run);
    text[RUN_ID - 1] = '-';
    hex_put(text + RUN_ID, p->sum, sizeof p->sum);
}

bool pack_name_from_text(struct pack_name *p, const char *text)
{
    if (!text || strlen(text) != PACK_NAME_TEXT - 1 || !is_hex(text, RUN_ID - 1) ||
        text[RUN_ID - 1] != '-' || !is_hex(text + RUN_ID, SUM_DIGITS))
        return false;
    hex_take(p->run, sizeof p->run, text);
    hex_take(p->sum, sizeof p->sum, text + RUN_ID);
    return true;
}

int pack_name_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct pack_name));
}

static bool is_snapshot_name(const char *s)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:+-";

    return strspn(s, first) >= 1 && strspn(s, all) == strlen(s);
}

/* 2026-11-23T01:55:03Z */
static bool is_time(const char *s)
{
    static const char shape[] = "0000-00-00T00:00:00Z";

    if (strlen(s) != sizeof shape - 1)
        return false;
    for (size_t i = 0; shape[i]; i++)
        if (shape[i] == '0' ? s[i] < '0' || s[i] > '9' : s[i] != shape[i])
            return false;
    return true;
}

/* ---- memory ---- */

void view_damage_free(struct view_damage *d)
{
    if (d)
        free(d->offsets);
    free(d);
}

void pack_list_release(struct pack_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        view_damage_free(l->packs[i].damage);
    free(l->packs);
    *l = (struct pack_list){0};
}

void view_run_release(struct view_run *r)
{
    free(r->command);
    free(r->host);
    free(r->boot);
    free(r->reads);
    *r = (struct view_run){0};
}

void view_snapshot_release(struct view_snapshot *s)
{
    free(s->domain);
    free(s->name);
    free(s->created);
    json_decref(s->notes);
    *s = (struct view_snapshot){0};
}

void view_condemned_release(struct view_condemned *c)
{
    free(c->packs);
    free(c->bytes);
    free(c->keep);
    *c = (struct view_condemned){0};
}

bool is_sorted(const void *base, size_t count, size_t size,
               int (*compare)(const void *, const void *))
{
    const char *p = base;

    for (size_t i = 1; i < count; i++)
        if (compare(p + (i - 1) * size, p + i * size) > 0)
            return false;
    return true;
}

int has_twice(const void *base, size_t count, size_t size,
              int (*compare)(const void *, const void *))
{
    AUTO_FREE char *sorted = count ? malloc(count * size) : NULL;

    if (!count)
        return 0;
    if (!sorted)
        return NO_SPACE;
    memcpy(sorted, base, count * size);
    if (!is_sorted(sorted, count, size, compare))
        qsort(sorted, count, size, compare);
    for (size_t i = 1; i < count; i++)
        if (compare(sorted + (i - 1) * size, sorted + i * size) == 0)
            return 1;
    return 0;
}

/* ---- in: text and numbers ---- */

static const char *plain_text(const json_t *text, size_t max_bytes)
{
    const char *s = json_string_value(text);

    return s && strlen(s) == json_string_length(text) && strlen(s) <= max_bytes && text_is_plain(s)
               ? s
               : NULL;
}

int take_text(const char **to, const json_t *from, const char *key, size_t max_bytes,
              struct error *e)
{
    *to = plain_text(json_object_get(from, key), max_bytes);
    return *to ? OK
               : error_set(e, DAMAGED, "\"%s\" is missing or not plain text of at most %zu bytes",
                           key, max_bytes);
}

static int take_copy(char **to, const json_t *from, const char *key, size_t max_bytes,
                     struct error *e)
{
    const char *s;

    if (take_text(&s, from, key, max_bytes, e) < 0)
        return e->status;
    *to = strdup(s);
    return *to ? OK : error_out_of_memory(e);
}

static bool number_of(uint64_t *to, const json_t *number, uint64_t max)
{
    json_int_t n = json_integer_value(number);

    if (!json_is_integer(number) || n < 0 || (uint64_t)n > max)
        return false;
    *to = (uint64_t)n;
    return true;
}

int take_number(uint64_t *to, const json_t *from, const char *key, uint64_t max, struct error *e)
{
    return number_of(to, json_object_get(from, key), max)
               ? OK
               : error_set(e, DAMAGED, "\"%s\" is missing or not a sensible number", key);
}

static int take_run_from(char to[static RUN_ID], const json_t *text, const char *key,
                         struct error *e)
{
    const char *s = plain_text(text, RUN_ID - 1);

    if (!run_id_is_valid(s))
        return error_set(e, DAMAGED, "\"%s\" is missing or not the 16 digits of a run", key);
    memcpy(to, s, RUN_ID);
    return OK;
}

int take_run_id(char to[static RUN_ID], const json_t *from, const char *key, struct error *e)
{
    return take_run_from(to, json_object_get(from, key), key, e);
}

int take_run_ids(char (**to)[RUN_ID], size_t *count, const json_t *from, const char *key,
                 struct error *e)
{
    const json_t *runs = json_object_get(from, key), *run;
    size_t i;

    if (!json_is_array(runs))
        return error_set(e, DAMAGED, "\"%s\" is missing or not a list of runs", key);
    *to = calloc(json_array_size(runs) + 1, sizeof **to);
    if (!*to)
        return error_out_of_memory(e);
    json_array_foreach (runs, i, run) {
        if (take_run_from((*to)[i], run, key, e) < 0)
            return e->status;
        ++*count;
    }
    return OK;
}

/* ---- in: runs and snapshots ---- */

int take_run(struct view_run *to, const json_t *from, struct error *e)
{
    uint64_t pid, at;

    if (take_run_id(to->id, from, "run", e) < 0 ||
        take_copy(&to->command, from, "command", TEXT_MAX, e) < 0 ||
        take_copy(&to->host, from, "host", TEXT_MAX, e) < 0 ||
        take_copy(&to->boot, from, "boot", TEXT_MAX, e) < 0 ||
        take_copy(&to->reads, from, "reads", TEXT_MAX, e) < 0 ||
        take_number(&pid, from, "pid", INT32_MAX, e) < 0 ||
        take_number(&to->start, from, "start", NUMBER_MAX, e) < 0 ||
        take_number(&at, from, "at", NUMBER_MAX, e) < 0)
        return e->status;
    to->pid = (int64_t)pid;
    to->signed_s = (int64_t)at;
    return OK;
}

static int take_names(struct view_snapshot *to, const json_t *from, struct error *e)
{
    const char *sum;

    if (take_copy(&to->domain, from, "domain", DOMAIN_MAX, e) < 0 ||
        take_copy(&to->name, from, "name", NAME_BYTES, e) < 0 ||
        take_copy(&to->created, from, "created", TEXT_MAX, e) < 0 ||
        take_text(&sum, from, "record", SUM_DIGITS, e) < 0)
        return e->status;
    if (!*to->domain || strchr(to->domain, '/'))
        return error_set(e, DAMAGED, "\"%s\" is not the name of a domain", to->domain);
    if (!is_snapshot_name(to->name))
        return error_set(e, DAMAGED, "\"%s\" is not the name of a snapshot", to->name);
    if (!is_time(to->created))
        return error_set(e, DAMAGED, "\"%s\" is not a time", to->created);
    if (strlen(sum) != SUM_DIGITS || !is_hex(sum, SUM_DIGITS))
        return error_set(e, DAMAGED, "\"record\" is not 64 hexadecimal digits");
    memcpy(to->record_sum, sum, sizeof to->record_sum);
    return OK;
}

int take_snapshot(struct view_snapshot *to, const json_t *from, struct error *e)
{
    const json_t *ram = json_object_get(from, "ram");
    uint64_t disks;

    if (!json_is_object(from))
        return error_set(e, DAMAGED, "\"snapshot\" is missing or not an object");
    if (take_names(to, from, e) < 0 || take_number(&to->bytes, from, "bytes", NUMBER_MAX, e) < 0 ||
        take_number(&to->stored_bytes, from, "stored_bytes", NUMBER_MAX, e) < 0 ||
        take_number(&disks, from, "disks", DISKS_MAX, e) < 0)
        return e->status;
    if (!json_is_boolean(ram))
        return error_set(e, DAMAGED, "\"ram\" is missing or neither true nor false");
    to->disks = (unsigned)disks;
    to->ram = json_is_true(ram);
    return OK;
}

/* Whether all text in it is plain, and it is not deep. */
static bool is_plain_json(const json_t *json, unsigned depth)
{
    const char *key;
    json_t *value;
    size_t i;

    if (depth > NOTES_DEPTH)
        return false;
    if (json_is_string(json))
        return plain_text(json, NOTES_MAX_BYTES);
    json_array_foreach (json, i, value)
        if (!is_plain_json(value, depth + 1))
            return false;
    json_object_foreach ((json_t *)json, key, value)
        if (!text_is_plain(key) || !is_plain_json(value, depth + 1))
            return false;
    return true;
}

int take_notes(const json_t **to, const json_t *from, struct error *e)
{
    const json_t *notes = json_object_get(from, "notes");

    if (!json_is_object(notes) || !is_plain_json(notes, 0) ||
        json_dumpb(notes, NULL, 0, JSON_COMPACT) > NOTES_MAX_BYTES)
        return error_set(e, DAMAGED,
                         "\"notes\" is missing or not an object of plain text and at most %u bytes",
                         NOTES_MAX_BYTES);
    *to = notes;
    return OK;
}

/* ---- in: packs ---- */

/* What one of us wrote is sorted already. */
static int sort_packs(struct pack_list *l, const char *key, struct error *e)
{
    if (!is_sorted(l->packs, l->count, sizeof *l->packs, view_pack_compare))
        qsort(l->packs, l->count, sizeof *l->packs, view_pack_compare);
    for (size_t i = 1; i < l->count; i++)
        if (view_pack_compare(&l->packs[i - 1], &l->packs[i]) == 0)
            return error_set(e, DAMAGED, "\"%s\" has a pack twice", key);
    return OK;
}

static int make_room(struct pack_list *l, size_t count, struct error *e)
{
    l->packs = calloc(count + 1, sizeof *l->packs);
    return l->packs ? OK : error_out_of_memory(e);
}

int take_packs(struct pack_list *to, const json_t *from, const char *key, struct error *e)
{
    const json_t *packs = json_object_get(from, key), *pair;
    size_t i;

    if (!json_is_array(packs))
        return error_set(e, DAMAGED, "\"%s\" is missing or not a list of packs", key);
    if (make_room(to, json_array_size(packs), e) < 0)
        return e->status;
    json_array_foreach (packs, i, pair) {
        struct view_pack *p = &to->packs[to->count++];

        if (json_array_size(pair) != 2 ||
            !pack_name_from_text(&p->name, plain_text(json_array_get(pair, 0), PACK_NAME_TEXT)) ||
            !number_of(&p->bytes, json_array_get(pair, 1), NUMBER_MAX))
            return error_set(e, DAMAGED, "\"%s\": item %zu is not a pack", key, i + 1);
    }
    return sort_packs(to, key, e);
}

static int offset_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int take_offsets(struct view_damage **to, const json_t *offsets, const char *key,
                        struct error *e)
{
    struct view_damage *d = calloc(1, sizeof *d);
    const json_t *offset;
    uint64_t number;
    size_t i;

    *to = d;
    if (!d || !(d->offsets = calloc(json_array_size(offsets) + 1, sizeof *d->offsets)))
        return error_out_of_memory(e);
    json_array_foreach (offsets, i, offset) {
        if (!number_of(&number, offset, UINT32_MAX))
            return error_set(e, DAMAGED, "\"%s\": %zu: not an offset in a pack", key, i + 1);
        d->offsets[i] = (uint32_t)number;
    }
    qsort(d->offsets, i, sizeof *d->offsets, offset_compare);
    for (size_t j = 0; j < i; j++)
        if (d->count == 0 || d->offsets[d->count - 1] != d->offsets[j])
            d->offsets[d->count++] = d->offsets[j];
    return OK;
}

int take_damage(struct pack_list *to, const json_t *from, const char *key, struct error *e)
{
    json_t *damage = json_object_get(from, key), *offsets;
    const char *name;

    if (!json_is_object(damage))
        return error_set(e, DAMAGED, "\"%s\" is missing or not an object of packs", key);
    if (make_room(to, json_object_size(damage), e) < 0)
        return e->status;
    json_object_foreach (damage, name, offsets) {
        struct view_pack *p = &to->packs[to->count++];

        if (!pack_name_from_text(&p->name, name) || !json_is_array(offsets))
            return error_set(e, DAMAGED, "\"%s\": \"%s\" is not a pack with a list of offsets", key,
                             name);
        if (take_offsets(&p->damage, offsets, key, e) < 0)
            return e->status;
    }
    return sort_packs(to, key, e);
}

/* ---- out ---- */

json_t *run_to_json(const struct view_run *r)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "run", r->id, "command",
                     r->command, "host", r->host, "boot", r->boot, "pid", (json_int_t)r->pid,
                     "start", (json_int_t)r->start, "at", (json_int_t)r->signed_s, "reads",
                     r->reads);
}

json_t *snapshot_to_json(const struct view_snapshot *s)
{
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b}", "run", s->run, "domain",
                  s->domain, "name", s->name, "created", s->created, "record", s->record_sum,
                  "bytes", (json_int_t)s->bytes, "stored_bytes", (json_int_t)s->stored_bytes,
                  "disks", (json_int_t)s->disks, "ram", (int)s->ram);

    if (!json || !s->notes || json_object_set_new(json, "notes", json_deep_copy(s->notes)) == 0)
        return json;
    json_decref(json);
    return NULL;
}

json_t *pack_to_json(const struct pack_name *name, uint64_t bytes)
{
    char text[PACK_NAME_TEXT];

    pack_name_to_text(name, text);
    return json_pack("[s, I]", text, (json_int_t)bytes);
}

json_t *damage_to_json(const struct view_damage *d)
{
    json_t *offsets = json_array();
    bool ok = offsets != NULL;

    for (size_t i = 0; ok && i < d->count; i++)
        ok = json_array_append_new(offsets, json_integer(d->offsets[i])) == 0;
    if (ok)
        return offsets;
    json_decref(offsets);
    return NULL;
}
