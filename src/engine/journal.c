/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/run.h"
#include "base/seal.h"
#include "engine/lock.h"

#define ENTRY_MAX_BYTES (1u << 20)
#define VERSION         1

static const char *const operations[] = {
    [OPERATION_CREATE] = "create",
    [OPERATION_RESTORE] = "restore",
};

static const char *const phases[] = {
    [PHASE_PREPARED] = "prepared", [PHASE_SAVING] = "saving",   [PHASE_SUSPENDED] = "suspended",
    [PHASE_LET_GO] = "let-go",     [PHASE_RUNNING] = "running", [PHASE_PUBLISH] = "publish",
    [PHASE_ASIDE] = "aside",       [PHASE_WRITING] = "writing", [PHASE_STARTING] = "starting",
    [PHASE_STARTED] = "started",
};

/* Which of these words it is; 0: none. */
static size_t find_word(const json_t *entry, const char *key, const char *const words[],
                        size_t count)
{
    const char *word = json_string_value(json_object_get(entry, key));

    for (size_t i = 1; word && i < count; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return 0;
}

enum operation journal_operation_of(const json_t *entry)
{
    return (enum operation)find_word(entry, "operation", operations,
                                     sizeof operations / sizeof *operations);
}

enum phase journal_phase_of(const json_t *entry)
{
    return (enum phase)find_word(entry, "phase", phases, sizeof phases / sizeof *phases);
}

static int open_folder(const char *path, int *fd, struct error *e)
{
    return dir_make(path, e) < 0 ? e->status
                                 : open_in(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, fd, e);
}

/* What it said is lost: a person has to look. */
static int unreadable(const struct journal *j, struct error *e)
{
    error_prefix(e, "the journal %s/%s", j->dir, j->file);
    return error_append(
        e, "what a run had begun can't be read from it: see that the guest runs and is "
           "not suspended (xl list, dmsetup info), and remove that file; volumes tagged "
           "domsnap (lvs @domsnap) can be removed then");
}

int journal_read(struct journal *j, struct error *e)
{
    json_decref(j->entry);
    j->entry = NULL;
    if (json_read(j->dirfd, j->file, ENTRY_MAX_BYTES, &j->entry, e) < 0)
        return e->status == DAMAGED ? unreadable(j, e) : e->status;
    if (seal_check(j->entry, e) < 0)
        return unreadable(j, e);
    if (json_integer_value(json_object_get(j->entry, "version")) != VERSION)
        return error_set(e, UNSUPPORTED,
                         "the journal's %s was written by another version of domsnap", j->file);
    return OK;
}

/* Lock, then look: OK with the entry in j->entry, or NOT_FOUND. */
static int open_entry(struct journal *j, const struct engine *engine, const char *domain,
                      struct error *e)
{
    *j = JOURNAL_NONE;
    j->dir = engine->journal_dir;
    j->file = format_text("%s.json", domain);
    if (!j->file)
        return error_set(e, NO_SPACE, "out of memory");
    if (lock_domain(&j->lock, engine->lock_dir, domain, e) < 0)
        return e->status;
    /* What it runs and leaves behind is not over before it has ended. */
    run_hold(j->lock);
    if (open_folder(j->dir, &j->dirfd, e) < 0)
        return e->status;
    if (file_remove_temporary(j->dirfd, j->file, e) < 0)
        return e->status;
    return journal_read(j, e);
}

int journal_open(struct journal *j, const struct engine *engine, const char *domain,
                 enum operation supersedes, struct error *e)
{
    enum operation operation;
    int rc = open_entry(j, engine, domain, e);

    if (rc == NOT_FOUND)
        return OK;
    operation = journal_operation_of(j->entry);
    if (rc == OK && supersedes && operation == supersedes)
        return OK;
    if (rc == OK)
        rc = error_set(e, NEEDS_RECOVER,
                       "an earlier `domsnap %s` of %s was interrupted; run `domsnap recover` first",
                       operation ? operations[operation] : "run", domain);
    journal_release(j);
    return rc;
}

/* An entry that could not be written may be there all the same; of what was never begun nothing
 * must be left to recover. */
static int take_back(const struct journal *j, struct error *e)
{
    if (unlinkat(j->dirfd, j->file, 0) == 0 || errno == ENOENT)
        return e->status;
    error_append(e, "remove %s/%s", j->dir, j->file);
    return e->status = NEEDS_RECOVER;
}

static int write_entry(struct journal *j, json_t *entry, struct error *e)
{
    if (json_object_set_new(entry, "version", json_integer(VERSION)) < 0)
        return error_set(e, NO_SPACE, "out of memory");
    if (seal_write(j->dirfd, j->file, entry, e) < 0) {
        error_prefix(e, "%s", j->dir);
        return j->entry ? e->status : take_back(j, e);
    }
    if (j->entry != entry) {
        json_decref(j->entry);
        j->entry = json_incref(entry);
    }
    return OK;
}

int journal_write(struct journal *j, enum operation operation, enum phase phase, json_t *entry,
                  struct error *e)
{
    if (json_object_set_new(entry, "operation", json_string(operations[operation])) < 0 ||
        json_object_set_new(entry, "phase", json_string(phases[phase])) < 0)
        return error_set(e, NO_SPACE, "out of memory");
    return write_entry(j, entry, e);
}

int journal_phase(struct journal *j, enum phase phase, struct error *e)
{
    if (json_object_set_new(j->entry, "phase", json_string(phases[phase])) < 0)
        return error_set(e, NO_SPACE, "out of memory");
    return write_entry(j, j->entry, e);
}

int journal_close(struct journal *j, struct error *e)
{
    if ((unlinkat(j->dirfd, j->file, 0) == 0 || errno == ENOENT) &&
        FAULT("journal-removed", e) == OK && fsync(j->dirfd) == 0) {
        json_decref(j->entry);
        j->entry = NULL;
        return OK;
    }
    error_errno(e, "%s/%s: remove", j->dir, j->file);
    error_append(e, "run `domsnap recover`");
    return e->status = NEEDS_RECOVER;
}

void journal_release(struct journal *j)
{
    /* The lock's file stays: to remove it would let two runs hold "the" lock. */
    if (j->lock >= 0) {
        run_hold(-1);
        close(j->lock);
    }
    if (j->dirfd >= 0)
        close(j->dirfd);
    free(j->file);
    json_decref(j->entry);
    *j = JOURNAL_NONE;
}

/* "linux01.json", or the temporary file of a run that died before it had an entry. */
static void add_name(json_t *names, const char *file)
{
    static const char *const ends[] = {".json", ".json.new"};
    bool temporary = file[0] == '.';
    const char *name = file + temporary, *end = ends[temporary];
    size_t len = strlen(name), end_len = strlen(end);
    const json_t *there;
    size_t i;

    if (len <= end_len || strcmp(name + len - end_len, end) != 0)
        return;
    len -= end_len;
    json_array_foreach (names, i, there)
        if (json_string_length(there) == len && memcmp(json_string_value(there), name, len) == 0)
            return;
    json_array_append_new(names, json_stringn(name, len));
}

int journal_list(const struct engine *engine, json_t **names, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = opendir(engine->journal_dir);
    const char *file;

    *names = json_array();
    if (!*names)
        return error_set(e, NO_SPACE, "out of memory");
    if (!dir && errno == ENOENT)
        return OK;
    if (!dir)
        return error_errno(e, "journal: %s", engine->journal_dir);
    while ((file = dir_next(dir)))
        add_name(*names, file);
    return errno ? error_errno(e, "journal: %s: list", engine->journal_dir) : OK;
}

int journal_peek(const struct engine *engine, const char *domain, json_t **entry, struct error *e)
{
    struct journal j = JOURNAL_NONE;
    int rc;

    *entry = NULL;
    j.file = format_text("%s.json", domain);
    if (!j.file)
        return error_set(e, NO_SPACE, "out of memory");
    rc = open_folder(engine->journal_dir, &j.dirfd, e);
    if (rc == OK)
        rc = journal_read(&j, e);
    if (rc == OK)
        *entry = json_incref(j.entry);
    journal_release(&j);
    return rc;
}

int journal_adopt(struct journal *j, const struct engine *engine, const char *domain,
                  struct error *e)
{
    int rc = open_entry(j, engine, domain, e);

    if (rc < 0)
        journal_release(j);
    return rc;
}
