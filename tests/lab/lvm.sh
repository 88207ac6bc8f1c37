# shellcheck shell=bash
# For the jobs that have a command of LVM's come in between a create: `. /lab/lvm.sh`.
. /lab/common.sh

# Where domsnap is held, and what it is at then (src/base/fault.h).
phases=("dm-device-created 1:prepare" "save-begun 1:save" "monitor-held 1:lock" "dm-device-suspended 1:hold"
    "dm-device-resumed 1:commit" "guest-resumed 1:copy" "dm-device-removed 1:discard")
commands=(lvextend lvrename vgrename refresh pvmove)

vg=xenvols lv=moved-1
change() { # COMMAND: to the guest's first volume, or its group
    local on
    case $1 in
    lvextend) lvextend -q -y -L +4m "$vg/$lv" ;;
    lvrename) lvrename -q "$vg/$lv" "$vg/other-1" ;;
    vgrename) vgrename -q "$vg" othervg ;;
    refresh) lvchange --refresh "$vg/$lv" ;;
    pvmove)
        on=$(lvs --noheadings -o devices "$vg/$lv")
        if [[ $on = *$first_pv* ]]; then pvmove -q -i 1 -n "$lv" "$first_pv" "$second_pv"; else pvmove -q -i 1 -n "$lv" "$second_pv" "$first_pv"; fi
        ;;
    esac
}
change_back() { # COMMAND
    case $1 in
    lvrename) lvrename -q "$vg/other-1" "$vg/$lv" ;;
    vgrename) vgrename -q othervg "$vg" ;;
    esac
}

lvm_begin() {
    local disk=/dev/disk/by-id/virtio
    vgremove -q -y xenvols2 > /dev/null
    must "a second disk in the volume group" vgextend -q -y xenvols "$disk-xenvols2"
    first_pv=$(readlink -f "$disk-xenvols") second_pv=$(readlink -f "$disk-xenvols2")
    GUEST_OPTIONS=pace_ms=20 guest_make pvh moved 128 32
    must "a guest starts" guest_start moved
    printf '%-10s %-10s %-10s %s\n' command phase backup "what it said" > "$OUT/table"
    good=0 refused=0
}

# What comes of it is in OUT/table.
lvm_round() { # COMMAND PHASE: "POINT N:NAME"
    local command=$1 phase=$2 what dir from changing changed said one two i
    what="$command, in ${phase#*:}" dir=/data/$command-${phase#*:}
    from=$(guest_lines moved)
    hold "${phase%:*}" domsnap-faults create moved --to "$dir" --deadline 60
    change "$command" > "$OUT/changed" 2>&1 &
    changing=$!
    # It has to wait where domsnap has LVM's lock.
    for ((i = 0; i < 20; i++)); do kill -0 $changing 2> /dev/null && sleep 0.1; done
    let_go
    changed=0
    wait $changing || changed=$?
    [ $changed = 0 ] || sed 's/^/    /' "$OUT/changed"
    check "$what: the command of LVM's succeeds" test $changed = 0
    said=$(grep -m 1 '^domsnap: create' "$OUT/create" | cut -c 1-70)
    if [ "$status" = 0 ]; then
        good=$((good + 1))
        check "$what: check" domsnap check --from "$dir"
        check "$what: its first disk is sound" fsck_clean "$dir/moved.xvda.img"
        one=$(disk_number "$dir/moved.xvda.img") two=$(disk_number "$dir/moved.xvdb.img")
        check "$what: one instant ($one, $two)" test "$two" -le "$one" -a "$two" -ge $((one - 1))
    else
        refused=$((refused + 1))
        check "$what: it is refused, and undone" test "$status" = 1
        [[ $command != *rename ]] || fail "$what: a rename makes no backup bad"
    fi
    printf '%-10s %-10s %-10s %s\n' "$command" "${phase#*:}" "$( ((status == 0)) && echo good || echo refused)" "$said" >> "$OUT/table"
    change_back "$command"
    check "$what: nothing is left behind" \
        bash -c '! { dmsetup ls | grep domsnap; lvs --noheadings -o lv_name | grep domsnap; ls -A /var/lib/domsnap/journal; dmsetup info -c --noheadings -o suspended | grep Suspended; }'
    check "$what: the guest goes on" guest_wait moved 3
    check "$what: its counter has not jumped" check_contiguous "$(guest_console moved)" $((from + 1))
    # The volume's own table is in it, and leads nowhere else.
    check "$what: the volume is plainly itself" bash -c '! dmsetup table xenvols-moved--1 | grep -v " linear "'
    rm -rf "$dir"
}

lvm_end() {
    cat "$OUT/table"
    echo "$good good, $refused refused"
    xl shutdown -w moved > /dev/null
    check "the guest's disk is sound" fsck_clean /dev/xenvols/moved-1
    summary
}
