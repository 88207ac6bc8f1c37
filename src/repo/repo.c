/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/repo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/log.h"
#include "repo/format.h"
#include "repo/twin.h"

#define FORMAT           "domsnap-repository"
#define VERSION          2
#define CONFIG_MAX_BYTES (64u << 10)
#define ID_TEXT          33

struct repo {
    struct backend *backend;
    struct log *log;
    char id[ID_TEXT];
    uint32_t chunk_bytes;
    char run[RUN_ID];
};

/* What a repository may require of who uses it. One that requires more is refused. */
static const char *const known_features[] = {"sha256", "zstd", "patches"};

#define KNOWN_FEATURES (sizeof known_features / sizeof *known_features)

/* ---- init ---- */

static bool is_chunk_size(json_int_t bytes)
{
    return bytes >= CHUNK_MIN_BYTES && bytes <= CHUNK_MAX_BYTES && (bytes & (bytes - 1)) == 0;
}

static int random_hex(char *hex, size_t bytes, struct error *e)
{
    uint8_t random[16];

    if (getrandom(random, bytes, 0) != (ssize_t)bytes)
        return error_errno(e, "random number");
    hex_put(hex, random, bytes);
    return OK;
}

static int put_config(struct backend *b, uint32_t chunk_bytes, struct error *e)
{
    AUTO_JSON json_t *required = json_array(), *config = NULL;
    char id[ID_TEXT], run[RUN_ID];

    if (random_hex(id, 16, e) < 0 || random_hex(run, 8, e) < 0)
        return e->status;
    for (size_t i = 0; required && i < KNOWN_FEATURES; i++)
        json_array_append_new(required, json_string(known_features[i]));
    config = json_pack("{s:s, s:i, s:s, s:I, s:{s:O, s:[]}}", "format", FORMAT, "version", VERSION,
                       "id", id, "chunk_bytes", (json_int_t)chunk_bytes, "features", "required",
                       required, "optional");
    if (!config)
        return error_out_of_memory(e);
    return twin_put(b, run, "config", config, e);
}

static int check_chunk_size(uint32_t chunk_bytes, struct error *e)
{
    return is_chunk_size(chunk_bytes)
               ? OK
               : error_set(e, USAGE, "chunks of %u bytes: it must be a power of two from %u to %u",
                           chunk_bytes, CHUNK_MIN_BYTES, CHUNK_MAX_BYTES);
}

int repo_init_on(struct backend *b, uint32_t chunk_bytes, struct error *e)
{
    return check_chunk_size(chunk_bytes, e) < 0 ? e->status : put_config(b, chunk_bytes, e);
}

int repo_init(const char *where, uint32_t chunk_bytes, struct error *e)
{
    struct backend *b;
    int rc;

    if (check_chunk_size(chunk_bytes, e) < 0)
        return e->status;
    if (backend_make(where, e) < 0)
        return error_prefix(e, "repository %s", where);
    if (backend_open(&b, where, e) < 0)
        return error_prefix(e, "repository %s", where);
    /* Last: without it the place is no repository. */
    rc = repo_init_on(b, chunk_bytes, e);
    backend_close(b);
    return rc < 0 ? error_prefix(e, "repository %s", where) : OK;
}

/* ---- open ---- */

static int no_repository(struct error *e)
{
    return error_set(
        e, NOT_FOUND,
        "it is no repository; is its file system mounted? (`domsnap init` makes a new one)");
}

static bool is_known_feature(const char *name)
{
    for (size_t i = 0; i < KNOWN_FEATURES; i++)
        if (strcmp(known_features[i], name) == 0)
            return true;
    return false;
}

static int check_features(const json_t *config, struct error *e)
{
    const json_t *required = json_object_get(json_object_get(config, "features"), "required");
    const json_t *feature;
    size_t i;

    if (!json_is_array(required))
        return error_set(e, DAMAGED, "its config does not say what it requires");
    json_array_foreach (required, i, feature) {
        const char *name = json_string_value(feature);

        if (!name || !is_known_feature(name))
            return error_set(e, UNSUPPORTED,
                             "it requires \"%.40s\", which this domsnap does not know; use a newer "
                             "one",
                             name ? name : "?");
    }
    return OK;
}

