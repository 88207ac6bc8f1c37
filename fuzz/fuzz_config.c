/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The config of a repository. Its seal, and what it says that it is, are put right, or nothing
 * behind that would be reached. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/seal.h"
#include "repo/format.h"
#include "repo/repo.h"

static const char *make_repo(void)
{
    static char repo[128], copy[160];
    struct error e;

    if (!repo[0]) {
        snprintf(repo, sizeof repo, "%s/repo", fuzz_folder());
        if (repo_init(repo, CHUNK_MIN_BYTES, &e) < 0)
            abort();
        /* Or it would be taken in place of what is damaged. */
        snprintf(copy, sizeof copy, "%s/copy/config", repo);
        if (unlink(copy) < 0)
            abort();
    }
    return repo;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *repo = make_repo();
    AUTO_JSON json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    AUTO_FREE char *sealed = NULL;
    struct repo *r;
    struct error e;

    if (json_is_object(json) && json_object_set_new(json, "object", json_string("config")) == 0 &&
        seal_add(json, &e) == OK)
        sealed = json_dumps(json, 0);
    if (sealed)
        fuzz_write("repo/config", (const uint8_t *)sealed, strlen(sealed));
    else
        fuzz_write("repo/config", data, size);
    if (repo_open(&r, repo, &e) == OK) {
        if (strlen(repo_id(r)) != 32 || repo_chunk_bytes(r) < CHUNK_MIN_BYTES ||
            repo_chunk_bytes(r) > CHUNK_MAX_BYTES)
            abort();
        repo_close(r);
    }
    return 0;
}
