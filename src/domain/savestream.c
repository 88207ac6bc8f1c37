/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domain/savestream.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "domain/savefile.h"

/* libxl's stream: a head, whose numbers are big-endian, and records. One of them says that libxc's
 * stream begins; its others come after that. */
#define LIBXL_IDENT         UINT64_C(0x4c6962786c466d74) /* "LibxlFmt" */
#define LIBXL_VERSION       2
#define LIBXL_LIBXC_CONTEXT 1

struct libxl_head {
    uint64_t ident;
    uint32_t version;
    uint32_t options; /* bit 0: the rest is big-endian; bit 1: made of an older format */
};

/* libxc's stream: an image head, big-endian too, a domain head, which is not looked at, and
 * records. */
#define LIBXC_MARKER      UINT64_MAX
#define LIBXC_ID          0x58454e46 /* "XENF" */
#define LIBXC_VERSION_MIN 2
#define LIBXC_VERSION_MAX 3

struct libxc_heads {
    uint64_t marker;
    uint32_t id, version;
    uint16_t options; /* bit 0: the rest is big-endian */
    uint16_t reserved[3];
    uint32_t domain_type;
    uint16_t page_shift, reserved2;
    uint32_t xen_major, xen_minor;
};

enum libxc_record {
    LIBXC_END = 0,
    LIBXC_PAGE_DATA = 1,
    LIBXC_VERIFY = 13, /* 13 to 15: of debugging, and of replication */
    LIBXC_CHECKPOINT_DIRTY_PFN_LIST = 15,
    LIBXC_STATIC_DATA_END = 16, /* what comes before describes the domain, and not its state */
    LIBXC_X86_CPUID_POLICY = 17,
    LIBXC_X86_MSR_POLICY = 18, /* the last that there is */
    LIBXC_OPTIONAL = 0x80000000,
};

/* Of both streams. The body is padded to a multiple of 8. */
struct record {
    uint32_t type, bytes;
};

/* A PAGE_DATA record: then come the frames, 8 bytes each, and then the content of those that have
 * some, in the same order. */
struct page_data {
    struct record record;
    uint32_t count, reserved;
};

#define FRAME_TYPE_SHIFT 60
#define FRAME_NUMBER     ((UINT64_C(1) << 52) - 1)

/* Frames in a record: as libxc writes them. It reads more; that is for bounded memory. */
#define BATCH_FRAMES 1024
#define BATCH_MAX    (1u << 16)

/* In a types image. */
#define TYPE_SENT 0x80

/* 0: of no special use; 1 to 4: a page table of that level; 9 to 12: one that is pinned; 13 to 15:
 * broken, allocated but never written, not there. */
static bool type_is_known(unsigned type)
{
    return type <= 4 || (type >= 9 && type <= 15);
}

static bool type_has_content(unsigned type)
{
    return type < 13;
}

/* ---- a map of the frames, in two levels, since a guest's address space has holes ---- */

#define LEAF_FRAMES (1u << 15) /* 128 MiB of RAM */
#define LEAVES_MAX  (1u << 17) /* 16 TiB: more than Xen gives to a guest */

/* Where in the file a frame's last content is, and in the lowest bits its type. 0: it was not sent.
 */
#define SLOT_TYPE_BITS 4
#define SLOT_TYPE_MASK ((1u << SLOT_TYPE_BITS) - 1)

struct leaf {
    uint64_t slots[LEAF_FRAMES];
};

/* A part of the file that is not pages. */
struct part {
    uint64_t offset, bytes;
};

struct save_pages {
    int fd;
    uint64_t bytes;
    struct leaf **leaves; /* LEAVES_MAX of them */
    size_t leaf_count;
    uint64_t frames;
    struct part *parts;
    size_t part_count;
    uint64_t rest_bytes, pages_at;
};

static uint64_t slot_of(const struct save_pages *p, uint64_t frame)
{
    const struct leaf *leaf = p->leaves[frame / LEAF_FRAMES];

    return leaf ? leaf->slots[frame % LEAF_FRAMES] : 0;
}