static int take_config(struct repo *r, const json_t *config, struct error *e)
{
    const char *format = json_string_value(json_object_get(config, "format"));
    const char *id = json_string_value(json_object_get(config, "id"));
    json_int_t version = json_integer_value(json_object_get(config, "version"));
    json_int_t chunk_bytes = json_integer_value(json_object_get(config, "chunk_bytes"));

    if (!format || strcmp(format, FORMAT) != 0)
        return error_set(e, DAMAGED, "its config is not that of a repository");
    if (version != VERSION)
        return error_set(e, UNSUPPORTED,
                         "its format has version %lld; this domsnap knows version %d",
                         (long long)version, VERSION);
    if (check_features(config, e) < 0)
        return e->status;
    if (!id || strlen(id) != ID_TEXT - 1 || strspn(id, "0123456789abcdef") != ID_TEXT - 1)
        return error_set(e, DAMAGED, "its config has no id");
    if (!is_chunk_size(chunk_bytes))
        return error_set(e, DAMAGED, "its chunks have %lld bytes", (long long)chunk_bytes);
    memcpy(r->id, id, ID_TEXT);
    r->chunk_bytes = (uint32_t)chunk_bytes;
    return OK;
}

static int read_config(struct repo *r, struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    enum twin_state state;
    struct error why;

    if (twin_get(r->backend, "config", CONFIG_MAX_BYTES, &config, &state, &why, e) < 0)
        return e->status == NOT_FOUND ? no_repository(e) : e->status;
    if (state == TWIN_COPY_ONLY)
        log_warning("%s", why.text);
    return take_config(r, config, e);
}

int repo_check_config(struct backend *b, struct error *e)
{
    struct repo r = {.backend = b};

    return read_config(&r, e);
}

static int see_record(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    (void)bytes, (void)e;
    *(bool *)arg |= run_id_is_valid(name);
    return OK;
}

static int see_pack(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct pack_name pack;

    (void)bytes, (void)e;
    *(bool *)arg |= pack_name_from_text(&pack, name);
    return OK;
}

/* Whoever puts something else has put an entry before: a log that has none is lost. */
static int check_log(struct repo *r, struct error *e)
{
    const struct backend_driver *driver = r->backend->driver;
    bool used = false;

    if (log_view(r->log)->number)
        return OK;
    if (driver->list(r->backend, "snapshots", see_record, &used, e) < 0 ||
        driver->list(r->backend, "packs", see_pack, &used, e) < 0)
        return e->status;
    /* Others may have begun meanwhile. */
    if (used && log_read(r->log, e) < 0)
        return e->status;
    return used && !log_view(r->log)->number
               ? error_set(
                     e, DAMAGED,
                     "there are snapshots, or packs, and no log of them: `domsnap repair` makes "
                     "it anew")
               : OK;
}

static int open_all(struct repo *r, struct error *e)
{
    if (read_config(r, e) < 0 || log_open(&r->log, r->backend, e) < 0)
        return e->status;
    return check_log(r, e);
}

int repo_open_on(struct repo **out, struct backend *b, struct error *e)
{
    struct repo *r = calloc(1, sizeof *r);

    if (!r) {
        backend_close(b);
        return error_out_of_memory(e);
    }
    r->backend = b;
    if (open_all(r, e) == OK) {
        *out = r;
        return OK;
    }
    repo_close(r);
    return e->status;
}

int repo_open(struct repo **out, const char *where, struct error *e)
{
    struct backend *b;

    if (backend_open(&b, where, e) < 0) {
        if (e->status == NOT_FOUND)
            no_repository(e);
    } else if (repo_open_on(out, b, e) == OK) {
        return OK;
    }
    return error_prefix(e, "repository %s", where);
}

void repo_close(struct repo *r)
{
    struct error why;

    if (!r)
        return;
    if (*r->run && log_end(r->log, r->run, &why) < 0)
        log_warning(
            "the end of this run could not be noted; the next command that writes will do it: %s",
            why.text);
    log_close(r->log);
    backend_close(r->backend);
    free(r);
}

