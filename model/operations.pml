/*
 * The store, and how the log is read and put.
 */

/* ---- one process alone ----------------------------------------------------------------------------------------- */

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

/* ---- reading and putting --------------------------------------------------------------------------------------- */

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
 * The walk in one step, and listing and taking in one.  Nothing is lost: a walk counts only if nothing past k was
 * removed before state/ was listed; then every get in it would have had the same answer when the last one was done.
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

/* Put an entry at the number after what is known.  With LATE it may take effect later, or now and again later. */
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

