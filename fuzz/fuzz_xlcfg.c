/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libxl's JSON: to a domain, and to xl's own format. */
#include "fuzz.h"

#include "base/cleanup.h"
#include "domain/domain.h"
#include "domain/xlcfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    AUTO_FREE char *text = NULL;
    struct domain domain = {0};
    struct error e;

    if (!json)
        return 0;
    if (domain_parse(&domain, json, &e) == OK)
        domain_release(&domain);
    xlcfg_from_json(json, &text, &e);
    return 0;
}
