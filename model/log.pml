/*
 * A log in place of locks: the protocol of repository format 2, for spin.  The rules in words, what is left out and why:
 * README.md.  All scenarios and mutations: ./check.
 *
 * The processes are the same everywhere; there are two stores under them:
 *   FINE   log/N and state/M are objects; entries are put, walked over, folded, removed and listed one operation a step;
 *   else   the log is one thing that is read at once, and added to if nothing has come since.  Sound because the FINE
 *          model shows that log_read() and log_put() behave so; small enough for many processes.
 *
 * A process that dies is one that takes no further step.  Every assertion is checked in every state that can be
 * reached, so also where any of the processes never moves again: death and stalling need no code.
 * An answer that is lost needs none either: no process looks at the answer of a put (see log_put).
 */

/* ---- the cast ----------------------------------------------------------------------------------------------------- */

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
 * A pack holds one piece: X or Y.  Pack 0 holds X and belongs to snapshot 0, which exists at the start.  Run r may put
 * one pack for X and one for Y; names carry the run, so that nobody else ever puts that name.
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

/* ---- the log ------------------------------------------------------------------------------------------------------ */

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

/* ---- what must hold ----------------------------------------------------------------------------------------------- */

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

/* ---- one process alone -------------------------------------------------------------------------------------------- */

/*
 * With SOLO, at any moment all processes but one are frozen for ever (see freeze); that one must finish after at most
 * SOLO operations.  With HEIR, it is one that comes then, and it must be able to clear all that the others have left.
 */
#ifdef SOLO
byte solo, fuel;
short over;
#define ALONE       provided (solo == 0 || solo == _pid)
inline op() { if :: solo -> fuel++; assert(fuel <= SOLO) :: else fi }
inline finished() { over = over | BIT(_pid) }
#else
#define ALONE
inline op() { skip }
inline finished() { skip }
#endif

/* ---- reading and putting ------------------------------------------------------------------------------------------ */

#ifdef FINE

#ifndef LEN
#define LEN        10           /* numbers in the log; that none needs more is asserted */
#endif
short log[LEN + 2];             /* log/N: 0 if it is not there */
short states;                   /* bit M: state/M is there, ... */
View state[LEN + 1];            /* ... and this is what it holds */
byte head;                      /* the last number that was ever taken; no process sees it */
#ifdef LEMMA
View hist[LEN + 1];             /* the truth at every number */
#endif
#ifdef LATE
byte late, late_n;              /* how many puts were late so far; one that is under way, ... */
short late_e;                   /* ... though its sender no longer waits for it */
#endif

/* What a process knows: v is what holds at k.  While it reads, m is how far it has walked. */
#define KNOWLEDGE  View v; byte k; byte m; byte since; bit believed, voided

inline know_nothing() { d_step { blank(v); v.snaps = AT_FIRST; v.named = 1; k = 0 } }
inline forget() { d_step { blank(v); k = 0; m = 0; since = 0; believed = 0; voided = 0 } }

inline walk_one() { d_step { m++; e = log[m]; apply(v); e = 0 } }

inline highest_state()
{
	d_step { i = LEN; do :: i > 0 && !(states >> i & 1) -> i-- :: else -> break od }
}

/*
 * Walk on from what is known.  Where no entry is, list state/.  If there is no state past k, then nothing of what was
 * walked over had been removed, so that nothing can have been put in its place.  Else take that state, and walk on.
 */
#if defined(NO_READ_CHECK)
inline read_steps()
{
	atomic {
		op();
		highest_state();
		if
		:: i > k -> d_step { copy(v, state[i]); k = i; i = 0 }
		:: else -> i = 0
		fi
	};
	m = k;
	do
	:: atomic { log[m + 1] -> op(); walk_one() }
	:: atomic { !log[m + 1] -> op(); k = m; m = 0; break }
	od
}
#elif defined(SLOW)
inline read_steps()
{
	m = k;
	do
	:: atomic { log[m + 1] -> op(); walk_one() }
	:: atomic { !log[m + 1] -> op() };
		atomic {
			op();
			highest_state();
			if
			:: i <= k -> k = m; m = 0; i = 0; break
			:: else -> m = i; i = 0
			fi
		};
		atomic {
			op();
			if
			:: states >> m & 1 -> d_step { copy(v, state[m]); k = m }
			:: else -> know_nothing(); m = 0        /* removed, so there is a newer one */
			fi
		}
	od
}
#else
/*
 * The walk in one step, and listing and taking in one.  Nothing is lost: a walk counts only if nothing past k was removed
 * before state/ was listed; then every get in it would have had the same answer when the last one was done.
 */