static int set_slot(struct save_pages *p, uint64_t frame, uint64_t slot, struct error *e)
{
    struct leaf **leaf;

    if (frame / LEAF_FRAMES >= LEAVES_MAX)
        return error_set(e, UNSUPPORTED, "the save stream has a frame %" PRIu64, frame);
    leaf = &p->leaves[frame / LEAF_FRAMES];
    if (!*leaf) {
        /* Or a small file could ask for much memory. */
        if (p->leaf_count >= 64 + p->bytes / (LEAF_FRAMES * DOMAIN_PAGE_BYTES / 8))
            return error_set(e, UNSUPPORTED,
                             "the frame numbers in the save stream are too far apart");
        *leaf = calloc(1, sizeof **leaf);
        if (!*leaf)
            return error_set(e, NO_SPACE, "out of memory");
        p->leaf_count++;
    }
    (*leaf)->slots[frame % LEAF_FRAMES] = slot;
    if (frame >= p->frames)
        p->frames = frame + 1;
    return OK;
}

/* ---- out of a save file ---- */

/* Where a parser is. Positions never pass the file's end. */
struct scan {
    struct save_pages *p;
    uint64_t at;
    uint64_t *frames; /* of the record at hand; BATCH_MAX of them */
};

static int cut_short(struct error *e)
{
    return error_set(e, DAMAGED, "the save stream is cut short");
}

static int scan_read(struct scan *s, void *to, uint64_t bytes, struct error *e)
{
    if (bytes > s->p->bytes - s->at)
        return cut_short(e);
    if (pread_full(s->p->fd, to, bytes, s->at) < 0)
        return error_errno(e, "read of the save stream");
    return OK;
}

/* What is skipped belongs to the rest. */
static int scan_skip(struct scan *s, uint64_t bytes, struct error *e)
{
    struct save_pages *p = s->p;
    struct part *last = p->part_count ? &p->parts[p->part_count - 1] : NULL;

    if (bytes > p->bytes - s->at)
        return cut_short(e);
    if (last && last->offset + last->bytes == s->at) {
        last->bytes += bytes;
    } else {
        struct part *more = reallocarray(p->parts, p->part_count + 1, sizeof *more);

        if (!more)
            return error_set(e, NO_SPACE, "out of memory");
        p->parts = more;
        p->parts[p->part_count++] = (struct part){s->at, bytes};
    }
    p->rest_bytes += bytes;
    s->at += bytes;
    return OK;
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) & ~UINT64_C(7);
}

static int scan_libxl(struct scan *s, struct error *e)
{
    struct libxl_head head;
    struct record record;

    if (scan_read(s, &head, sizeof head, e) < 0 || scan_skip(s, sizeof head, e) < 0)
        return e->status;
    if (be64toh(head.ident) != LIBXL_IDENT)
        return error_set(e, DAMAGED, "this is not a stream of libxl");
    if (be32toh(head.version) != LIBXL_VERSION || head.options)
        return error_set(e, UNSUPPORTED,
                         "libxl's stream is of version %" PRIu32 ", options %#" PRIx32,
                         be32toh(head.version), be32toh(head.options));
    do
        if (scan_read(s, &record, sizeof record, e) < 0 ||
            scan_skip(s, sizeof record + padded(le32toh(record.bytes)), e) < 0)
            return e->status;
    while (le32toh(record.type) != LIBXL_LIBXC_CONTEXT);
    return OK;
}

static int scan_libxc_heads(struct scan *s, struct error *e)
{
    struct libxc_heads heads;
    uint32_t version;

    if (scan_read(s, &heads, sizeof heads, e) < 0 || scan_skip(s, sizeof heads, e) < 0)
        return e->status;
    if (be64toh(heads.marker) != LIBXC_MARKER || be32toh(heads.id) != LIBXC_ID)
        return error_set(e, DAMAGED, "this is not a stream of libxc");
    version = be32toh(heads.version);
    if (version < LIBXC_VERSION_MIN || version > LIBXC_VERSION_MAX || heads.options ||
        le16toh(heads.page_shift) != 12)
        return error_set(e, UNSUPPORTED, "libxc's stream is of version %" PRIu32 ", options %#x",
                         version, be16toh(heads.options));
    return OK;
}

