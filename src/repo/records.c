/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/records.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/seal.h"

/* A record of 256 disks has some 100 KiB. */
#define RECORD_MAX_BYTES (1u << 20)

int record_name_check(const char *name, struct error *e)
{
    size_t len = strlen(name);

    if (len == 0 || len > RECORD_NAME_MAX)
        return error_set(e, USAGE, "a snapshot's name has 1 to %d characters", RECORD_NAME_MAX);
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && (p == name || !strchr("._:+-", *p)))
            return error_set(e, USAGE,
                             "\"%s\": a snapshot's name has letters, digits, and \"._:+-\" in it, "
                             "and begins with "
                             "a letter or digit",
                             name);
    return OK;
}

void record_name_of_now(char name[static 17])
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(name, 17, "%Y%m%dT%H%M%SZ", &tm);
}

static int open_snapshots(int repo_dirfd, int *dirfd, struct error *e)
{
    return open_in(repo_dirfd, "snapshots", O_RDONLY | O_DIRECTORY, dirfd, e);
}

/* The folder of a domain's records, the caller's. */
static int open_domain(int repo_dirfd, const char *domain, int *dirfd, struct error *e)
{
    AUTO_CLOSE int snapshots = -1;

    if (open_snapshots(repo_dirfd, &snapshots, e) < 0)
        return e->status;
    if (open_in(snapshots, domain, O_RDONLY | O_DIRECTORY, dirfd, e) < 0)
        return error_prefix(e, "snapshots");
    return OK;
}

static int make_domain(int repo_dirfd, const char *domain, int *dirfd, struct error *e)
{
    AUTO_CLOSE int snapshots = -1;

    if (open_snapshots(repo_dirfd, &snapshots, e) < 0)
        return e->status;
    if (mkdirat(snapshots, domain, 0700) < 0 && errno != EEXIST)
        return error_errno(e, "snapshots/%s: make it", domain);
    if (fsync(snapshots) < 0)
        return error_errno(e, "snapshots: make it durable");
    return open_domain(repo_dirfd, domain, dirfd, e);
}

int record_write(int repo_dirfd, const struct manifest *m, struct error *e)
{
    AUTO_FREE char *whole = format_text("%s.json", m->name);
    AUTO_FREE char *part = format_text(".%s.%d.json", m->name, (int)getpid());
    AUTO_JSON json_t *json = manifest_to_json(m);
    AUTO_CLOSE int dirfd = -1;

    if (!whole || !part || !json)
        return error_set(e, NO_SPACE, "out of memory");
    if (make_domain(repo_dirfd, m->domain_name, &dirfd, e) < 0 ||
        seal_write(dirfd, part, json, e) < 0)
        return error_prefix(e, "record");
    if (file_rename_new(dirfd, part, whole) < 0) {
        if (errno == EEXIST)
            error_set(e, BUSY, "there is a snapshot %s@%s already", m->domain_name, m->name);
        else
            error_errno(e, "record %s: rename", whole);
        unlinkat(dirfd, part, 0);
        return e->status;
    }
    if (FAULT("record-published", e) == OK && fsync(dirfd) == 0)
        return OK;
    error_errno(e, "record: make it durable");
    /* What failed must not be listed. */
    unlinkat(dirfd, whole, 0);
    return e->status;
}

static int not_there(const char *domain, const char *name, struct error *e)
{
    return error_set(e, NOT_FOUND, "there is no snapshot %s@%s; `domsnap list` shows them", domain,
                     name);
}

