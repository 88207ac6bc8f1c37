/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line: one file a command, and the only place that prints or exits. Results go to
 * stdout (text, or one JSON object with --json), all else to stderr. Exit status: 0 done, 1 failed
 * and undone, 2 wrong usage, 3 `domsnap recover` has work to do, 4 done,
 * but its result could not be printed.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <argp.h>
#include <jansson.h>

#include "engine/engine.h"

struct command {
    const char *name;
    const char *summary;               /* for `domsnap --help` */
    int (*run)(int argc, char **argv); /* argv[0] is "domsnap NAME"; returns the exit status */
    bool hypervisor;                   /* it may have to talk to one */
};

extern const struct command command_check, command_create, command_delete, command_doctor,
    command_gc, command_import, command_init, command_list, command_recover, command_repair,
    command_restore, command_selftest, command_show, command_stats;

/* The one of this name, or NULL. */
const struct command *cli_command(const char *name);

/* All that a program does; each has its own driver of domains (domsnap.c, domsnap_xen.c). Returns
 * the exit status. */
int cli_main(int argc, char **argv, const struct domain_driver *domains);

/* --json and --verbose, which every command has: a child of its argp. */
extern const struct argp_child common_options[];

/* The engine with the real drivers, of domains what cli_main() was given; one a process. */
struct engine *cli_engine(void);

/* The repository: what the option --repo said, or (NULL) $DOMSNAP_REPO, or the usual place. */
const char *cli_repo(const char *option);

/* Take "DOMAIN@NAME" apart, in place: the name is NULL if there is none. */
void cli_split_ref(char *arg, const char **domain, const char **name);

/* An option that commands have that work with a repository; 'r' is its key. */
#define CLI_REPO_OPTION                                                                            \
    {                                                                                              \
        "repo", 'r', "DIR", 0, "the repository (or $DOMSNAP_REPO; else /var/lib/domsnap/repo)", 0  \
    }

/* The options of a command that takes a repository and nothing else: which one. */
const char *cli_parse_repo(int argc, char **argv, const char *doc);

/* Around the work: show progress while stderr is a terminal. */
void cli_progress_start(struct engine *engine);
void cli_progress_stop(void);

/* The "schema" of each result in JSON: a higher one may have other members. */
#define CLI_SCHEMA 1

/* The end of every command. Print the result, as JSON (a reference is taken from the caller) or by
 * `print`, or the error; disconnect; return the exit status. `json` may be NULL after a failure. */
int cli_finish(int rc, const struct error *e, json_t *json, void (*print)(void *arg), void *arg);

/* Text as JSON, also if it is not UTF-8; the caller's reference. */
json_t *cli_text(const char *text);

/* What is damaged, or can't be read, as JSON: { "kind", "ref", "status", "message" }, `kind` being
 * "snapshot", "record" or "pack"; the caller's reference. Print it as a line. */
json_t *cli_fault(const char *kind, const char *ref, const struct error *why);
void cli_print_fault(const json_t *fault);

/* What became of space; `arg` is a struct gc_stats. */
json_t *cli_gc_to_json(const struct gc_stats *stats);
void cli_print_gc(void *arg);

/* "1.4 GiB". The text is valid until the fourth call after. */
const char *cli_size(uint64_t bytes);

/* Print what a snapshot holds. */
void cli_print_manifest(const struct manifest *m);

#endif
