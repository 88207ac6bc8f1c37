/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text that came from outside and is shown to a person. A terminal obeys control characters: those
 * of ASCII, and the second set of them (U+0080 to U+009F) in UTF-8, too.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>

/* Whether there is no control character in it. */
bool text_is_plain(const char *s);

/* JSON, and so our journal, holds nothing else. */
bool text_is_utf8(const char *s);

/* Put a '?' in the place of each byte of one. */
void text_make_plain(char *s);

#endif
