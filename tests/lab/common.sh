# shellcheck shell=bash
# For the jobs of tests/lab: `. /lab/common.sh`.
. /lab/lab.sh

# The links of udev to a guest's volumes, which others go by.
links_are_there() { # NAME
    [ -L "/dev/xenvols/$1-1" ] && [ -L "/dev/xenvols/$1-2" ] && [ -L "/dev/mapper/xenvols-${1//-/--}--1" ]
}

check_fails() { # TEXT STATUS PATTERN COMMAND...: it must exit with STATUS and say PATTERN
    local text=$1 status=$2 pattern=$3 output got=0
    shift 3
    output=$("$@" 2>&1) || got=$?
    if [ "$got" = "$status" ] && grep -Eq -- "$pattern" <<< "$output"; then
        ok "$text"
    else
        fail "$text (exit $got, wanted $status and \"$pattern\")"
        sed 's/^/    /' <<< "$output"
    fi
}

# A run of domsnap-faults that is paused at a fault point (src/base/fault.h), $create, until let_go; what it says is in $OUT/create.
hold() { # "POINT N" COMMAND...
    local fault="$1 stop"
    shift
    DOMSNAP_FAULT=$fault "$@" > "$OUT/create" 2>&1 7>&- &
    create=$!
    until [[ $(cut -d ' ' -f 3 "/proc/$create/stat" 2> /dev/null) = [TZ] ]] || ! kill -0 $create 2> /dev/null; do sleep 0.05; done
}
let_go() { # sets status
    status=0
    kill -CONT $create
    wait $create || status=$?
    sed 's/^/    /' "$OUT/create"
}

# RAM held FIRST - 1 when it was taken, or FIRST if that was not printed yet. Disk one holds RAM's number or the one
# before, disk two disk one's or the one before, never more.
numbers_agree() { # FIRST DISK_ONE DISK_TWO
    echo "the guest went on with $1; disk one has $2, disk two has $3"
    [ "$2" -le "$1" ] && [ "$2" -ge $(($1 - 2)) ] && [ "$3" -le "$2" ] && [ "$3" -ge $(($2 - 1)) ]
}

wreck() { # VOLUME...: what an accident leaves
    local volume
    for volume; do
        dd if=/dev/urandom of="$volume" bs=1M count=16 conv=notrunc,fsync status=none
    done
}

# After the guest was brought back: it goes on from the snapshot's number, on disks that agree with it. FROM is the
# length of its console at some time before.
check_back() { # TEXT NAME FROM DISK_ONE DISK_TWO
    local line first
    check "$1: the guest counts" guest_wait "$2" 10
    read -r line first < <(guest_back "$2" $(($3 + 1)))
    check "$1: RAM and disks are of one instant" numbers_agree "${first:-0}" "$4" "$5"
    check "$1: the counter goes on without a jump" check_contiguous "$(guest_console "$2")" "${line:-1}"
}

# Where it is, when a guest that was restored does nothing.
evidence() { # NAME
    xl list
    for _ in 1 2 3; do xenctx -a "$(xl domid "$1")" 0 2>&1 | head -n 12; done
    xl dmesg | tail -n 5
    tail -n 20 "$(guest_console "$1")"
}

# COMMAND brings the guest back, and it goes on. A PVH guest that did not was seen once (lab/README.md, "What emulation gets
# wrong"): once in a job it is brought back a second time, by the same command.
second_tries=0
check_restored() { # TEXT NAME DISK_ONE DISK_TWO COMMAND...
    local text=$1 name=$2 one=$3 two=$4 from
    shift 4
    from=$(guest_lines "$name")
    check "$text" "$@"
    if ! guest_wait "$name" 10 && ((second_tries-- > 0)); then
        echo "# $text: the guest does not go on; once more"
        evidence "$name" | sed 's/^/    /'
        xl destroy "$name"
        from=$(guest_lines "$name")
        check "$text, once more" "$@"
    fi
    check_back "$text" "$name" "$from" "$one" "$two"
}

by_hand() { # NAME DIR: bring it back without domsnap
    dd if="$2/$1.xvda.img" of="/dev/xenvols/$1-1" bs=1M conv=fsync status=none &&
        dd if="$2/$1.xvdb.img" of="/dev/xenvols/$1-2" bs=1M conv=fsync status=none &&
        xl restore "$2/$1.sav"
}

