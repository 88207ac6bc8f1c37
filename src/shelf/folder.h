/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot as plain files in one folder, as `create --to DIR` leaves it. Files are written under
 * temporary names (".NAME.part") and get their final ones, manifest.json last, when all are whole
 * and durable.
 *
 *     folder_open → folder_stage … → folder_write_manifest
 *          → [commit point: journal] → folder_publish
 *          → folder_abandon
 *
 * publish and abandon need only the folder and the list of names, so that another process can do
 * them after a crash; both may be called twice.
 */
#ifndef SHELF_FOLDER_H
#define SHELF_FOLDER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "repo/manifest.h"

#define FOLDER_MANIFEST "manifest.json"

/* Of the trees that the roots in a manifest name. */
#define FOLDER_CHUNK_BYTES (256u << 10)

/* A descriptor of the folder, the caller's. */
int folder_open(const char *path, int *dirfd, struct error *e);

/* The same, for writing, of a path that realpath() gave: DAMAGED if it is a symbolic link by now.
 */
int folder_open_resolved(const char *path, int *dirfd, struct error *e);

/* Refuse a folder in which one of the names (a JSON list of strings), final or temporary, is taken.
 */
int folder_check_free(int dirfd, const json_t *names, struct error *e);

/* Bytes that we may still write there. */
int folder_space(int dirfd, uint64_t *free_bytes, struct error *e);

/* Create `name` under its temporary name, for writing; the descriptor is the caller's. */
int folder_stage(int dirfd, const char *name, int *fd, struct error *e);

/* Stage the manifest, sealed (seal.h), whole and durable. */
int folder_write_manifest(int dirfd, const struct manifest *m, struct error *e);

/* Give all staged files their final names, in the order of the list, durably. Never replaces a
 * file: BUSY if somebody took a name meanwhile. */
int folder_publish(int dirfd, const json_t *names, struct error *e);

/* Remove staged files. Published ones are not touched. */
int folder_abandon(int dirfd, const json_t *names, struct error *e);

/* Read and check manifest.json. */
int folder_read_manifest(int dirfd, struct manifest *m, struct error *e);

/* Open a file of the snapshot for reading; DAMAGED if its size is not the manifest's. */
int folder_open_file(int dirfd, const struct manifest_file *f, int *fd, struct error *e);

#endif