inline read_steps()
{
	m = k;
	do
	:: atomic {
			op();
			d_step { do :: log[m + 1] -> walk_one() :: else -> break od }
		};
		atomic {
			op();
			highest_state();
			if
			:: i <= k -> k = m; m = 0; i = 0; break
			:: else -> d_step { copy(v, state[i]); k = i; m = i; i = 0 };
#ifdef VOID_FOLDED
				voided = 1;
#endif
				skip
			fi
		}
	od
}
#endif

inline log_read()
{
#ifdef NO_STATE_CHECK
	if
	:: atomic { believed -> believed = 0 }
	:: else -> read_steps()
	fi
#elif defined(LEMMA)
	since = head;
	read_steps();
	/* What was read is what was true at some moment while it was read. */
	atomic { assert(since <= k && k <= head && same(v, hist[k])); since = 0 }
#else
	read_steps()
#endif
}

/* The first reading, with nothing known. */
inline log_first()
{
	know_nothing();
	log_read()
}

/* Put if absent.  If its number has been given, folded and removed, the entry is there but does not count. */
inline put(n)
{
	if
	:: log[n] == 0 ->
		assert(n <= LEN);
		log[n] = e;
#ifdef NO_STATE_CHECK
		apply(v);
		k = n;
		believed = 1;
#endif
		if
		:: n > head ->
			head = n;
			becomes_true();
#ifdef LEMMA
			copy(hist[n], t)
#endif
		:: else
		fi
	:: else
	fi
}

/* Put an entry at the number after what is known.  With LATE it may take effect only later, or now and later again. */
inline log_put(what)
{
	atomic {
		op();
		e = what;
#ifdef VOID_FOLDED
		voided = 0;
#endif
#ifdef LATE
		if
		:: true
		:: late < LATE && late_n == 0 -> late++; late_n = k + 1; late_e = e
		fi;
		if
		:: true -> put(k + 1)
		:: late_n == k + 1 && late_e == e
		fi;
#else
		d_step { put(k + 1) };
#endif
		e = 0
	}
}

#ifdef LATE
proctype net()
{
end:	do
	:: atomic { late_n -> e = late_e; put(late_n); e = 0; late_n = 0; late_e = 0 }
	od
}
#endif

#else

/* What a process knows is the truth at the moment when it looks, and what it puts in the same step counts. */
#define v          t
#define KNOWLEDGE  bit unused
inline forget() { skip }
inline log_first() { op() }
inline log_read() { skip }
inline log_put(what) { d_step { op(); e = what; becomes_true(); e = 0 } }

#endif

/* ---- what all runs do --------------------------------------------------------------------------------------------- */

#ifdef NO_BEGIN
#define I_LIVE      1
#else
#define I_LIVE      (v.live & BIT(me))
#endif
#define I_WAS_ENDED (t_killed & BIT(me))

/* Condemned packs that are kept for this run, which are those condemned after it began. */
#ifdef ANY_CONDEMNED
#define FOR_ME      CONDEMNED(v)
#else
#define FOR_ME      ((v.keep[0] >> me & 1) * v.cond[0] | (v.keep[1] >> me & 1) * v.cond[1])
#endif

/*
 * Nobody asks whether a put was refused, took effect or lost its answer: whether an entry counts is seen in what is known
 * after reading again.
 */
inline run_begin()
{
	log_first();
#ifndef NO_BEGIN
	do
	:: log_put(ENTRY(BEGIN, me, 0));
		log_read();
		if
		:: I_LIVE -> break
		:: else
		fi
	od
#endif
}

