# shellcheck shell=bash
# For the jobs of bench: `. /lab/measure.sh`. A method is a function that takes a guest's name.
. /lab/lab.sh
RUNS=$(cat /lab/runs)
results=$OUT/results
failed=0

# pausepoll, which knows none of the methods, measures how long the guest did not run. What the method prints, each step with
# its time, is kept in $OUT.
measure() { # ROW GUEST METHOD RUN: adds "ROW down MS" and "ROW took MS" to the results
    local row=$1 name=$2 method=$3 log=$OUT/$1-$4.log begin poll
    rm -f /tmp/poll
    pausepoll "$(xl list -v "$name" | awk 'NR == 2 { print $7 }')" /tmp/poll &
    poll=$!
    until [ -s /tmp/poll ]; do sleep 0.05; done
    begin=$(date +%s%N)
    (PS4='+ $EPOCHREALTIME '; set -x; "$method" "$name") > "$log" 2>&1 || { echo "$row failed:"; cat "$log"; failed=1; }
    echo "$row took $((($(date +%s%N) - begin) / 1000000))" >> "$results"
    guest_wait "$name" 5 || failed=1
    kill $poll
    wait $poll || failed=1
    echo "$row down $(awk '/^total/ { print $2 }' /tmp/poll)" | tee -a "$results"
    cat /tmp/poll >> "$log"
    grep -E 'was paused' "$log"
    rm -rf /data/b /data/*.sav /data/*.img
}

begin_guest() { # NAME: made before; it counts when this returns
    guest_start "$1" || failed=1
    guest_wait "$1" 10 || failed=1
}

end_guest() { # NAME: away with it and its disks
    local volume
    check_contiguous "$(guest_console "$1")" || failed=1
    xl destroy "$1"
    for volume in /dev/xenvols*/"$1"-[1-9]; do
        until lvremove -q -y "$volume" > /dev/null 2>&1; do sleep 0.2; done
    done
}

create() { domsnap create "$1" --to /data/b; }
