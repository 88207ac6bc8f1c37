/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/settle.h"

#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "shelf/folder.h"

/* Linux takes the request first, and gives its tasks 20 seconds then to freeze. */
#define LATE_STOP_MS 30000

int settle_open(struct journal *j, struct engine *engine, const char *domain, struct error *e)
{
    int rc = journal_open(j, engine, domain, OPERATION_CREATE, e);

    if (rc < 0 || !j->entry)
        return rc;
    log_note("an earlier create of %s was interrupted: it is settled first", domain);
    return settle_create(engine, j, OK, e);
}

int settle_domain_id(const json_t *entry, struct domain_id *id, struct error *e)
{
    const json_t *domain = json_object_get(entry, "domain");
    const char *name = json_string_value(json_object_get(domain, "name"));
    const char *uuid = json_string_value(json_object_get(domain, "uuid"));

    if (!name || !uuid || strlen(uuid) >= sizeof id->uuid)
        return error_set(e, DAMAGED, "the journal does not name the domain");
    id->name = name;
    id->domid = (uint32_t)json_integer_value(json_object_get(domain, "domid"));
    strcpy(id->uuid, uuid);
    return OK;
}

int settle_begin(struct journal *j, const struct description *d, const char *id, bool suspends,
                 json_t *kept, struct error *e)
{
    AUTO_JSON json_t *rest = kept ? kept : json_object();
    AUTO_JSON json_t *volumes = json_array();
    AUTO_JSON json_t *entry = NULL;
    char started[sizeof "2026-11-23T01:55:03Z"];

    time_utc_iso8601(started);
    for (size_t i = 0; i < d->disk_count; i++)
        if (d->disks[i].volume->record)
            json_array_append(volumes, d->disks[i].volume->record);
    entry = json_pack("{s:s, s:s, s:{s:s, s:s, s:I}, s:b, s:O}", "id", id, "started", started,
                      "domain", "name", d->domain.name, "uuid", d->domain.uuid, "domid",
                      (json_int_t)d->domain.domid, "suspends", suspends, "volumes", volumes);
    if (!entry || json_object_update(entry, rest) < 0)
        return error_set(e, NO_SPACE, "out of memory");
    return journal_write(j, OPERATION_CREATE, PHASE_PREPARED, entry, e);
}

/* True: the domain, to which something is owed. */
static bool needs_domain(struct engine *engine, const json_t *entry, struct domain_id *id, int *rc,
                         struct error *e)
{
    *rc = OK;
    if (json_is_false(json_object_get(entry, "suspends")))
        return false;
    if (settle_domain_id(entry, id, e) == OK && engine_connect(engine, e) == OK)
        return true;
    *rc = error_prefix(e, "let the guest go on");
    return false;
}

static int resume(struct engine *engine, const struct domain_id *id, bool *may_stop,
                  struct error *e)
{
    return engine->domains->resume(engine->host, id, may_stop, e) < 0
               ? error_prefix(e, "let the guest go on")
               : OK;
}

int settle_resume(struct engine *engine, const json_t *entry, struct error *e)
{
    struct domain_id id;
    bool may_stop;
    int rc;

    return needs_domain(engine, entry, &id, &rc, e) ? resume(engine, &id, &may_stop, e) : rc;
}

int settle_release(struct engine *engine, const json_t *entry, struct error *e)
{
    struct domain_id id;
    int rc;

    if (!needs_domain(engine, entry, &id, &rc, e))
        return rc;
    return engine->domains->release(engine->host, &id, e) < 0
               ? error_prefix(e, "let the guest go on")
               : OK;
}

int settle_guest(struct engine *engine, const json_t *entry, struct error *e)
{
    const struct domain_driver *domains = engine->domains;
    struct error ignored;
    struct domain_id id;
    bool may_stop;
    int rc;

    if (!needs_domain(engine, entry, &id, &rc, e))
        return rc;
    if (resume(engine, &id, &may_stop, e) < 0 ||
        (may_stop && domains->wait_stopped(engine->host, &id, -1, LATE_STOP_MS, &ignored) == OK &&
         !domains->saved_by_others(engine->host, &id) && resume(engine, &id, &may_stop, e) < 0))
        return e->status;
    return settle_release(engine, entry, e);
}

void settle_lift(struct engine *engine, const json_t *entry)
{
    const json_t *records = json_object_get(entry, "volumes"), *record;
    struct error ignored;
    size_t i;

    json_array_foreach (records, i, record)
        volume_lift(engine->volumes, record, &ignored);
}

