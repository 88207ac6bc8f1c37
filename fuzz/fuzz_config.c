/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The config of a repository. Its seal is put right, or nothing behind it would be reached. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/seal.h"
#include "repo/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char repo[128];
    AUTO_JSON json_t *json = json_loadb((const char *)data, size, 0, NULL);
    AUTO_FREE char *sealed = NULL;
    struct store *s;
    struct error e;

    if (!repo[0]) {
        snprintf(repo, sizeof repo, "%s/repo", fuzz_folder());
        if (store_init(repo, CHUNK_MIN_BYTES, &e) < 0)
            abort();
    }
    if (json_is_object(json) && seal_add(json, &e) == OK)
        sealed = json_dumps(json, 0);
    if (sealed)
        fuzz_write("repo/config", (const uint8_t *)sealed, strlen(sealed));
    else
        fuzz_write("repo/config", data, size);
    if (store_open(&s, repo, STORE_SHARED, &e) == OK)
        store_close(s);
    return 0;
}
