/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log: what happens to a repository, in the order in which it happens. Entry N is the object
 * log/N (16 decimal digits), JSON, sealed, put if absent: whoever puts N + 1 after having read N
 * was first. Now and then all that holds is written down as state/N and the entries up to N are
 * removed. There are no locks. model/ has the proof that it is safe, and its rules are followed
 * here step by step.
 *
 * An entry is a JSON object: "kind", "run" (16 digits), "at" (seconds since 1970, by the writer's
 * clock), and by its kind:
 *
 *     begin    command, host, boot, pid, start, reads
 *                  a run reads or writes packs from now on; again: a sign of life
 *     end          it no longer does, or is dead
 *     add      snapshot, packs
 *                  the run's snapshot exists, and its packs may be relied upon; ends the run
 *     remove   snapshots (the runs that made them)
 *                  those snapshots exist no more
 *     condemn  packs, named
 *                  nothing needs these packs; those that the run itself has put may be relied
 *                  upon; ends the run
 *     damage   packs
 *                  pieces that were found damaged: writers don't rely on them
 *     mended   packs
 *                  which was not so, or no longer is
 *     note     snapshot, notes
 *                  something to be remembered of a snapshot; null: no longer
 *
 * What comes too late does not count, which is seen in the view: an add or a condemn of a run that
 * is not at work, and an add of a DOMAIN@NAME that there is. An add counts once.
 *
 *     snapshot  of add: {"domain", "name", "created", "record" (its seal), "bytes", "stored_bytes",
 *               "disks", "ram"}
 *     packs     of add and condemn: [[NAME, bytes], …]; of damage and mended: {NAME: [offset,
 *               …], …}, an empty list being the whole pack
 */
#ifndef REPO_LOG_H
#define REPO_LOG_H

#include "repo/backend.h"
#include "repo/view.h"

#define LOG_ENTRY_MAX_BYTES (64u << 20) /* a condemn of 100,000 packs has 10 MiB */
#define LOG_STATE_MAX_BYTES (1u << 30)

/* So many entries are read one by one before whoever finds them folds them. */
#define LOG_LONG 64

struct log;

/* Read all of it. `b` is borrowed. A vital object of which only the copy was read is said as a
 * warning. */
int log_open(struct log **l, struct backend *b, struct error *e);
void log_close(struct log *l); /* NULL is fine */

/* What holds, as far as it has been read: valid until the next call that reads. */
const struct view *log_view(const struct log *l);

/* Read what has come since. */
int log_read(struct log *l, struct error *e);

/*
 * Put an entry after the last that was read, and read again. Whether it counts is seen in the view
 * alone: somebody else may have been first, and an answer may have been lost. `entry` gets "at" and
 * its seal.
 */
int log_put(struct log *l, json_t *entry, struct error *e);

/* The same, for an entry whose effect the view does not show. `*ours`: it was put; false: nobody
 * knows. */
int log_put_ours(struct log *l, json_t *entry, bool *ours, struct error *e);

/* The entries that were read one by one since the last state. */
uint64_t log_length(const struct log *l);

/* Write down all that holds, and remove the entries, and states, before it. */
int log_fold(struct log *l, const char *run, struct error *e);

/* ---- what is done with it ---- */

/* Each puts until it is seen in the view, or seen to be too late. */

/* Begin a run: `run` gets a new name. `command` and `reads` ("" for none) are for others to see. */
int log_begin(struct log *l, const char *command, const char *reads, char run[static RUN_ID],
              struct error *e);

/* CANCELLED, with a message, if somebody has ended it. */
int log_check_run(const struct log *l, const char *run, struct error *e);

/* Say that it is still alive, if the last sign is more than a day old. */
int log_sign(struct log *l, const char *run, struct error *e);

/* Fine if it has ended. */
int log_end(struct log *l, const char *run, struct error *e);

/* End the runs of this machine whose process is gone, and those that gave no sign for seven days.
 * `*ended` counts them. */
int log_reap(struct log *l, unsigned *ended, struct error *e);

/* Whether a condemn entry that was put counts: its run may have been ended by others, too. */
bool log_has_condemned(const struct log *l, const json_t *condemn);

/* Remove the snapshots that these runs have made: all at once. Fine if some are not there any more.
 */
int log_remove(struct log *l, char (*runs)[RUN_ID], size_t count, struct error *e);

#endif
