/*
 * A log in place of locks: the protocol of repository format 2, for spin.  README.md has the rules in words, what is
 * left out and why; ./check runs all scenarios and mutations.
 *
 *   log.pml         who takes part, what an entry does, what must hold
 *   operations.pml  the store; how the log is read and put
 *   runs.pml        create, restore, delete
 *   upkeep.pml      collect, sweep, fold, the end of a run by others
 *   alone.pml       one process alone, whatever the others have left
 *
 * The processes are the same everywhere; there are two stores under them:
 *   FINE   log/N and state/M are objects; one operation a step puts, walks, lists, folds, removes;
 *   else   reading, deciding and putting are one step.  Sound because the FINE model shows, with LEMMA, that they
 *          behave so; small enough for many processes.
 *
 * A process that dies is one that takes no further step.  Every assertion is checked in every state that can be
 * reached, so also where any of the processes never moves again: death and stalling need no code.
 * An answer that is lost needs none either: no process looks at the answer of a put.
 */

/* ---- the cast -------------------------------------------------------------------------------------------------- */

/* Runs: 0 is history; two creates, two collects, a restore. */
#define A          1
#define B          2
#define COLLECT1   3
#define COLLECT2   4
#define RESTORE    5
/* Processes that need no run. */
#define DELETE1    6
#define DELETE2    7
#define SWEEP1     8
#define SWEEP2     9
#define FOLD1      10
#define FOLD2      11
#define REAP1      12
#define REAP2      13

#define BIT(r)     (1 << (r))

/*
 * A pack holds one piece: X or Y.  Pack 0 holds X and belongs to snapshot 0, which exists at the start.  Run r may
 * put one pack for X and one for Y; names carry the run, so that nobody else ever puts that name.
 */
#define OWN_X(r)   (1 << (2 * (r) - 1))
#define OWN_Y(r)   (1 << (2 * (r)))
#define OWN(r)     (OWN_X(r) | OWN_Y(r))
#define ALL_X      (1 | OWN_X(A) | OWN_X(B) | OWN_X(COLLECT1) | OWN_X(COLLECT2))
#define ALL_Y      (OWN_Y(A) | OWN_Y(B) | OWN_Y(COLLECT1) | OWN_Y(COLLECT2))
#define OWN_OF(runs) \
	(((runs) >> A & 1) * OWN(A) | ((runs) >> B & 1) * OWN(B) | \
	 ((runs) >> COLLECT1 & 1) * OWN(COLLECT1) | ((runs) >> COLLECT2 & 1) * OWN(COLLECT2))

/* What a snapshot needs: 1 is X, 2 is Y, 3 both.  It names pieces, not places. */
#ifndef NEED_A
#define NEED_A     3
#endif
#ifndef NEED_B
#define NEED_B     3
#endif
#define NEED(s)    ((s) == 0 -> 1 : ((s) == A -> NEED_A : NEED_B))
#define NEEDED(snaps) (((snaps) & 1) | ((snaps) >> A & 1) * NEED_A | ((snaps) >> B & 1) * NEED_B)

#ifdef REMOVED
#define AT_FIRST   0            /* snapshot 0 has been removed, its pack not yet condemned */
#else
#define AT_FIRST   1
#endif

/* ---- the log --------------------------------------------------------------------------------------------------- */

#define BEGIN      1
#define END        2
#define KILL       3            /* the same entry as END, put by somebody else; only assertions tell them apart */
#define ADD        4            /* a snapshot, here numbered like its run, and the run's packs; ends the run */
#define REMOVE     5            /* a snapshot */
#define CONDEMN    6            /* packs; the run's own among them are not condemned but named; ends the run */

#define ENTRY(kind, run, packs) ((kind) | (run) << 3 | (packs) << 6)
#define KIND(e)    ((e) & 7)
#define RUN(e)     ((e) >> 3 & 7)
#define PACKS(e)   ((e) >> 6)

/* All that holds at a number of the log. */
typedef View {
	byte live;              /* runs that began and have not ended */
	byte snaps;             /* snapshots that exist */
	short named;            /* packs that may be relied upon */
	short cond[2];          /* packs that a collect condemned, ... */
	byte keep[2]            /* ... and the runs, live at that time, for which they are kept */
};
#define CONDEMNED(w) (w.cond[0] | w.cond[1])

View t;                         /* the truth: all entries that ever took a number first.  No process sees it. */
byte t_added;                   /* snapshots that were ever added */
byte t_killed;                  /* runs that were ended by others */
short store = 1;                /* the packs that are there */

/* Scratch, zero between steps. */
byte i;
short e, got;

inline blank(w)
{
	w.live = 0;
	w.snaps = 0;
	w.named = 0;
	w.cond[0] = 0;
	w.cond[1] = 0;
	w.keep[0] = 0;
	w.keep[1] = 0
}