inline run_end()
{
#ifdef NO_BEGIN
	skip
#else
	do
	:: log_put(ENTRY(END, me, 0));
		log_read();
		if
		:: !I_LIVE -> break
		:: else
		fi
	od
#endif
}

/* Any one of some packs. */
inline choose(set)
{
	i = 0;
	do
	:: (set) >> i & 1 -> got = 1 << i; i = 0; break
	:: (set) >> (i + 1) -> i++
	od
}

/* A pack is read.  It must be there as long as nobody else has ended this run. */
inline pack_get(set)
{
	atomic {
		op();
		if
		:: (set) == 0 -> assert(I_WAS_ENDED); goto failed
		:: else ->
			choose(set);
			if
			:: store & got -> got = 0
			:: else -> got = 0; assert(I_WAS_ENDED); goto failed
			fi
		fi
	}
}

inline pack_put(pack)
{
	atomic { op(); store = store | (pack) }
}

/* ---- the processes ------------------------------------------------------------------------------------------------ */

#ifdef REUSE_NAMES
#define NEW_X(r)   1            /* named by what it holds, like pack 0 */
#else
#define NEW_X(r)   OWN_X(r)
#endif

proctype create(byte me; byte need) ALONE
{
	KNOWLEDGE;
	short own, from;

	run_begin();
	/* What is not at hand is stored; the rest is relied on, and its data is not kept. */
	from = need & ((!(AT_HAND(v) & ALL_X)) | (!(AT_HAND(v) & ALL_Y)) << 1);
	if
	:: from & 1 -> pack_put(NEW_X(me)); own = own | NEW_X(me)
	:: else
	fi;
	if
	:: from & 2 -> pack_put(OWN_Y(me)); own = own | OWN_Y(me)
	:: else
	fi;
again:
	atomic {
		from = 0;
#ifndef NO_OWN_CHECK
		if
		:: !I_LIVE -> goto failed
		:: else
		fi;
#endif
		/* What was relied on and has been condemned since is stored again, from there. */
		if
		:: need & 1 && !((AT_HAND(v) | own) & ALL_X) -> from = FOR_ME & ALL_X; goto again_x
		:: else
		fi;
		if
		:: need & 2 && !((AT_HAND(v) | own) & ALL_Y) -> from = FOR_ME & ALL_Y; goto again_y
		:: else
		fi;
#ifdef NO_RECHECK
	};
	atomic {
#endif
		log_put(ENTRY(ADD, me, own))
	};
	log_read();
	atomic {
#ifdef VOID_FOLDED
		if
		:: voided -> goto again
		:: else
		fi;
#endif
		if
#ifdef TRUST_REFUSAL
		:: true -> goto again
#endif
		:: v.snaps & BIT(me) -> assert(t_added & BIT(me)); goto done    /* acknowledged */
		:: !(v.snaps & BIT(me)) && I_LIVE -> goto again
		:: else -> goto failed
		fi
	};
again_x:
	pack_get(from);
	pack_put(NEW_X(me));
	own = own | NEW_X(me);
	goto again;
again_y:
	pack_get(from);
	pack_put(OWN_Y(me));
	own = own | OWN_Y(me);
	goto again;
failed:
	/* It fails only if its run was ended by others, or its snapshot was added and has been removed. */
	assert(I_WAS_ENDED || t_added & BIT(me) && !(t.snaps & BIT(me)));
done:
	atomic { own = 0; from = 0; forget(); t_killed = t_killed & ~BIT(me); finished() }
}

/* Any one snapshot, and all places of its pieces. */
inline choose_snapshot()
{
	atomic {
		if
		:: v.snaps & 1 -> x = 1
		:: v.snaps & BIT(A) -> x = NEED_A
		:: v.snaps & BIT(B) -> x = NEED_B
		:: v.snaps == 0
		fi;
		y = (x & 2 -> AT_HAND(v) & ALL_Y : 0);
		x = (x & 1 -> AT_HAND(v) & ALL_X : 0)
	}
}