static int scan_frames(struct scan *s, uint64_t count, uint64_t content, uint64_t end,
                       struct error *e)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t frame = le64toh(s->frames[i]);
        unsigned type = (unsigned)(frame >> FRAME_TYPE_SHIFT);
        bool has_content = type_has_content(type);

        if (!type_is_known(type) || (frame >> 52 & 0xff))
            return error_set(e, UNSUPPORTED,
                             "the save stream has a frame of the unknown kind %#" PRIx64,
                             frame & ~FRAME_NUMBER);
        if (has_content && end - content < DOMAIN_PAGE_BYTES)
            return error_set(e, DAMAGED, "a record of pages in the save stream is too short");
        if (set_slot(s->p, frame & FRAME_NUMBER,
                     (has_content ? content << SLOT_TYPE_BITS : 0) | type, e) < 0)
            return e->status;
        /* A slot of 0 means that it was not sent; no content is at 0. */
        content += has_content ? DOMAIN_PAGE_BYTES : 0;
    }
    return content == end
               ? OK
               : error_set(e, DAMAGED, "a record of pages in the save stream is too long");
}

static int scan_pages(struct scan *s, uint32_t bytes, struct error *e)
{
    struct page_data head;
    uint64_t end = s->at + sizeof head.record + bytes;
    uint32_t count;

    if (bytes % 8 || bytes < sizeof head - sizeof head.record)
        return error_set(e, DAMAGED, "a record of pages in the save stream has %" PRIu32 " bytes",
                         bytes);
    if (s->p->bytes < end)
        return cut_short(e);
    if (scan_read(s, &head, sizeof head, e) < 0)
        return e->status;
    count = le32toh(head.count);
    if (count > BATCH_MAX)
        return error_set(e, UNSUPPORTED, "the save stream has %" PRIu32 " frames in one record",
                         count);
    s->at += sizeof head;
    if (count > (end - s->at) / sizeof *s->frames)
        return error_set(e, DAMAGED, "a record of pages in the save stream is too short");
    if (scan_read(s, s->frames, count * sizeof *s->frames, e) < 0)
        return e->status;
    if (!s->p->frames)
        s->p->pages_at = s->p->rest_bytes;
    if (scan_frames(s, count, s->at + count * sizeof *s->frames, end, e) < 0)
        return e->status;
    s->at = end;
    return OK;
}

static bool is_known(uint32_t type)
{
    if (type & LIBXC_OPTIONAL)
        return true;
    return type <= LIBXC_X86_MSR_POLICY &&
           (type < LIBXC_VERIFY || type > LIBXC_CHECKPOINT_DIRTY_PFN_LIST);
}

static int scan_libxc(struct scan *s, struct error *e)
{
    struct record record;
    uint32_t type;

    if (scan_libxc_heads(s, e) < 0)
        return e->status;
    do {
        if (scan_read(s, &record, sizeof record, e) < 0)
            return e->status;
        type = le32toh(record.type);
        if (!is_known(type))
            return error_set(e, UNSUPPORTED,
                             "the save stream has a record of the unknown type %#" PRIx32, type);
        if ((type == LIBXC_PAGE_DATA
                 ? scan_pages(s, le32toh(record.bytes), e)
                 : scan_skip(s, sizeof record + padded(le32toh(record.bytes)), e)) < 0)
            return e->status;
    } while (type != LIBXC_END);
    return s->p->frames ? OK : error_set(e, UNSUPPORTED, "the save stream has no pages");
}

static int scan(struct scan *s, struct error *e)
{
    uint64_t head_bytes;

    if (savefile_head_bytes(s->p->fd, &head_bytes, e) < 0 || scan_skip(s, head_bytes, e) < 0 ||
        scan_libxl(s, e) < 0 || scan_libxc(s, e) < 0)
        return e->status;
    return scan_skip(s, s->p->bytes - s->at, e);
}

/* ---- the beginning of a save file ---- */

/* More than any processor's leaves take. */
#define START_RECORD_MAX (64u << 10)

