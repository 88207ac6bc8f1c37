/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An entry of the journal, and what recover makes of it, with drivers that do nothing. Its seal is
 * put right, or nothing behind it would be reached; and what it names as a folder or a repository
 * is one of ours, since it would be changed.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/seal.h"
#include "engine/engine.h"

/* ---- drivers ---- */

static int open_host(struct domain_host **host, struct error *e)
{
    static char dummy;

    (void)e;
    *host = (struct domain_host *)&dummy;
    return OK;
}

static void close_host(struct domain_host *host)
{
    (void)host;
}

/* Some names are taken. */
static int find(struct domain_host *host, const char *name, struct domain_id *id, struct error *e)
{
    (void)host;
    *id = (struct domain_id){.name = name, .domid = 7, .uuid = "uuid"};
    return *name & 1 ? OK : error_set(e, NOT_FOUND, "there is none");
}

static int state(struct domain_host *host, const struct domain_id *id, enum domain_state *state,
                 struct error *e)
{
    (void)host, (void)e;
    *state = id->name[1] & 1 ? DOMAIN_RUNNING : DOMAIN_PAUSED;
    return OK;
}

static int wait_stopped(struct domain_host *host, const struct domain_id *id, int wake_fd,
                        int timeout_ms, struct error *e)
{
    (void)host, (void)id, (void)wake_fd, (void)timeout_ms;
    return error_set(e, TIMED_OUT, "it has not stopped");
}

static int let_go(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    (void)host, (void)e;
    if (!id->name || !memchr(id->uuid, '\0', sizeof id->uuid))
        abort();
    return OK;
}

static bool saved_by_others(struct domain_host *host, const struct domain_id *id)
{
    (void)host;
    return id->name[0] & 2;
}

static int resume(struct domain_host *host, const struct domain_id *id, bool *may_stop,
                  struct error *e)
{
    *may_stop = true;
    return let_go(host, id, e);
}

static const struct domain_driver domains = {
    .name = "none",
    .open = open_host,
    .close = close_host,
    .find = find,
    .state = state,
    .wait_stopped = wait_stopped,
    .saved_by_others = saved_by_others,
    .release = let_go,
    .resume = resume,
    .unpause = let_go,
};

static int discard(const json_t *record, struct error *e)
{
    return json_object_get(record, "fails") ? error_set(e, FAILED, "it was told to") : OK;
}

static const struct volume_driver volume = {.name = "none", .discard = discard, .lift = discard};
static const struct volume_driver *const volumes[] = {&volume, NULL};

/* ---- the entry ---- */

static void make_ours(json_t *entry, const char *key, const char *path)
{
    if (json_is_string(json_object_get(entry, key)))
        json_object_set_new(entry, key, json_string(path));
}

static void write_entry(const uint8_t *data, size_t size, const char *folder)
{
    AUTO_JSON json_t *entry = json_loadb((const char *)data, size, 0, NULL);
    AUTO_FREE char *sealed = NULL;
    struct error e;

    if (json_is_object(entry)) {
        make_ours(entry, "folder", folder);
        make_ours(entry, "repo", folder);
        if (seal_add(entry, &e) == OK)
            sealed = json_dumps(entry, 0);
    }
    if (sealed)
        fuzz_write("journal/linux01.json", (const uint8_t *)sealed, strlen(sealed));
    else
        fuzz_write("journal/linux01.json", data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *journal = format_text("%s/journal", fuzz_folder());
    AUTO_FREE char *locks = format_text("%s/locks", fuzz_folder());
    AUTO_FREE char *folder = format_text("%s/folder", fuzz_folder());
    struct engine engine = {
        .domains = &domains, .volumes = volumes, .journal_dir = journal, .lock_dir = locks};
    struct recovery *list;
    struct error e;
    size_t count;

    if (!journal || !locks || !folder || dir_make(journal, &e) < 0 || dir_make(folder, &e) < 0)
        abort();
    fuzz_write("folder/.linux01.cfg.part", (const uint8_t *)"x", 1);
    write_entry(data, size, folder);
    engine_recover(&engine, &(struct recover_params){0}, &list, &count, &e);
    recovery_release(list, count);
    engine_disconnect(&engine);
    return 0;
}
