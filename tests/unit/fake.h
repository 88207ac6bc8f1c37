/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fakes of the two driver tables. Every call is noted in a trace ("suspend_save commit:a resume
 * …"), any call can be made to fail, and the state that matters is kept: does the guest run, which
 * snapshots exist.
 */
#ifndef TESTS_FAKE_H
#define TESTS_FAKE_H

#include "engine/engine.h"

/* Of the one domain. */
#define FAKE_UUID "11111111-2222-3333-4444-555555555555"

struct fake {
    char trace[4096];
    const char *fail_at;             /* the call, as in the trace, that fails; NULL: none */
    unsigned fail_times;             /* so often, then works; 0: always */
    _Atomic enum domain_state state; /* of the one domain, "linux01"; DOMAIN_GONE: there is none */
    int suspendable;                 /* what can_suspend says */
    const char *renamed;             /* what xvda is by now; NULL: as its configuration has it */
    const char *odd_setting;         /* that xl.cfg(5) has no word for; NULL: it has none */
    int unwatched;                   /* is_looked_after says no */
    int live_breaks;                 /* suspend_save, of a live save, before the guest stops */
    int live;                        /* what can_save_live says */
    struct save_progress progress;   /* what suspend_save tells of, halfway; total 0: nothing */
    int others_suspend;              /* the guest, within a live save, which fails */
    int stops_late;                  /* the suspend fails, and it stops when that is waited for */
    int others_save;                 /* it, as saved_by_others tells */
    int others_resume;               /* it, after the last commit */
    unsigned others_disturb;         /* the snapshots, while they are copied: of so many runs */
    unsigned planned;                /* snapshots, in so many runs */
    int others_attach;               /* another disk to it, once it was suspended */
    int resume_breaks;               /* in the guardian, too */
    int commit_hangs; /* the last commit waits until somebody resumes the guest, or lifts what is
                         held */
    _Atomic unsigned held; /* volumes whose requests are held back: bit 0 is a.img's */
    int stopped, resumed,
        hanging; /* eventfds, written when that has come to be; resumed by lift too, if it runs */
    pid_t owner; /* the trace is of this process alone, not of a guardian */
    char snapshots[256]; /* " id/volume" for each that exists */
    char *dir;           /* temporary: volumes a.img, b.img; journal/, lock/, out/ */
    size_t ram_bytes;    /* of the save stream */
    struct engine engine;
};

extern struct fake *fake; /* the drivers have no other way to their state */
extern struct volume_driver fake_volumes;

/* A domain of two disks, running, in a new temporary folder. */
void fake_setup(void);
void fake_teardown(void);

/* A path in fake->dir; valid until the fourth call after. */
const char *fake_path(const char *name);

/* The guardian of a run that was killed holds the domain's lock until it has ended. */
void fake_wait_guardian(void);

/* Files (not folders) in a folder, the hidden ones too; 0 if there is no folder. */
size_t fake_file_count(const char *path);

#endif
