/*
 * One process alone, whatever the others have left; and one that comes later and clears it.
 */

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