static int start_read(int fd, void *to, size_t bytes, struct error *e)
{
    return read_full(fd, to, bytes) < 0 ? cut_short(e) : OK;
}

/* The next record's head, and its body, padded, to free(). */
static int start_record(int fd, struct record *record, char **body, struct error *e)
{
    *body = NULL;
    if (start_read(fd, record, sizeof *record, e) < 0)
        return e->status;
    record->type = le32toh(record->type);
    record->bytes = le32toh(record->bytes);
    if (record->type == LIBXC_PAGE_DATA || record->type == LIBXC_END)
        return OK;
    if (record->bytes > START_RECORD_MAX)
        return error_set(e, UNSUPPORTED,
                         "the save stream begins with a record of %" PRIu32 " bytes",
                         record->bytes);
    *body = malloc(padded(record->bytes) + 1);
    if (!*body)
        return error_set(e, NO_SPACE, "out of memory");
    return start_read(fd, *body, padded(record->bytes), e);
}

static int take_leaves(struct save_start *s, const char *body, uint32_t bytes, struct error *e)
{
    size_t count = bytes / sizeof *s->leaves;

    free(s->leaves);
    s->leaves = calloc(count + 1, sizeof *s->leaves);
    if (!s->leaves)
        return error_set(e, NO_SPACE, "out of memory");
    memcpy(s->leaves, body, count * sizeof *s->leaves);
    s->leaf_count = count;
    return OK;
}

static int start_libxl(int fd, struct error *e)
{
    struct libxl_head head;
    struct record record;

    if (start_read(fd, &head, sizeof head, e) < 0)
        return e->status;
    if (be64toh(head.ident) != LIBXL_IDENT)
        return error_set(e, DAMAGED, "this is not a stream of libxl");
    do {
        AUTO_FREE char *body = NULL;

        if (start_record(fd, &record, &body, e) < 0)
            return e->status;
    } while (record.type != LIBXL_LIBXC_CONTEXT);
    return OK;
}

static int start_libxc(struct save_start *s, int fd, struct error *e)
{
    struct libxc_heads heads;
    struct record record;

    if (start_read(fd, &heads, sizeof heads, e) < 0)
        return e->status;
    do {
        AUTO_FREE char *body = NULL;

        if (start_record(fd, &record, &body, e) < 0)
            return e->status;
        if (record.type == LIBXC_X86_CPUID_POLICY && take_leaves(s, body, record.bytes, e) < 0)
            return e->status;
    } while (record.type != LIBXC_STATIC_DATA_END && record.type != LIBXC_PAGE_DATA &&
             record.type != LIBXC_END);
    return OK;
}

int save_start_read(struct save_start *s, int fd, struct error *e)
{
    struct error not_understood;

    *s = (struct save_start){0};
    if (savefile_read_head(fd, &s->config, e) < 0)
        return e->status;
    /* It is for the toolstack to say what it can't restore. */
    if (start_libxl(fd, &not_understood) < 0 || start_libxc(s, fd, &not_understood) < 0)
        log_debug("the beginning of the save stream: %s", not_understood.text);
    return OK;
}

void save_start_release(struct save_start *s)
{
    json_decref(s->config);
    free(s->leaves);
    *s = (struct save_start){0};
}

/* ---- out of a save file ---- */

int save_pages_find(struct save_pages **out, int fd, uint64_t bytes, struct error *e)
{
    struct save_pages *p = calloc(1, sizeof *p);
    struct scan s = {.p = p, .frames = malloc(BATCH_MAX * sizeof *s.frames)};
    int rc;

    if (p) {
        p->fd = fd;
        p->bytes = bytes;
        p->leaves = calloc(LEAVES_MAX, sizeof *p->leaves);
    }
    rc = p && p->leaves && s.frames ? scan(&s, e) : error_set(e, NO_SPACE, "out of memory");
    free(s.frames);
    if (rc < 0)
        save_pages_free(p);
    else
        *out = p;
    return rc;
}

void save_pages_free(struct save_pages *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->leaves && i < LEAVES_MAX; i++)
        free(p->leaves[i]);
    free(p->leaves);
    free(p->parts);
    free(p);
}