int record_find(int repo_dirfd, const char *domain, const char *name, struct error *e)
{
    AUTO_FREE char *file = format_text("%s.json", name);
    AUTO_CLOSE int dirfd = -1;
    struct stat st;

    if (!file)
        return error_set(e, NO_SPACE, "out of memory");
    if (open_domain(repo_dirfd, domain, &dirfd, e) == OK) {
        if (fstatat(dirfd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return OK;
        error_errno(e, "record %s@%s", domain, name);
    }
    return e->status == NOT_FOUND ? not_there(domain, name, e) : e->status;
}

/* It may have been deleted between open and lock. */
static bool is_still(int dirfd, const char *file, int fd)
{
    struct stat held, there;

    return fstat(fd, &held) == 0 && fstatat(dirfd, file, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

int record_hold(int repo_dirfd, const char *domain, const char *name, enum record_hold how, int *fd,
                struct error *e)
{
    AUTO_FREE char *file = format_text("%s.json", name);
    AUTO_CLOSE int dirfd = -1;
    int rc = OK;

    if (!file)
        return error_set(e, NO_SPACE, "out of memory");
    if (open_domain(repo_dirfd, domain, &dirfd, e) < 0 ||
        open_in(dirfd, file, how == RECORD_ALONE ? O_RDWR : O_RDONLY, fd, e) < 0)
        return e->status == NOT_FOUND ? not_there(domain, name, e) : e->status;
    if (flock(*fd, (how == RECORD_ALONE ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK
                 ? error_set(e, BUSY, "%s@%s is just being %s", domain, name,
                             how == RECORD_ALONE ? "restored or deleted" : "deleted")
                 : error_errno(e, "record %s@%s: lock", domain, name);
    else if (!is_still(dirfd, file, *fd))
        rc = not_there(domain, name, e);
    if (rc < 0) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

static int read_file(int dirfd, const char *file, struct manifest *m, struct error *e)
{
    AUTO_JSON json_t *json = NULL;

    if (json_read(dirfd, file, RECORD_MAX_BYTES, &json, e) < 0 || seal_check(json, e) < 0)
        return e->status;
    return manifest_parse(m, json, MANIFEST_REPOSITORY, e);
}

int record_read(int repo_dirfd, const char *domain, const char *name, struct manifest *m,
                struct error *e)
{
    AUTO_FREE char *file = format_text("%s.json", name);
    AUTO_CLOSE int dirfd = -1;
    int rc;

    if (!file)
        return error_set(e, NO_SPACE, "out of memory");
    rc = open_domain(repo_dirfd, domain, &dirfd, e);
    if (rc == OK)
        rc = read_file(dirfd, file, m, e);
    if (rc == NOT_FOUND)
        return not_there(domain, name, e);
    if (rc < 0)
        return error_prefix(e, "record %s@%s", domain, name);
    if (strcmp(m->domain_name, domain) == 0 && strcmp(m->name, name) == 0)
        return OK;
    error_set(e, DAMAGED, "record %s@%s is that of %s@%s", domain, name, m->domain_name, m->name);
    manifest_release(m);
    return e->status;
}

int record_delete(int repo_dirfd, const char *domain, const char *name, struct error *e)
{
    AUTO_FREE char *file = format_text("%s.json", name);
    AUTO_CLOSE int dirfd = -1;

    if (!file)
        return error_set(e, NO_SPACE, "out of memory");
    if (open_domain(repo_dirfd, domain, &dirfd, e) < 0)
        return e->status == NOT_FOUND ? OK : e->status;
    if (unlinkat(dirfd, file, 0) < 0 && errno != ENOENT)
        return error_errno(e, "record %s@%s: remove", domain, name);
    return FAULT("record-removed", e) < 0 || fsync(dirfd) < 0
               ? error_errno(e, "record %s@%s", domain, name)
               : OK;
}

/* ---- list ---- */

struct list {
    bad_record_sink bad;
    void *arg;
    struct manifest *items;
    size_t count;
};

static int append(struct list *list, const struct manifest *m, struct error *e)
{
    struct manifest *items = realloc(list->items, (list->count + 1) * sizeof *items);

    if (!items)
        return error_set(e, NO_SPACE, "out of memory");
    list->items = items;
    items[list->count++] = *m;
    return OK;
}

static bool is_gone(int repo_dirfd, const char *domain, const char *name)
{
    struct error why;

    return record_find(repo_dirfd, domain, name, &why) == NOT_FOUND;
}

/* "NAME.json" to NAME. False: no record has this name. */
static bool name_of_file(const char *file, char name[static RECORD_NAME_MAX + 1])
{
    size_t len = strlen(file);
    struct error why;

    if (len <= 5 || len - 5 > RECORD_NAME_MAX || strcmp(file + len - 5, ".json") != 0)
        return false;
    snprintf(name, RECORD_NAME_MAX + 1, "%.*s", (int)(len - 5), file);
    return record_name_check(name, &why) == OK;
}

static int add_bad(const char *domain, const char *name, const struct error *why, struct list *list,
                   struct error *e)
{
    AUTO_FREE char *snapshot = format_text("%s@%s", domain, name);

    if (!snapshot)
        return error_set(e, NO_SPACE, "out of memory");
    if (!list->bad) {
        *e = *why;
        return e->status;
    }
    list->bad(list->arg, snapshot, why);
    return OK;
}

static int add_record(int repo_dirfd, const char *domain, const char *file, struct list *list,
                      struct error *e)
{
    char name[RECORD_NAME_MAX + 1];
    struct manifest m;
    struct error why;

    if (!name_of_file(file, name))
        return OK;
    if (record_read(repo_dirfd, domain, name, &m, &why) < 0) {
        /* Deleted meanwhile. */
        if (why.status == NOT_FOUND && is_gone(repo_dirfd, domain, name))
            return OK;
        return add_bad(domain, name, &why, list, e);
    }
    if (append(list, &m, e) == OK)
        return OK;
    manifest_release(&m);
    return e->status;
}

static int add_domain(int repo_dirfd, const char *domain, struct list *list, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    AUTO_CLOSE int snapshots = -1;
    const char *file;

    if (open_snapshots(repo_dirfd, &snapshots, e) < 0)
        return e->status;
    if (list_in(snapshots, domain, &dir, e) < 0)
        return error_prefix(e, "snapshots");
    while ((file = dir_next(dir)))
        if (add_record(repo_dirfd, domain, file, list, e) < 0)
            return e->status;
    return errno ? error_errno(e, "snapshots/%s: list", domain) : OK;
}

/* A link counts: it may lead to records, so it must not be passed over in silence. */
static bool may_hold_records(int dirfd, const char *name)
{
    struct stat st;

    if (name[0] == '.')
        return false;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return true;
    return S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode);
}

static int add_all(int repo_dirfd, struct list *list, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    const char *domain;

    if (list_in(repo_dirfd, "snapshots", &dir, e) < 0)
        return e->status;
    while ((domain = dir_next(dir))) {
        if (!may_hold_records(dirfd(dir), domain) || add_domain(repo_dirfd, domain, list, e) == OK)
            continue;
        if (!list->bad || e->status == NO_SPACE)
            return e->status;
        list->bad(list->arg, domain, e);
    }
    return errno ? error_errno(e, "snapshots: list") : OK;
}

static int compare(const void *a, const void *b)
{
    const struct manifest *x = a, *y = b;
    int order = strcmp(x->domain_name, y->domain_name);

    if (order == 0)
        order = strcmp(x->created, y->created);
    return order ? order : strcmp(x->name, y->name);
}

int record_list(int repo_dirfd, const char *domain, bad_record_sink bad, void *arg,
                struct manifest **list, size_t *count, struct error *e)
{
    struct list l = {.bad = bad, .arg = arg};
    int rc = domain ? add_domain(repo_dirfd, domain, &l, e) : add_all(repo_dirfd, &l, e);

    /* It has never had one. */
    if (domain && rc == NOT_FOUND)
        rc = OK;
    if (rc < 0) {
        record_list_release(l.items, l.count);
        return rc;
    }
    if (l.count)
        qsort(l.items, l.count, sizeof *l.items, compare);
    *list = l.items;
    *count = l.count;
    return OK;
}

void record_list_release(struct manifest *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        manifest_release(&list[i]);
    free(list);
}
