/*
 * What all runs do; create, restore, delete.
 */

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
 * Nobody asks whether a put was refused, took effect or lost its answer: whether an entry counts is seen in what is
 * known after reading again.
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