uint64_t save_pages_frames(const struct save_pages *p)
{
    return p->frames;
}

static uint64_t content_of(const struct save_pages *p, uint64_t frame)
{
    return slot_of(p, frame) >> SLOT_TYPE_BITS;
}

int save_pages_read(const struct save_pages *p, void *to, size_t bytes, uint64_t offset,
                    struct error *e)
{
    uint64_t frame = offset / DOMAIN_PAGE_BYTES, end = frame + bytes / DOMAIN_PAGE_BYTES;
    uint8_t *at = to;

    while (frame < end) {
        uint64_t content = content_of(p, frame), run = 1;

        /* What was sent in a row is read at once. */
        while (frame + run < end &&
               content_of(p, frame + run) == (content ? content + run * DOMAIN_PAGE_BYTES : 0))
            run++;
        if (!content)
            memset(at, 0, run * DOMAIN_PAGE_BYTES);
        else if (pread_full(p->fd, at, run * DOMAIN_PAGE_BYTES, content) < 0)
            return error_errno(e, "read of the save stream");
        at += run * DOMAIN_PAGE_BYTES;
        frame += run;
    }
    return OK;
}

uint64_t save_pages_next(const struct save_pages *p, uint64_t offset)
{
    uint64_t frame = offset / DOMAIN_PAGE_BYTES;

    while (frame < p->frames && !content_of(p, frame))
        frame =
            p->leaves[frame / LEAF_FRAMES] ? frame + 1 : (frame / LEAF_FRAMES + 1) * LEAF_FRAMES;
    if (frame >= p->frames)
        return p->frames * DOMAIN_PAGE_BYTES;
    return frame * DOMAIN_PAGE_BYTES > offset ? frame * DOMAIN_PAGE_BYTES : offset;
}

int save_pages_write_types(const struct save_pages *p, int fd, struct error *e)
{
    uint8_t types[LEAF_FRAMES];

    for (uint64_t first = 0; first < p->frames; first += LEAF_FRAMES) {
        uint64_t count = p->frames - first < LEAF_FRAMES ? p->frames - first : LEAF_FRAMES;

        for (uint64_t i = 0; i < count; i++) {
            uint64_t slot = slot_of(p, first + i);

            types[i] = slot ? TYPE_SENT | (slot & SLOT_TYPE_MASK) : 0;
        }
        if (write_full(fd, types, count) < 0)
            return error_errno(e, "write of the frames' types");
    }
    return OK;
}

static int write_part(const struct save_pages *p, const struct part *part, int fd, struct error *e)
{
    uint8_t block[1 << 14];

    for (uint64_t done = 0; done < part->bytes;) {
        size_t n = part->bytes - done < sizeof block ? part->bytes - done : sizeof block;

        if (pread_full(p->fd, block, n, part->offset + done) < 0 || write_full(fd, block, n) < 0)
            return error_errno(e, "copy of the save stream");
        done += n;
    }
    return OK;
}

int save_pages_write_rest(const struct save_pages *p, int fd, uint64_t *at, struct error *e)
{
    for (size_t i = 0; i < p->part_count; i++)
        if (write_part(p, &p->parts[i], fd, e) < 0)
            return e->status;
    *at = p->pages_at;
    return OK;
}

/* ---- into a save file ---- */

struct join {
    const struct save_parts *parts;
    int fd;
    uint64_t frames[BATCH_FRAMES];
    uint8_t *content; /* BATCH_FRAMES pages */
};

static int join_read(struct join *j, enum save_part part, void *to, size_t bytes, uint64_t offset,
                     struct error *e)
{
    return j->parts->read(j->parts->arg, part, to, bytes, offset, e);
}

static int join_write(struct join *j, const void *from, size_t bytes, struct error *e)
{
    return write_full(j->fd, from, bytes) < 0 ? error_errno(e, "write of the save stream") : OK;
}

static int join_rest(struct join *j, uint64_t offset, uint64_t end, struct error *e)
{
    while (offset < end) {
        size_t n = end - offset < DOMAIN_PAGE_BYTES ? end - offset : DOMAIN_PAGE_BYTES;

        if (join_read(j, SAVE_REST, j->content, n, offset, e) < 0 ||
            join_write(j, j->content, n, e) < 0)
            return e->status;
        offset += n;
    }
    return OK;
}

