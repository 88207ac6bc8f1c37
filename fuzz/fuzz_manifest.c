/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Manifests and records. */
#include "fuzz.h"

#include "base/cleanup.h"
#include "repo/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);

    for (int place = MANIFEST_FOLDER; json && place <= MANIFEST_REPOSITORY; place++) {
        struct manifest m;
        struct error e;

        if (manifest_parse(&m, json, place, &e) < 0)
            continue;
        json_decref(manifest_to_json(&m));
        manifest_release(&m);
    }
    return 0;
}
