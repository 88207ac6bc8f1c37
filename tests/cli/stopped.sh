#!/bin/bash
# A process that is stopped (SIGSTOP) at any fault point (src/base/fault.h) that it passes keeps nobody waiting: others create, read,
# delete and collect in the same repository, and when it goes on it ends well. $1 is the program; domsnap-faults lies beside
# it. With "all", each point at the first 12 times that it is passed; else at the first.
[ "${2:-}" = all ] && most=12 || most=1
domsnap=$1
faults=${1%/*}/domsnap-faults
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
now=$work/now # the state of one try; $work/base is what each begins with
export DOMSNAP_REPO=$now/repo XDG_STATE_HOME=$now/state XDG_RUNTIME_DIR=$now/run XDG_CACHE_HOME=$now/cache
. "${0%/*}/common"

# ---- what is stopped ----

declare -A words=(
    [create]="create off01@new --config $now/off01.cfg"
    [create_folder]="create --config $now/off01.cfg --to $now/folder"
    [restore]="restore off01@first"
    [delete]="delete off01@first"
    [gc]=gc
    [check]="check --read-data"
    [repair]=repair
)
# These have the guest, a restore once it has found the snapshot: nobody else may have it then.
has_guest() { [[ $1 = create* || $1 = restore ]]; }

# Something must be there for it to do.
prepare() { # SCENARIO
    case $1 in
    gc) DOMSNAP_FAULT="object-published 4 kill" "$faults" create off01@killed --config "$now/off01.cfg" ;;
    repair)
        cp "$work/first.img" "$now/off01.img"
        harm flip "$(find "$now/repo/packs" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)"
        "$domsnap" check --read-data
        "$domsnap" create off01@healed --config "$now/off01.cfg"
        ;;
    esac > "$work/prepared" 2>&1
}

# ---- what others do meanwhile ----

in_time() { timeout 120 "$domsnap" "$@"; }

others_finish() { # SCENARIO PID
    in_time create off02@beside --config "$now/off02.cfg" || return
    in_time list || return
    in_time show off01@second || return
    in_time check --read-data || return
    in_time delete off02@first || return
    in_time gc || return
    cp "$now/off02.img" "$work/beside.img"
    dd if=/dev/urandom of="$now/off02.img" bs=4k count=9 conv=notrunc status=none
    in_time restore off02@beside || return
    cmp "$now/off02.img" "$work/beside.img" || return
    in_time stats || return
    ! in_time create off01@again --config "$now/off01.cfg" > "$work/again" 2>&1 || { [[ $1 != create* ]] && return; }
    has_guest "$1" && grep -q "(process $2) is at work on off01" "$work/again"
}

ends_well() { # SCENARIO STATUS
    [ "$2" = 0 ] || { cat "$work/output" && return 1; }
    "$domsnap" check --read-data && "$domsnap" restore off01@second && cmp "$now/off01.img" "$work/second.img" &&
        [ "$("$domsnap" recover)" = "nothing to recover" ]
}

# ---- the state that each try begins with ----

page() { dd if=/dev/urandom of="$1" bs=4k seek="$2" count="$3" conv=notrunc status=none; }

mkdir "$now"
for guest in off01 off02; do
    printf "name = '%s'\nmemory = 64\ndisk = [ '%s,raw,xvda,rw' ]\n" $guest "$now/$guest.img" > "$now/$guest.cfg"
    page "$now/$guest.img" 0 300
done
{
    "$domsnap" init && "$domsnap" create off01@first --config "$now/off01.cfg" && "$domsnap" create off02@first --config "$now/off02.cfg"
} > "$work/log" || exit
cp "$now/off01.img" "$work/first.img"
page "$now/off01.img" 100 40
"$domsnap" create off01@second --config "$now/off01.cfg" >> "$work/log" || exit
cp "$now/off01.img" "$work/second.img"
page "$now/off01.img" 50 5
# So that whoever writes folds the log.
for _ in {1..32}; do "$domsnap" check; done > "$work/log" 2>&1
mv "$now" "$work/base"

begin() { # SCENARIO
    rm -rf "$now"
    cp -a "$work/base" "$now"
    prepare "$1"
}

# ---- each try ----

has_stopped() { [[ $(cut -d ' ' -f 3 "/proc/$1/stat" 2> /dev/null) = [Tt] ]]; }
has_ended() { [[ $(cut -d ' ' -f 3 "/proc/$1/stat" 2> /dev/null) = [Z] ]] || ! kill -0 "$1" 2> /dev/null; }

tried=0
try() { # SCENARIO POINT N; false: the point was not passed so often
    local pid status=0 text
    begin "$1"
    # shellcheck disable=SC2086 # words
    DOMSNAP_FAULT="$2 $3 stop" "$faults" ${words[$1]} > "$work/output" 2>&1 &
    pid=$!
    until has_stopped $pid; do
        if has_ended $pid; then wait $pid; return 1; fi
        sleep 0.01
    done
    tried=$((tried + 1)) text="$1 is stopped at $2, $3"
    if ! others_finish "$1" $pid > "$work/others" 2>&1; then
        echo "not ok - $text: somebody waits, or fails: $(tail -n 3 "$work/others")"
        failed=1
        kill -KILL $pid
        wait $pid 2> /dev/null
        return 0
    fi
    kill -CONT $pid
    wait $pid || status=$?
    if ! ends_well "$1" $status > "$work/after" 2>&1; then
        echo "not ok - $text: it goes on, and then (exit $status): $(tail -n 3 "$work/after")"
        failed=1
    fi
}

for scenario in create create_folder restore delete gc check repair; do
    before=$failed began=$tried
    begin $scenario
    # shellcheck disable=SC2086 # words
    DOMSNAP_FAULT_COUNTS=$work/counts "$faults" ${words[$scenario]} > "$work/output" 2>&1
    while read -r point times; do
        n=1
        while [ $n -le $((times < most ? times : most)) ] && try $scenario "$point" $n; do n=$((n + 1)); done
    done < "$work/counts"
    [ $tried -gt $began ] || { echo "not ok - $scenario: no fault point was passed" && failed=1; }
    [ "$failed" != "$before" ] || echo "ok - $scenario, stopped at $((tried - began)) points: the others finish, and then it does"
done

# ---- all of a guest's are checked, and one of them is deleted meanwhile, and its name used again ----

begin check
DOMSNAP_FAULT="object-published 1 stop" "$faults" check off01 > "$work/output" 2> /dev/null &
pid=$!
until has_stopped $pid || has_ended $pid; do sleep 0.01; done
check "a snapshot is deleted while all of its guest's are checked" in_time delete off01@first
check "its name is used again" in_time create off01@first --config "$now/off01.cfg"
check "what it had is freed" in_time gc
kill -CONT $pid
wait $pid
check "the check goes on with the others, and tells what it read" test "$? $(cat "$work/output")" = "0 good     off01@second"
exit "$failed"