# Create, restore, and both by hand, of a guest that writes all the while.
round_trip() { # TYPE
    local type=$1 name=$1-trip dir=/data/$1-trip from one two vdev
    guest_make "$type" "$name"
    [ "$type" != pvh ] || second_tries=1
    must "a $type guest starts" guest_start "$name"
    guest_wait "$name" 10
    state_save "$OUT/before"

    check "create" domsnap create -v "$name" --to "$dir"
    state_save "$OUT/after"
    check "create leaves nothing behind" diff "$OUT/before" "$OUT/after"
    check "the guest goes on" guest_wait "$name" 20
    check "its counter has not jumped" check_contiguous "$(guest_console "$name")"
    for vdev in xvda xvdb; do
        check "$vdev's image is sound" fsck_clean "$dir/$name.$vdev.img"
        check "$vdev's image is sparse" test "$(du -k "$dir/$name.$vdev.img" | cut -f1)" -lt 32768
    done
    one=$(disk_number "$dir/$name.xvda.img") two=$(disk_number "$dir/$name.xvdb.img")
    check "xl takes the configuration" xl create -n "$dir/$name.cfg"
    cat "$dir/manifest.json"

    check_fails "restore refuses while the guest runs" 1 'is running; --replace' domsnap restore --from "$dir"
    wreck "/dev/xenvols/$name-1" "/dev/xenvols/$name-2"
    check_restored "restore --replace" "$name" "$one" "$two" domsnap restore --from "$dir" --replace
    state_save "$OUT/restored"
    check "restore leaves nothing behind" diff "$OUT/before" "$OUT/restored"

    xl destroy "$name"
    wreck "/dev/xenvols/$name-1" "/dev/xenvols/$name-2"
    check_restored "xl restore and dd of domsnap's files" "$name" "$one" "$two" by_hand "$name" "$dir"

    # By domsnap, from files made by hand.
    mkdir /data/hand
    check "xl save -p" xl save -p "$name" "/data/hand/$name.sav"
    dd if="/dev/xenvols/$name-1" of="/data/hand/$name.xvda.img" bs=1M conv=sparse iflag=direct status=none
    dd if="/dev/xenvols/$name-2" of="/data/hand/other.img" bs=1M conv=sparse iflag=direct status=none
    xl unpause "$name"
    guest_wait "$name" 5
    one=$(disk_number "/data/hand/$name.xvda.img") two=$(disk_number /data/hand/other.img)
    check "import" domsnap import /data/hand --disk xvdb=other.img
    wreck "/dev/xenvols/$name-1"
    check_restored "restore of what was made by hand" "$name" "$one" "$two" domsnap restore --from /data/hand --replace

    # A guest that was restored does not announce again that it can suspend.
    from=$(guest_lines "$name")
    check "create, of a guest that was restored" domsnap create "$name" --to "$dir-2"
    check "it goes on" guest_wait "$name" 5
    check "its counter has not jumped" check_contiguous "$(guest_console "$name")" $((from + 1))
}

disks_agree() { # DISK_ONE DISK_TWO
    echo "disk one has $1, disk two has $2"
    [ "$2" -le "$1" ] && [ "$2" -ge $(($1 - 1)) ]
}

# Create, with RAM and of the disks only, and restore, of an HVM guest. It takes minutes to boot, and so it boots once.
hvm_trip() { # NAME
    local name=$1 dir=/data/$1 a=${GUEST_VDEV:-xvd}a b=${GUEST_VDEV:-xvd}b option text vdev one two
    guest_make hvm "$name" 128
    must "an HVM guest starts" guest_start "$name"
    guest_wait "$name" 10
    state_save "$OUT/before"

    for option in "" --disks-only; do
        text="create${option:+ $option}"
        check "$text" domsnap create -v "$name" --to "$dir$option" ${option:+"$option"}
        state_save "$OUT/after"
        check "$text: it leaves nothing behind" diff "$OUT/before" "$OUT/after"
        check "$text: the guest goes on" guest_wait "$name" 20
        check "$text: its counter has not jumped" check_contiguous "$(guest_console "$name")"
        for vdev in "$a" "$b"; do check "$text: $vdev's image is sound" fsck_clean "$dir$option/$name.$vdev.img"; done
        one=$(disk_number "$dir$option/$name.$a.img") two=$(disk_number "$dir$option/$name.$b.img")
        check "$text: the disks are of one instant" disks_agree "$one" "$two"
    done

    one=$(disk_number "$dir/$name.$a.img") two=$(disk_number "$dir/$name.$b.img")
    grep -A5 '"pause"' "$dir/manifest.json"
    wreck "/dev/xenvols/$name-1" "/dev/xenvols/$name-2"
    check_restored "restore --replace" "$name" "$one" "$two" domsnap restore --from "$dir" --replace
    state_save "$OUT/restored"
    check "restore leaves nothing behind" diff "$OUT/before" "$OUT/restored"
}
