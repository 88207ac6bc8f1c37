/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

static log_sink installed;

void log_set_sink(log_sink sink)
{
    installed = sink;
}

static void emit(enum log_level level, const char *fmt, va_list ap)
{
    char line[1200];

    if (!installed)
        return;
    vsnprintf(line, sizeof line, fmt, ap);
    text_make_plain(line);
    installed(level, line);
}

#define DEFINE(name, level)                                                                        \
    void name(const char *fmt, ...)                                                                \
    {                                                                                              \
        va_list ap;                                                                                \
                                                                                                   \
        va_start(ap, fmt);                                                                         \
        emit(level, fmt, ap);                                                                      \
        va_end(ap);                                                                                \
    }

DEFINE(log_debug, LOG_LEVEL_DEBUG)
DEFINE(log_note, LOG_LEVEL_NOTE)
DEFINE(log_warning, LOG_LEVEL_WARNING)
