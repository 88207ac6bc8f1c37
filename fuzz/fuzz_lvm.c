/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LVM's reports, and the sizes of exception stores that follow from them. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "volume/lvm_report.h"
#include "volume/store_size.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = malloc(size + 1);
    struct lvm_report r;
    struct error e;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (lvm_report_parse(&r, text, &e) == OK) {
        struct store_size stores[] = {{.origin_bytes = r.size_bytes}, {.origin_bytes = 1 << 30}};

        store_size_plan(stores, 2, r.size_bytes + (1 << 30), r.free_bytes, r.extent_bytes, &e);
        lvm_report_release(&r);
    }
    return 0;
}