const char *repo_id(const struct repo *r)
{
    return r->id;
}

uint32_t repo_chunk_bytes(const struct repo *r)
{
    return r->chunk_bytes;
}

struct backend *repo_backend(const struct repo *r)
{
    return r->backend;
}

struct log *repo_log(const struct repo *r)
{
    return r->log;
}

const struct view *repo_view(const struct repo *r)
{
    return log_view(r->log);
}

/* ---- runs ---- */

int repo_begin(struct repo *r, enum repo_use use, const char *command, const char *reads,
               struct error *e)
{
    unsigned ended;
    char run[RUN_ID];

    if (log_begin(r->log, command, reads, run, e) == OK) {
        memcpy(r->run, run, RUN_ID);
        return log_reap(r->log, &ended, e);
    }
    if (use == REPO_WRITES || e->status == CANCELLED)
        return e->status;
    log_note(
        "the repository can't be written (%s): other hosts can't see this run, and may free what "
        "it reads",
        e->text);
    return OK;
}

int repo_sign(struct repo *r, struct error *e)
{
    return *r->run ? log_sign(r->log, r->run, e) : OK;
}

const char *repo_run(const struct repo *r)
{
    return r->run;
}

void repo_has_ended(struct repo *r)
{
    *r->run = '\0';
}

/* ---- for later ---- */

#define NOTE_TRIES 20

/* Until it is put: twice does no harm. */
static int put_note(struct repo *r, const char *kind, json_t *packs, struct error *e)
{
    AUTO_JSON json_t *entry =
        json_pack("{s:s, s:s, s:O}", "kind", kind, "run", r->run, "packs", packs);

    if (!entry)
        return error_out_of_memory(e);
    for (int i = 0; i < NOTE_TRIES; i++) {
        bool ours;

        if (log_read(r->log, e) < 0 || log_put_ours(r->log, entry, &ours, e) < 0)
            return e->status;
        if (ours)
            return OK;
    }
    return error_set(e, AGAIN, "others write to it all the time");
}

/* What one entry has at most: some 10 MiB; 50 if all are whole packs. */
#define NOTE_OFFSETS_MAX (1u << 19)

/* From the end. */
static int move_offsets(json_t *to, json_t *from, size_t count)
{
    while (count--) {
        size_t last = json_array_size(from) - 1;

        if (json_array_append(to, json_array_get(from, last)) < 0)
            return NO_SPACE;
        json_array_remove(from, last);
    }
    return OK;
}

/* As much of it as fits into one entry, taken out of `packs`. NULL: out of memory. */
static json_t *take_part(json_t *packs)
{
    json_t *part = json_object(), *offsets;
    size_t room = NOTE_OFFSETS_MAX;
    const char *pack;
    void *next;

    json_object_foreach_safe (packs, next, pack, offsets) {
        size_t count = json_array_size(offsets);
        json_t *moved;

        if (room == 0)
            break;
        if (count > room)
            count = room;
        moved = json_array();
        if (json_object_set_new(part, pack, moved) < 0 || move_offsets(moved, offsets, count) < 0) {
            json_decref(part);
            return NULL;
        }
        if (json_array_size(offsets))
            break;
        json_object_del(packs, pack);
        room -= count;
        room -= room > 0; /* its name */
    }
    return part;
}

static int put_notes(struct repo *r, const char *kind, json_t *packs, struct error *e)
{
    while (json_object_size(packs)) {
        AUTO_JSON json_t *part = take_part(packs);

        if (!part)
            return error_out_of_memory(e);
        if (put_note(r, kind, part, e) < 0)
            return e->status;
    }
    return OK;
}

void repo_note(struct repo *r, const char *kind, json_t *packs)
{
    struct error why;

    if (*r->run && put_notes(r, kind, packs, &why) < 0)
        log_warning(
            "what was found damaged, or whole again, could not be noted in the repository: %s",
            why.text);
    json_decref(packs);
}