inline copy(w, u)
{
	w.live = u.live;
	w.snaps = u.snaps;
	w.named = u.named;
	w.cond[0] = u.cond[0];
	w.cond[1] = u.cond[1];
	w.keep[0] = u.keep[0];
	w.keep[1] = u.keep[1]
}

#define same(w, u) \
	(w.live == u.live && w.snaps == u.snaps && w.named == u.named && w.cond[0] == u.cond[0] && \
	 w.cond[1] == u.cond[1] && w.keep[0] == u.keep[0] && w.keep[1] == u.keep[1])

/* What the entry e does.  When the last run has ended for which they are kept, condemned packs are forgotten. */
inline apply(w)
{
	if
	:: KIND(e) == BEGIN -> w.live = w.live | BIT(RUN(e))
	:: KIND(e) == END || KIND(e) == KILL -> w.live = w.live & ~BIT(RUN(e))
	:: KIND(e) == ADD ->
		w.live = w.live & ~BIT(RUN(e));
		w.snaps = w.snaps | BIT(RUN(e));
		w.named = w.named | PACKS(e)
	:: KIND(e) == REMOVE -> w.snaps = w.snaps & ~BIT(RUN(e))
	:: KIND(e) == CONDEMN ->
		w.live = w.live & ~BIT(RUN(e));
		w.named = (w.named | PACKS(e) & OWN(RUN(e))) & ~(PACKS(e) & ~OWN(RUN(e)));
		w.cond[RUN(e) - COLLECT1] = PACKS(e) & ~OWN(RUN(e));
		w.keep[RUN(e) - COLLECT1] = w.live
	fi;
	w.keep[0] = w.keep[0] & w.live;
	w.keep[1] = w.keep[1] & w.live;
	if :: w.keep[0] == 0 -> w.cond[0] = 0 :: else fi;
	if :: w.keep[1] == 0 -> w.cond[1] = 0 :: else fi
}

/* ---- what must hold -------------------------------------------------------------------------------------------- */

/* The packs that may be relied upon. */
#ifdef RELY_LISTED
#define AT_HAND(w) (store & ~CONDEMNED(w))
#else
#define AT_HAND(w) (w.named)
#endif

/* Whoever begins now can read every snapshot that exists, acknowledged or not. */
#define READABLE(s) \
	((!(NEED(s) & 1) || (store & AT_HAND(t) & ALL_X)) && (!(NEED(s) & 2) || (store & AT_HAND(t) & ALL_Y)))
#define INTACT \
	((!(t.snaps & 1) || READABLE(0)) && (!(t.snaps & BIT(A)) || READABLE(A)) && (!(t.snaps & BIT(B)) || READABLE(B)))

/* The entry e takes the number after the head.  An add counts once only, so that what was removed stays removed. */
inline becomes_true()
{
	if
	:: KIND(e) == ADD -> assert(!(t_added & BIT(RUN(e)))); t_added = t_added | BIT(RUN(e))
	:: KIND(e) == KILL && t.live & BIT(RUN(e)) -> t_killed = t_killed | BIT(RUN(e))
	:: KIND(e) == BEGIN -> t_killed = t_killed & ~BIT(RUN(e))
	:: else
	fi;
	apply(t);
	assert(INTACT)
}

#include "operations.pml"
#include "runs.pml"
#include "upkeep.pml"
#include "alone.pml"

/* ---- the start ------------------------------------------------------------------------------------------------- */

init {
	atomic {
		t.snaps = AT_FIRST;
		t.named = 1;
#ifdef LEMMA
		copy(hist[0], t);
#endif
#if CREATES > 0
		run create(A, NEED_A);
#endif
#if CREATES > 1
		run create(B, NEED_B);
#endif
#if RESTORES > 0
		run restore(RESTORE);
#endif
#if COLLECTS > 0
		run collect(COLLECT1);
#endif
#if COLLECTS > 1
		run collect(COLLECT2);
#endif
#if DELETES > 0
		run delete(DELETE1);
#endif
#if DELETES > 1
		run delete(DELETE2);
#endif
#if SWEEPS > 0
		run sweep(SWEEP1);
#endif
#if SWEEPS > 1
		run sweep(SWEEP2);
#endif
#if FOLDS > 0
		run fold(FOLD1);
#endif
#if FOLDS > 1
		run fold(FOLD2);
#endif
#if REAPS > 0
		run reap(REAP1);
#endif
#if REAPS > 1
		run reap(REAP2);
#endif
#ifdef LATE
		run net();
#endif
#ifdef HEIR
		run heir(COLLECT2);
#endif
#ifdef SOLO
		run freeze();
#endif
		skip
	}
}