/* The frames' content, of those that have some; what is in a row at once. */
static int read_content(struct join *j, uint32_t count, size_t *bytes, struct error *e)
{
    *bytes = 0;
    for (uint32_t i = 0, run; i < count; i += run) {
        uint64_t first = j->frames[i] & FRAME_NUMBER;

        if (!type_has_content((unsigned)(j->frames[i] >> FRAME_TYPE_SHIFT))) {
            run = 1;
            continue;
        }
        for (run = 1; i + run < count; run++)
            if ((j->frames[i + run] & FRAME_NUMBER) != first + run ||
                !type_has_content((unsigned)(j->frames[i + run] >> FRAME_TYPE_SHIFT)))
                break;
        if (join_read(j, SAVE_FRAMES, j->content + *bytes, run * (size_t)DOMAIN_PAGE_BYTES,
                      first * DOMAIN_PAGE_BYTES, e) < 0)
            return e->status;
        *bytes += run * (size_t)DOMAIN_PAGE_BYTES;
    }
    return OK;
}

static int join_batch(struct join *j, uint32_t count, struct error *e)
{
    size_t frames_bytes = count * sizeof *j->frames, content_bytes;
    struct page_data head = {.record.type = htole32(LIBXC_PAGE_DATA), .count = htole32(count)};

    if (read_content(j, count, &content_bytes, e) < 0)
        return e->status;
    head.record.bytes =
        htole32((uint32_t)(sizeof head - sizeof head.record + frames_bytes + content_bytes));
    for (uint32_t i = 0; i < count; i++)
        j->frames[i] = htole64(j->frames[i]);
    return join_write(j, &head, sizeof head, e) < 0 ||
                   join_write(j, j->frames, frames_bytes, e) < 0 ||
                   join_write(j, j->content, content_bytes, e) < 0
               ? e->status
               : OK;
}

static int join_pages(struct join *j, struct error *e)
{
    uint64_t total = j->parts->bytes[SAVE_TYPES];
    uint8_t types[1 << 14];
    uint32_t count = 0;

    for (uint64_t first = 0; first < total; first += sizeof types) {
        size_t n = total - first < sizeof types ? total - first : sizeof types;

        if (join_read(j, SAVE_TYPES, types, n, first, e) < 0)
            return e->status;
        for (size_t i = 0; i < n; i++) {
            unsigned type = types[i] & ~(unsigned)TYPE_SENT;

            if (!types[i])
                continue;
            if (!(types[i] & TYPE_SENT) || !type_is_known(type))
                return error_set(e, DAMAGED, "frame %" PRIu64 " is of the unknown type %#x",
                                 first + i, types[i]);
            j->frames[count++] = (first + i) | (uint64_t)type << FRAME_TYPE_SHIFT;
            if (count == BATCH_FRAMES && join_batch(j, count, e) < 0)
                return e->status;
            count %= BATCH_FRAMES;
        }
    }
    return count ? join_batch(j, count, e) : OK;
}

int save_parts_join(const struct save_parts *parts, int fd, struct error *e)
{
    uint64_t frames = parts->bytes[SAVE_TYPES], rest = parts->bytes[SAVE_REST];
    struct join j = {.parts = parts, .fd = fd};
    int rc;

    if (parts->pages_at > rest || frames > (uint64_t)LEAVES_MAX * LEAF_FRAMES ||
        parts->bytes[SAVE_FRAMES] != frames * DOMAIN_PAGE_BYTES)
        return error_set(e, DAMAGED, "the parts of the save stream don't fit together");
    j.content = malloc((size_t)BATCH_FRAMES * DOMAIN_PAGE_BYTES);
    if (!j.content)
        return error_set(e, NO_SPACE, "out of memory");
    rc = join_rest(&j, 0, parts->pages_at, e);
    if (rc == OK)
        rc = join_pages(&j, e);
    if (rc == OK)
        rc = join_rest(&j, parts->pages_at, rest, e);
    free(j.content);
    return rc;
}
