/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pack in a repository: its table, its pieces, and what they are made of; the same without its
 * table. The table's sum is put right, or nothing behind it would be reached. */
#include "fuzz.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/seal.h"
#include "repo/check.h"
#include "repo/pack.h"
#include "repo/store.h"

#define RUN  "0123456789abcdef"
#define PACK RUN "-0000000000000000000000000000000000000000000000000000000000000000"

static void put_sum_right(uint8_t *pack, size_t size)
{
    uint8_t *tail = pack + size - PACK_TAIL_BYTES;
    uint32_t offset;

    memcpy(&offset, tail + 20, sizeof offset);
    offset = le32toh(offset);
    if (offset <= size - PACK_TAIL_BYTES)
        EVP_Digest(pack + offset, size - PACK_TAIL_BYTES - offset, tail + 32, NULL, EVP_sha256(),
                   NULL);
}

static void write_entry(unsigned number, json_t *entry)
{
    AUTO_FREE char *text = NULL;
    char name[64];
    struct error e;

    snprintf(name, sizeof name, "repo/log/%016u", number);
    /* It says itself which it is (repo/twin.h). */
    if (!entry || json_object_set_new(entry, "object", json_string(name + 5)) < 0 ||
        seal_add(entry, &e) < 0 || !(text = json_dumps(entry, 0)))
        abort();
    fuzz_write(name, (const uint8_t *)text, strlen(text));
    json_decref(entry);
}

static const char *make_repo(void)
{
    static char repo[128];
    static const char *const folders[] = {"log", "packs"};
    struct error e;

    if (repo[0])
        return repo;
    /* No cache: the same pack has another table each time. */
    setenv("XDG_CACHE_HOME", "/dev/null", 1);
    snprintf(repo, sizeof repo, "%s/repo", fuzz_folder());
    if (repo_init(repo, CHUNK_MIN_BYTES, &e) < 0)
        abort();
    for (int i = 0; i < 2; i++) {
        AUTO_FREE char *path = format_text("%s/%s", repo, folders[i]);

        if (!path || dir_make(path, &e) < 0)
            abort();
    }
    write_entry(1, json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:i, s:i, s:s}", "kind", "begin",
                             "run", RUN, "at", 1, "command", "", "host", "", "boot", "", "pid", 1,
                             "start", 1, "reads", ""));
    return repo;
}

static int touch_piece(void *arg, uint32_t offset, const struct piece_head *h, const uint8_t *piece,
                       struct error *e)
{
    const volatile uint8_t *at = piece;

    (void)arg, (void)offset, (void)e;
    for (size_t i = 0; i < PIECE_HEAD_BYTES + (size_t)h->stored_bytes; i += 64)
        (void)at[i];
    return OK;
}

static void get_all(struct store *s, const struct pack_name *name, size_t size)
{
    static uint8_t content[CHUNK_MAX_BYTES];
    const struct sample all = {.percent = 100};
    struct backend *b = repo_backend(store_repo(s));
    struct table_entry *entries = NULL;
    struct store_worker *w;
    enum pack_kind kind;
    size_t count = 0;
    uint64_t bad;
    struct error e;

    if (store_worker_new(&w, s, &e) < 0)
        abort();
    if (pack_read_table(b, name, size, &entries, &count, &e) < 0)
        count = 0;
    for (size_t i = 0; i < count && i < 64; i++)
        store_get(w, &entries[i].id, content, entries[i].full_bytes, &e);
    if (count <= 64)
        scrub_pack(w, s, 0, &all, &bad, &e);
    if (count)
        free(entries);
    pack_read_kind(b, name, &kind, &e);
    pack_scan(b, name, touch_piece, NULL, &e);
    store_worker_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *repo = make_repo();
    AUTO_FREE uint8_t *copy = malloc(size + 1);
    struct pack_name name;
    struct repo *r;
    struct store *s;
    struct error e;

    if (size < PACK_HEAD_BYTES + PACK_TAIL_BYTES || !copy)
        return 0;
    memcpy(copy, data, size);
    put_sum_right(copy, size);
    fuzz_write("repo/packs/" PACK, copy, size);
    write_entry(2, json_pack("{s:s, s:s, s:i, s:[], s:[[s, I]]}", "kind", "condemn", "run", RUN,
                             "at", 2, "packs", "named", PACK, (json_int_t)size));
    if (!pack_name_from_text(&name, PACK) || repo_open(&r, repo, &e) < 0)
        abort();
    if (store_open(&s, r, &e) == OK) {
        get_all(s, &name, size);
        store_close(s);
    }
    repo_close(r);
    return 0;
}