proctype restore(byte me) ALONE
{
	KNOWLEDGE;
	short x, y;

#ifdef LATE_BEGIN
	log_first();
	choose_snapshot();
	run_begin();
#else
	run_begin();
	choose_snapshot();
#endif
	if
	:: x -> pack_get(x)
	:: else
	fi;
	x = 0;
	if
	:: y -> pack_get(y)
	:: else
	fi;
	y = 0;
	/* It has read all that it wanted, and says so. */
	run_end();
failed:
	atomic { x = 0; y = 0; forget(); t_killed = t_killed & ~BIT(me); finished() }
}

/* Removes any one snapshot. */
proctype delete(byte me) ALONE
{
	KNOWLEDGE;
	byte s;

	log_first();
	atomic {
		if
		:: v.snaps & 1 -> s = 0
		:: v.snaps & BIT(A) -> s = A
		:: v.snaps & BIT(B) -> s = B
		:: v.snaps == 0 -> goto done
		fi;
		log_put(ENTRY(REMOVE, s, 0))
	};
	log_read();
	do
	:: atomic { v.snaps & BIT(s) -> log_put(ENTRY(REMOVE, s, 0)) };
		log_read()
	:: else -> break
	od;
	assert(!(t.snaps & BIT(s)));
done:
	atomic { s = 0; forget(); finished() }
}

/*
 * The places of one piece.  Not needed: condemn all.  Needed, and copied to a place of its own (with MOVE): condemn all
 * others.  Else leave all; or leave one of them (with THIN).
 */
inline weigh(piece, all)
{
	if
	:: !(NEEDED(v.snaps) & piece) -> doomed = doomed | v.named & all
	:: NEEDED(v.snaps) & piece && own & all -> doomed = doomed | v.named & all | own & all
	:: NEEDED(v.snaps) & piece && !(own & all)
#ifdef THIN
	:: NEEDED(v.snaps) & piece && !(own & all) && v.named & all ->
		choose(v.named & all);
		doomed = doomed | v.named & all & ~got;
		got = 0
#endif
	fi
}

inline condemn()
{
	do
	:: atomic {
			doomed = 0;
#ifndef NO_OWN_CHECK
			if
			:: !I_LIVE -> goto failed
			:: else
			fi;
#endif
			weigh(1, ALL_X);
			weigh(2, ALL_Y);
#ifdef CONDEMN_BLIND
		};
		atomic {
#endif
			log_put(ENTRY(END + (CONDEMN - END) * (doomed != 0), me, doomed))
		};
		log_read();
		if
		:: !(v.live & BIT(me)) -> break
		:: else
		fi
	od
}

proctype collect(byte me) ALONE
{
	KNOWLEDGE;
	short own, doomed;

	run_begin();
#ifdef WAIT
	log_read();
	v.live == BIT(me);
#endif
#ifdef MOVE
	if
	:: atomic { NEEDED(v.snaps) & 1 -> doomed = v.named & ALL_X };
		pack_get(doomed);
		pack_put(OWN_X(me));
		own = OWN_X(me)
	:: true
	fi;
#endif
	condemn();
failed:
	atomic { own = 0; doomed = 0; forget(); t_killed = t_killed & ~BIT(me); finished() }
}

/* What a sweep leaves alone: what is named, what is kept for runs that may read it, what live runs have put. */
#ifdef DROP_EARLY
#define KEPT       0
#else
#define KEPT       CONDEMNED(v)
#endif
#ifdef DROP_UNNAMED
#define KEPT_OWN   0
#else
#define KEPT_OWN   OWN_OF(v.live)
#endif

inline sweep_packs()
{
#ifdef LIST_LATE
	log_first();
	atomic { doomed = v.named | KEPT | KEPT_OWN };
	atomic { op(); doomed = store & ~doomed };
#else
	atomic { op(); doomed = store };
	log_first();
	doomed = doomed & ~(v.named | KEPT | KEPT_OWN);
#endif
	do
	:: atomic {
			doomed ->
			op();
			choose(doomed);
			doomed = doomed & ~got;
			store = store & ~got;
			got = 0;
			assert(INTACT)
		}
	:: doomed == 0 -> break
	od
}

