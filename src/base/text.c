/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"

#include <jansson.h>
#include <stddef.h>

/* The bytes of the control character that `s` begins with; 0: it does not. */
static size_t control_bytes(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] < ' ' || u[0] == 0x7f)
        return 1;
    return u[0] == 0xc2 && u[1] >= 0x80 && u[1] <= 0x9f ? 2 : 0;
}

bool text_is_plain(const char *s)
{
    for (; *s; s++)
        if (control_bytes(s))
            return false;
    return true;
}

bool text_is_utf8(const char *s)
{
    json_t *json = json_string(s);

    json_decref(json);
    return json;
}

void text_make_plain(char *s)
{
    for (; *s; s++)
        for (size_t n = control_bytes(s); n; n--)
            s[n - 1] = '?';
}
