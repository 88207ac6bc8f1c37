/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The records of a repository: snapshots/DOMAIN/NAME.json, a sealed manifest each. A snapshot exists exactly when its
 * record does.
 */
#ifndef REPO_RECORDS_H
#define REPO_RECORDS_H

#include "repo/manifest.h"

#define RECORD_NAME_MAX 64

/* Refuse what is not 1 to RECORD_NAME_MAX letters, digits, '.', '_', ':', '+', '-', the first a letter or digit. */
int record_name_check(const char *name, struct error *e);

/* "20261123T015503Z", of now: the name of a snapshot that was given none. */
void record_name_of_now(char name[static 17]);

/* Make the record of m->domain_name and m->name, durably. BUSY: there is one of this name. Everything that it names must be durable
 * before. */
int record_write(int repo_dirfd, const struct manifest *m, struct error *e);

/* Hold one, so that it is not deleted, or alone, to delete it: a descriptor, the caller's, to close. NOT_FOUND; BUSY: a
 * restore needs it. */
enum record_hold { RECORD_KEEP, RECORD_ALONE };
int record_hold(int repo_dirfd, const char *domain, const char *name, enum record_hold how, int *fd,
                struct error *e);

/* Whether there is one: OK, or NOT_FOUND. */
int record_find(int repo_dirfd, const char *domain, const char *name, struct error *e);

/* DAMAGED: it is not whole, or it is another's. */
int record_read(int repo_dirfd, const char *domain, const char *name, struct manifest *m,
                struct error *e);

/* Fine if it is gone. */
int record_delete(int repo_dirfd, const char *domain, const char *name, struct error *e);

/* Told of a record that can't be read: "DOMAIN@NAME", or of all of a domain's: "DOMAIN"; and why.
 * Both are valid during the call. */
typedef void (*bad_record_sink)(void *arg, const char *snapshot, const struct error *why);

/*
 * All records, of `domain` or (NULL) of all; by domain, and then the oldest first. Release with
 * record_list_release(). `bad` is told of those that can't be read, and they are left out; without
 * it the first of them fails the list: DAMAGED, UNSUPPORTED. What can't be a record by its name or
 * kind (a note, lost+found, a copy) is passed over.
 */
int record_list(int repo_dirfd, const char *domain, bad_record_sink bad, void *arg,
                struct manifest **list, size_t *count, struct error *e);
void record_list_release(struct manifest *list, size_t count);

#endif