int settle_volumes(struct engine *engine, json_t *entry, struct error *e)
{
    const json_t *records = json_object_get(entry, "volumes"), *record;
    struct error why;
    int rc = OK;
    size_t i;

    if (!json_is_array(records))
        return error_set(e, DAMAGED, "the journal does not name the volumes");
    json_array_foreach (records, i, record)
        if (volume_discard(engine->volumes, record, &why) < 0) {
            if (rc == OK)
                *e = why;
            else
                error_append(e, "%s", why.text);
            rc = e->status;
        }
    if (rc == OK)
        json_object_set_new(entry, "volumes", json_array());
    return rc;
}

static bool are_names(const json_t *files)
{
    const json_t *file;
    size_t i;

    json_array_foreach (files, i, file)
        if (!manifest_is_file_name(json_string_value(file)))
            return false;
    return json_is_array(files);
}

static int settle_files(const json_t *entry, bool publish, struct error *e)
{
    const char *folder = json_string_value(json_object_get(entry, "folder"));
    const json_t *files = json_object_get(entry, "files");
    AUTO_CLOSE int dirfd = -1;

    /* Of a repository there is nothing to undo. */
    if (!folder)
        return OK;
    if (!are_names(files))
        return error_set(e, DAMAGED, "the journal does not name the files");
    /* A run that died before it made the folder left nothing there. */
    if (folder_open_resolved(folder, &dirfd, e) < 0)
        return e->status == NOT_FOUND && !publish ? OK : e->status;
    /* Else what another run has staged there would be taken for ours. */
    if (flock(dirfd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return error_set(e, BUSY, "%s: another domsnap writes there; try again later", folder);
    if (publish)
        return folder_publish(dirfd, files, e) < 0 ? error_prefix(e, "%s", folder) : OK;
    if (folder_abandon(dirfd, files, e) < 0)
        return error_prefix(e, "%s", folder);
    if (!json_is_true(json_object_get(entry, "folder_made")))
        return OK;
    if (rmdir(folder) < 0 && errno != ENOTEMPTY && errno != ENOENT)
        return error_errno(e, "%s: remove", folder);
    return sync_parent(folder) < 0 ? error_errno(e, "%s: make that durable", folder) : OK;
}

/* What is owed to the guest if a create has died in a phase, as journal.h has it. */
enum debt { NOTHING, RELEASE, RESUME };

static const enum debt debts[] = {
    [PHASE_SAVING] = RELEASE,
    [PHASE_SUSPENDED] = RESUME,
    [PHASE_STARTED] = NOTHING,
};

static int pay(struct engine *engine, const json_t *entry, enum debt debt, struct error *e)
{
    switch (debt) {
    case NOTHING:
        break;
    case RELEASE:
        return settle_release(engine, entry, e);
    case RESUME:
        settle_lift(engine, entry);
        return settle_guest(engine, entry, e);
    }
    return OK;
}

static int settle(struct engine *engine, struct journal *j, struct error *e)
{
    enum phase phase = journal_phase_of(j->entry);
    bool publish = phase == PHASE_PUBLISH;
    struct error guest, volumes, files;
    int guest_rc, volumes_rc, files_rc;

    /* The guest first. */
    guest_rc = pay(engine, j->entry, debts[phase], &guest);
    volumes_rc = settle_volumes(engine, j->entry, &volumes);
    files_rc = settle_files(j->entry, publish, &files);
    if (guest_rc == OK && volumes_rc == OK && files_rc == OK)
        return journal_close(j, e);
    /* Once it runs, who stops it is somebody else. */
    if (guest_rc == OK && debts[phase] == RESUME)
        journal_phase(j, PHASE_LET_GO, e);
    error_set(e, NEEDS_RECOVER,
              publish ? "it is not published yet" : "some of what it made could not be removed");
    if (guest_rc < 0)
        error_append(e, "%s", guest.text);
    if (volumes_rc < 0)
        error_append(e, "%s", volumes.text);
    if (files_rc < 0)
        error_append(e, "%s", files.text);
    return error_append(e, "run `domsnap recover`");
}

int settle_create(struct engine *engine, struct journal *j, int rc, struct error *e)
{
    bool past_commit = journal_phase_of(j->entry) == PHASE_PUBLISH;
    struct error why = {0};

    if (settle(engine, j, &why) == OK)
        return past_commit ? OK : rc;
    /* What can't be undone may be what failed before. */
    if (rc < 0 && !strstr(why.text, e->text))
        error_append(&why, "the first failure was: %s", e->text);
    *e = why;
    return e->status;
}
