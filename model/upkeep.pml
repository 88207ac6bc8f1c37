/*
 * Making room: collect, sweep, fold, and the end of a run that somebody else puts.
 */

/*
 * The places of one piece.  Not needed: condemn all.  Needed, and copied to a place of its own (with MOVE): condemn
 * all others.  Else leave all; or leave one of them (with THIN).
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
#ifndef MOVE_NO_OWN_CHECK
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
	d_step { blank(v) };
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

/* Ends any run at any time: if that is safe, so is ending one that gave no sign for seven days. */
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