proctype sweep(byte me) ALONE
{
	KNOWLEDGE;
	short doomed;

	sweep_packs();
	atomic { forget(); finished() }
}

#ifdef FINE
inline put_state()
{
	atomic {
		op();
		d_step {
			if
			:: !(states >> k & 1) ->
				states = states | 1 << k;
#ifdef FOLD_NO_RUNS
				v.live = 0;
#endif
#ifdef FOLD_NO_CONDEMNED
				v.cond[0] = 0;
				v.cond[1] = 0;
				v.keep[0] = 0;
				v.keep[1] = 0;
#endif
				copy(state[k], v)
			:: else
			fi
		}
	}
}

inline remove_entries()
{
	do
	:: atomic {
			d_step { i = 1; do :: i <= k && log[i] == 0 -> i++ :: else -> break od };
			if
			:: i <= k -> op(); log[i] = 0; i = 0
			:: else -> i = 0; break
			fi
		}
	od
}

#ifdef FOLD_OTHERS
#define OUTDATED(n) ((n) != k)
#else
#define OUTDATED(n) ((n) < k)
#endif

inline remove_states()
{
	do
	:: atomic {
			d_step { i = 0; do :: i <= LEN && !(states >> i & 1 && OUTDATED(i)) -> i++ :: else -> break od };
			if
			:: i <= LEN -> op(); d_step { states = states & ~(1 << i); blank(state[i]); i = 0 }
			:: else -> i = 0; break
			fi
		}
	od
}

inline fold_log()
{
	log_first();
#ifdef FOLD_EARLY
	remove_entries();
	put_state();
#else
	put_state();
	blank(v);
	remove_entries();
#endif
	remove_states()
}

proctype fold(byte me) ALONE
{
	KNOWLEDGE;

	fold_log();
	atomic { forget(); finished() }
}
#endif

/* Ends the run of another, any run, at any time: if that is safe, so is ending one that gave no sign for seven days. */
proctype reap(byte me) ALONE
{
	KNOWLEDGE;
	byte r;

	log_first();
	atomic {
		if
		:: v.live & BIT(A) -> r = A
		:: v.live & BIT(B) -> r = B
		:: v.live & BIT(COLLECT1) -> r = COLLECT1
		:: v.live & BIT(COLLECT2) -> r = COLLECT2
		:: v.live & BIT(RESTORE) -> r = RESTORE
		:: v.live == 0 -> goto done
		fi;
		log_put(ENTRY(KILL, r, 0))
	};
done:
	atomic { r = 0; forget(); finished() }
}

#ifdef SOLO
/* One of the processes that were started before this one goes on alone: the heir, if there is one, or any. */
proctype freeze()
{
#ifndef HEIR
	atomic {
		i = 1;
		do
		:: solo = i; break
		:: i < _pid - 1 -> i++
		od;
		i = 0
	};
#endif
	timeout -> assert(over >> solo & 1)
}
#endif

#ifdef HEIR
/* Ends all runs, condemns, sweeps and folds: then nothing is left but what is needed. */
proctype heir(byte me) ALONE
{
	KNOWLEDGE;
	short own, doomed;
	byte r;

	solo = _pid;
	log_first();
	do
	:: atomic {
			v.live ->
			d_step { r = 0; do :: !(v.live >> r & 1) -> r++ :: else -> break od };
			log_put(ENTRY(KILL, r, 0))
		};
		log_read()
	:: else -> break
	od;
	run_begin();
	condemn();
	sweep_packs();
#ifdef FINE
	fold_log();
	assert(states == 1 << k && k == head);
	i = 1;
	do
	:: i <= LEN -> assert(log[i] == 0); i++
	:: else -> break
	od;
#endif
	assert(store == t.named && !(store & ALL_X) == !(NEEDED(t.snaps) & 1) && !(store & ALL_Y) == !(NEEDED(t.snaps) & 2));
failed:
	atomic { assert(t.live == 0); finished() }
}
#endif

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
