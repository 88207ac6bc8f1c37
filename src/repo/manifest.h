/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of one snapshot: what belongs to it, where it came from, and the sums by which it is
 * checked. On disk it is JSON (manifest.json):
 *
 *     { "format": "domsnap-manifest", "version": 1, "domsnap": "0.1.0",
 *       "created": "2026-11-23T01:55:03Z", "host": "xen01", "hypervisor": "Xen 4.17.5",
 *       "method": "snapshot",
 *       "domain": { "name": …, "uuid": …, "type": "pv", "vcpus": 1, "memory_bytes": … },
 *       "ram":    { "file": "linux01.sav", "bytes": …, "root": … },   absent: the disks only
 *       "config": { "file": "linux01.cfg", "bytes": …, "root": … },   absent: unknown
 *       "disks":  [ { "vdev": "xvda", "path": "/dev/xenvols/linux01", "driver": "plain",
 *                     "owner": { "uid": …, "gid": …, "mode": … },     absent: it is no file
 *                     "image": { "file": "linux01.xvda.img", "bytes": …, "root": … } } ],
 *       "left_out": [ { "vdev": "xvdb", "why": "read-only" } ],
 *       "pause": { "save_ns": …, "disks_ns": …, "resume_ns": …,         0: did not stop, or not
 *                  "total_ns": …, "asked_ns": … },                                     measured
 *       "sha256": … }                                                   of all the above
 *
 * A "root" is a SHA-256 that many processors can work out at once: the name of the file's tree of
 * chunks of 256 KiB, as docs/domsnap-repository.5 has it. In a repository there is no "file"; and
 * RAM is kept frame by frame, unless it is not understood: then "ram" is the save stream without
 * its pages, and has
 *
 *       "pages_at": …,           so much of it comes before them
 *       "frames": {…},           frame n's last content at n × 4096
 *       "types": {…}             a byte a frame (domain/savestream.h)
 */
#ifndef REPO_MANIFEST_H
#define REPO_MANIFEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct manifest_file {
    char *file; /* a name in the snapshot's folder; NULL: there is none, or it is in a repository */
    uint64_t bytes;
    char root[65]; /* the name of its tree (repo/tree.h), lower-case hexadecimal; "": there is none
                    */
};

static inline bool manifest_has(const struct manifest_file *f)
{
    return f->file || f->root[0];
}

/* Whether it can be the name of a file in the snapshot's own folder, never of one elsewhere. NULL:
 * no. */
bool manifest_is_file_name(const char *name);

#define MANIFEST_DISKS_MAX 256

/* Whose an image file was, to be so when it is made anew. */
struct manifest_owner {
    bool known;              /* false: it is no file */
    uint32_t uid, gid, mode; /* permissions alone */
};

struct manifest_disk {
    char *vdev, *path, *driver;
    struct manifest_owner owner;
    struct manifest_file image;
};

struct manifest_left_out {
    char *vdev, *why;
};

/* How long the guest was paused, and with what: from its suspend to its resume. */
struct manifest_pause {
    uint64_t save_ns;   /* asked to suspend, until RAM was out */
    uint64_t disks_ns;  /* fixing the instant on the disks, or copying them (cold) */
    uint64_t resume_ns; /* until it ran again */
    uint64_t total_ns;  /* 0 with disks_ns: it ran on, and only its requests to the disks waited */
    uint64_t asked_ns;  /* from when it was asked to suspend until it ran again: it stops its own
                           programs first */
};

struct manifest {
    char *name;    /* of the snapshot, in a repository; NULL in a folder */
    char *domsnap; /* the version that made it; NULL: this one */
    char *created, *host, *hypervisor;
    char *method; /* "snapshot", "cold", "import", "off" (the domain did not run) */
    char *domain_name, *domain_uuid, *domain_type;
    unsigned vcpus;
    uint64_t memory_bytes;
    struct manifest_file ram, config;
    struct manifest_file ram_frames, ram_types; /* if `ram` is without its pages */
    uint64_t ram_pages_at;
    struct manifest_disk *disks;
    size_t disk_count;
    struct manifest_left_out *left_out;
    size_t left_out_count;
    struct manifest_pause pause;
};

/* One after the other of its images, or files, in the order RAM, configuration, disks; NULL past
 * the last. Some may be none: manifest_has(). */
const struct manifest_file *manifest_image(const struct manifest *m, size_t i);

/* What messages call it. */
const char *manifest_image_name(const struct manifest *m, size_t i);

/* Of all of them. */
uint64_t manifest_bytes(const struct manifest *m);

/* As JSON, the caller's reference; NULL when memory is short. */
json_t *manifest_to_json(const struct manifest *m);

/* Where the snapshot is: its images are files, or trees. */
enum manifest_place { MANIFEST_FOLDER, MANIFEST_REPOSITORY };

/* Nothing in `json` is trusted: DAMAGED names what is wrong. On failure `m` holds nothing. */
int manifest_parse(struct manifest *m, const json_t *json, enum manifest_place place,
                   struct error *e);

/* Free what it holds; an all-zero manifest holds nothing. */
void manifest_release(struct manifest *m);

#endif
