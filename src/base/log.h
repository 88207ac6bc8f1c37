/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the program says while it works. Library code never prints: it hands lines to the sink
 * that the command line installed. Without one, they are dropped.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level {
    LOG_LEVEL_DEBUG,  /* how it is done: programs run, sizes chosen; shown by --verbose */
    LOG_LEVEL_NOTE,   /* what the user should know: a disk left out, a phase entered */
    LOG_LEVEL_WARNING /* what the user should act on, though the work goes on */
};

/* Called from any thread, one line without a newline. */
typedef void (*log_sink)(enum log_level level, const char *line);

void log_set_sink(log_sink sink);

void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
