#!/bin/bash
# Every fault point (src/base/fault.h) that is passed on a machine without Xen: the run is killed there, or made to fail.
# After recover all must be as promised. $1 is the program; domsnap-faults lies beside it. With "all", each point at the first 12 times
# that it is passed; else at the first 3, in a third of the time.
domsnap=$1
[ "${2:-}" = all ] && most=12 || most=3
faults=${1%/*}/domsnap-faults
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
now=$work/now # the state of one try; $work/base is what each begins with
export DOMSNAP_REPO=$now/repo XDG_STATE_HOME=$now/state XDG_RUNTIME_DIR=$now/run XDG_CACHE_HOME=$now/cache
export TMPDIR=$work
. "${0%/*}/common"

# ---- the scenarios: what is run, and what must hold in addition afterwards ----

create_folder() { "$1" create --config "$now/off.cfg" --to "$now/folder"; }
create_folder_holds() { # all or nothing
    [ ! -e "$now/folder" ] || "$domsnap" check --from "$now/folder" && disks_are new
}

create() { "$1" create off01@new --config "$now/off.cfg"; }
create_holds() { disks_are new; }

delete() { "$1" delete off01@first; }
delete_holds() { disks_are new; }

# Either nothing was done yet, or all of it.
restore() { "$1" restore off01@first; }
restore_holds() { disks_are new || disks_are first; }

restore_new() { rm "$now/one.img" "$now/two.img" && "$1" restore off01@first; }
restore_new_holds() {
    [ ! -e "$now/one.img" ] || cmp "$now/one.img" "$work/first/one.img" || return
    [ ! -e "$now/two.img" ] || cmp "$now/two.img" "$work/first/two.img"
}

# Whoever asks is told, until it is finished.
restore_is_said() {
    begin
    DOMSNAP_FAULT="target-written 2 kill" "$faults" restore off01@first > "$work/output" 2>&1
    # Nobody finds it, and starts a guest from it.
    [ ! -e "$now/one.img" ] && [ ! -e "$now/two.img" ] &&
        "$domsnap" list | grep -q '^off01: a restore has begun and is not complete.*domsnap recover' &&
        "$domsnap" list --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["restoring"] == ["off01"]' &&
        "$domsnap" list --repo "$work/not-mounted" | grep -q '^off01: .*is not complete' &&
        "$domsnap" doctor | grep -q 'a restore of off01 is not complete' &&
        { "$domsnap" create off01@more --config "$now/off.cfg" 2>&1; [ $? = 3 ]; } &&
        { "$domsnap" delete off01@first 2>&1; [ $? = 1 ]; } && "$domsnap" show off01@first &&
        "$domsnap" recover && ! "$domsnap" list | grep -q 'not complete' && disks_are first
}

# What a restore is at work on is not deleted, before it has begun to write either.
restore_keeps_it() {
    local restore
    begin
    DOMSNAP_FAULT="file-written 1 stop" "$faults" restore off01@first > "$work/output" 2>&1 &
    restore=$!
    until [[ $(cut -d ' ' -f 3 /proc/$restore/stat) = [TZ] ]] || ! kill -0 $restore 2> /dev/null; do sleep 0.01; done
    "$domsnap" delete off01@second off01@first > "$work/said" 2>&1 && return 1
    kill -CONT $restore
    grep -q 'off01@first is being read by process' "$work/said" && "$domsnap" show off01@second && wait $restore && disks_are first &&
        "$domsnap" delete off01@first
}

# Another, onto files that are all to be made anew: what is done is not done over again.
restore_supersedes() {
    begin
    DOMSNAP_FAULT="target-written 2 kill" "$faults" restore off01@first
    rm "$now"/one.img* "$now"/two.img*
    "$domsnap" restore off01@second && [ "$("$domsnap" recover)" = "nothing to recover" ] && disks_are second
}

restore_folder() { "$1" restore --from "$now/kept"; }
restore_folder_holds() { disks_are new || disks_are first; }

# Without an index.
check_anew() { rm -rf "$now/cache" && "$1" check --read-data; }
check_anew_holds() { disks_are new; }

# What a create that was killed has left.
gc() {
    DOMSNAP_FAULT="object-published 4 kill" "$faults" create off01@killed --config "$now/off.cfg"
    "$1" gc
}
gc_holds() { disks_are new && ! "$domsnap" show off01@killed; }

# What the guest still has is stored anew, what is whole is taken out. It is as it was at first, and has all that was stored then.
repair() {
    cp "$work"/first/*.img "$now"
    harm flip "$(find "$now/repo/packs" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)"
    ! "$domsnap" check --read-data && "$domsnap" create off01@healed --config "$now/off.cfg"
    "$1" repair
}
repair_holds() { disks_are first; }

# A recover of a create that had begun to publish, and of a restore that had begun to write.
recover_create() {
    DOMSNAP_FAULT="folder-file-published 2 kill" "$faults" create --config "$now/off.cfg" --to "$now/folder"
    "$1" recover
}
recover_create_holds() { "$domsnap" check --from "$now/folder" && disks_are new; }

recover_restore() {
    DOMSNAP_FAULT="target-written 2 kill" "$faults" restore off01@first
    "$1" recover
}
recover_restore_holds() { disks_are first; }

# ---- what must hold after each ----

disks_are() { cmp "$now/one.img" "$work/$1/one.img" && cmp "$now/two.img" "$work/$1/two.img"; }

# The space of what failed is free again: with all snapshots gone, or without any to delete, nothing is there.
nothing_stays() {
    "$domsnap" list --json | python3 -c '
import json, sys
print(*[s["ref"] for s in json.load(sys.stdin)["snapshots"]])' > "$work/list" &&
        xargs -r "$domsnap" delete < "$work/list" && "$domsnap" gc &&
        [ -z "$(find "$now/repo/packs" "$now/repo/snapshots" "$now/repo/copy/snapshots" -type f)" ]
}

# What has failed without a word of recover has undone all, and what it was to make is not there.
what_failed_is_undone() { # SCENARIO STATUS "POINT ACTION"
    # Nor is anything published that the journal does not say is.
    if [ "$1 $3" = "create_folder file-written fail" ] && [ "$2" = 0 ]; then return 1; fi
    [ "$2" = 1 ] || return 0
    [ "$("$domsnap" recover)" = "nothing to recover" ] || return
    case $1 in
    create) ! "$domsnap" show off01@new ;;
    create_folder) [ ! -e "$now/folder" ] ;;
    restore) disks_are new ;;
    esac
}

as_promised() { # SCENARIO STATUS "POINT ACTION"
    what_failed_is_undone "$1" "$2" "$3" && "$domsnap" recover && [ "$("$domsnap" recover)" = "nothing to recover" ] &&
        [ -z "$(find "$now/state" -name '*.json')" ] &&
        "$1_holds" && "$domsnap" check --read-data && nothing_stays
}

begin() {
    rm -rf "$now"
    cp -a "$work/base" "$now"
}

tried=0 failed=0
try() { # SCENARIO POINT N ACTION; false: the point was not passed so often
    local status=0
    begin
    DOMSNAP_FAULT="$2 $3 $4" "$1" "$faults" > "$work/output" 2>&1 || status=$?
    [ $status = 137 ] || grep -q "fault point" "$work/output" || return
    tried=$((tried + 1))
    case $status in 0 | 1 | 3 | 137) ;; *) false ;; esac && as_promised "$1" $status "$2 $4" > "$work/after" 2>&1 && return
    failed=$((failed + 1))
    echo "not ok - $1, \"$2 $3 $4\": exit $status, and then:"
    tail -n 5 "$work/output" "$work/after" | sed 's/^/    /'
}

# ---- the state that each try begins with ----

mkdir "$now"
cat > "$now/off.cfg" << END
name = "off01"
memory = 64
disk = [ '$now/one.img,raw,xvda,rw', '$now/two.img,raw,xvdb,rw' ]
END
dd if=/dev/urandom of="$now/one.img" bs=64k count=40 status=none
dd if=/dev/urandom of="$now/two.img" bs=4k count=33 status=none
"$domsnap" init > "$work/log" && "$domsnap" create off01@first --config "$now/off.cfg" >> "$work/log" &&
    "$domsnap" create --config "$now/off.cfg" --to "$now/kept" >> "$work/log" || exit
mkdir "$work/first" "$work/second" "$work/new"
cp "$now"/*.img "$work/first"
dd if=/dev/urandom of="$now/one.img" bs=4k count=70 seek=100 conv=notrunc status=none
dd if=/dev/urandom of="$now/two.img" bs=4k count=1 seek=3 conv=notrunc status=none
"$domsnap" create off01@second --config "$now/off.cfg" >> "$work/log" || exit
cp "$now"/*.img "$work/second"
dd if=/dev/urandom of="$now/one.img" bs=4k count=3 seek=300 conv=notrunc status=none
cp "$now"/*.img "$work/new"
# So that whoever writes folds the log.
for _ in {1..32}; do "$domsnap" check; done > "$work/log" 2>&1
mv "$now" "$work/base"

# How often each point is passed where nothing goes wrong: "NAME TIMES".
passes() { # SCENARIO
    begin
    DOMSNAP_FAULT_COUNTS=$work/counts "$1" "$faults" > "$work/output" 2>&1
    cat "$work/counts"
}

for scenario in create_folder create delete restore restore_new restore_folder check_anew gc repair recover_create recover_restore; do
    before=$failed began=$tried
    while read -r point times; do
        for action in kill fail; do
            n=1
            while [ $n -le $((times < most ? times : most)) ] && try $scenario "$point" $n $action; do n=$((n + 1)); done
        done
    done <<< "$(passes $scenario)"
    [ $tried -gt $began ] || { echo "not ok - $scenario: no fault point was passed" && failed=$((failed + 1)); }
    [ $failed != "$before" ] || echo "ok - $scenario: $((tried - began)) faults, all is as promised after each"
done
holds() { # TEXT COMMAND
    if "$2" > "$work/after" 2>&1; then
        echo "ok - $1"
    else
        failed=$((failed + 1))
        echo "not ok - $1"
        sed 's/^/    /' "$work/after"
    fi
}
holds "a restore that was cut short is said: list, doctor, and a create that refuses" restore_is_said
holds "a restore after one that was cut short takes its place" restore_supersedes
holds "what is being restored is not deleted" restore_keeps_it
[ $failed = 0 ]
