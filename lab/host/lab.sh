# shellcheck shell=bash
# For jobs: `. /lab/lab.sh`. Guests that count, what is on their disks, what was left behind, and
# the lines of a test. Functions return non-zero where they did not succeed; none of them exits.

GUEST_DEADLINE=${GUEST_DEADLINE:-120} # seconds; minutes of work under emulation are rare

# --- Results ---------------------------------------------------------------------------------

results_passed=0
results_failed=0

ok() {
    echo "ok - $*"
    results_passed=$((results_passed + 1))
}

fail() {
    echo "not ok - $*"
    results_failed=$((results_failed + 1))
}

check() { # TEXT COMMAND...: the command must succeed; the end of what it prints is shown when it does not
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        ok "$text"
    else
        fail "$text"
        printf '%s\n' "$output" | tail -n 20 | sed 's/^/    /'
    fi
}

must() { # TEXT COMMAND...: the same, and nothing that follows makes sense without it
    local before=$results_failed
    check "$@"
    if ((results_failed > before)); then
        summary
        exit 1
    fi
}

skip() { # TEXT: ends the job
    echo "skipped - $*"
    exit 77
}

summary() { # the last line of a job: makes its exit status
    echo "$results_passed passed, $results_failed failed"
    [[ $results_failed == 0 && $results_passed -gt 0 ]]
}

# --- The host --------------------------------------------------------------------------------
#
# When it is booted in full (lab/run --full), a job can have it boot again. It is started again then,
# with the number of the boot in $BOOT, which is 1 at first. These two do not return.

host_reboot() {
    systemctl reboot
    exec sleep infinity
}

power_cut() { # [MS]
    echo "power cut in ${1:-0} ms"
    exec sleep infinity
}

# --- Guests ----------------------------------------------------------------------------------
#
# A guest's kernel options (../guest/counter.c) are taken from GUEST_OPTIONS when it is made.

guest_config() { # TYPE NAME MEMORY_MIB DISKS
    # An identity that is the same in every run.
    local uuid kernel=/boot/vmlinux
    # HVM's firmware starts a packed one.
    [[ $1 != hvm ]] || kernel=/boot/vmlinuz
    uuid=$(echo "$2" | md5sum | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/')
    {
        cat <<END
name = "$2"
uuid = "$uuid"
type = "$1"
memory = $3
vcpus = ${GUEST_VCPUS:-1}
cpus = "2"
kernel = "$kernel"
ramdisk = "/lab/guest-initrd.img"
extra = "console=hvc0 quiet loglevel=3 $GUEST_OPTIONS"
disk = [ $4 ]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "preserve"
END
        # No screen: its console is that of Xen.
        [[ $1 != hvm ]] || printf '%s\n' 'vga = "none"' 'usb = 0' 'nographic = 1'
    } >"/etc/xen/$2.cfg"
}

# GUEST_DISKS (2) volumes, with a file system each: NAME-1 and NAME-3 in xenvols, NAME-2 and NAME-4 in GUEST_SECOND_VG
# (xenvols). GUEST_VCPUS (1). GUEST_VDEV (xvd): what its disks are called, before the letter; `hd`, with the options lab.emulated and
# xen_emul_unplug=never, are disks that QEMU emulates for an HVM guest.
guest_make() { # pv|pvh|hvm NAME [MEMORY_MIB] [DISK_MIB]
    local i volume letters=abcd disks=
    for ((i = 0; i < ${GUEST_DISKS:-2}; i++)); do
        volume=$( ((i % 2)) && echo "${GUEST_SECOND_VG:-xenvols}" || echo xenvols)/$2-$((i + 1))
        # Nothing of what was there before: an image's size must not depend on it.
        lvcreate -q -y -L "${4:-64}m" -n "${volume#*/}" "${volume%/*}" >/dev/null && blkdiscard -z "/dev/$volume" &&
            mke2fs -q -t ext4 -O ^resize_inode -E lazy_itable_init=1,lazy_journal_init=1 "/dev/$volume" || return
        disks+="'phy:/dev/$volume,${GUEST_VDEV:-xvd}${letters:i:1},w', "
    done
    guest_config "$1" "$2" "${3:-128}" "$disks"
}

# One file, /data/guests/NAME.img, which Xen's hotplug script attaches through a loop device.
guest_make_file() { # pv|pvh NAME [MEMORY_MIB] [DISK_MIB]
    local image=/data/guests/$2.img
    mkdir -p /data/guests
    truncate -s "${4:-64}M" "$image"
    mke2fs -q -t ext4 -O ^resize_inode "$image" || return
    guest_config "$1" "$2" "${3:-128}" "'format=raw,vdev=xvda,access=w,backendtype=phy,target=$image'"
}

guest_start() { # NAME
    xl create -q "/etc/xen/$1.cfg" >/dev/null && guest_wait "$1" 1
}

guest_console() { # NAME: prints the file that its console goes to
    echo "/var/log/xen/console/guest-$1.log"
}

# The last number it printed; nothing before the first. The space tells a whole number from a part.
guest_count() { # NAME
    tail -n 50 "$(guest_console "$1")" 2>/dev/null | sed -n 's/^count \([0-9]*\) .*/\1/p' | tail -n 1
}

# How long its console is by now; the start of what comes next, for check_contiguous.
guest_lines() { # NAME
    wc -l <"$(guest_console "$1")"
}

counted() { # NAME: how many numbers it has printed; whole lines only
    cat "$(guest_console "$1")" 2>/dev/null | grep -c '^count .* .' || true
}

# The line, from line FROM of its console on, with the first number of which CONDITION holds, and that number.
first_number() { # NAME FROM CONDITION: of awk, on $2 and the number before it, last
    awk -v from="$2" '
        $1 != "count" || NF != 3 { next }
        NR >= from && seen && '"$3"' { print NR, $2; exit }
        { last = $2; seen = 1 }' "$(guest_console "$1")"
}

# Where it was brought back to: the first number that is no larger than the one before it.
guest_back() { # NAME [FROM]
    # shellcheck disable=SC2016 # awk's
    first_number "$1" "${2:-1}" '$2 <= last'
}

# Where it was brought to, from a snapshot older or newer than it was.
guest_moved() { # NAME [FROM]
    # shellcheck disable=SC2016 # awk's
    first_number "$1" "${2:-1}" '$2 != last + 1'
}

# Counts its lines and does not compare numbers: a guest that was taken back goes on from there.
guest_wait() { # NAME [N]: until it has counted N (5) times more
    local goal deadline=$((SECONDS + GUEST_DEADLINE))
    goal=$(($(counted "$1") + ${2:-5}))
    # A file that grows has no event to wait for, short of a process that follows it.
    until (($(counted "$1") >= goal)); do
        if ((SECONDS > deadline)); then
            echo "guest $1 has not counted ${2:-5} times within $GUEST_DEADLINE s; its console ends, and xl's log:"
            tail -n 8 "$(guest_console "$1")"
            tail -n 6 "/var/log/xen/xl-$1.log"
            xl list
            return 1
        fi >&2
        sleep 0.1
    done
}

# Waits: xl's monitor takes its time to destroy a guest that has shut down.
guest_gone() { # NAME: it is no domain any more
    local deadline=$((SECONDS + GUEST_DEADLINE))
    while xl domid "$1" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

# Every number that LOG shows, from line FROM on, is one more than the one before, and no boot lies
# between two of them: RAM was neither lost nor taken back.
check_contiguous() { # LOG [FROM]
    tail -n "+${2:-1}" "$1" | awk '
        $1 == "boot" && seen { print "booted again after", last; bad = 1; exit }
        $1 != "count" || NF != 3 { next }
        seen && $2 != last + 1 { print "from", last, "to", $2; bad = 1; exit }
        { last = $2; seen = 1 }
        END { if (!seen) print "no number at all"; exit bad || !seen }'
}

# --- Disks -----------------------------------------------------------------------------------
#
# A guest that is stopped has its disks mounted, so an image of one is read as after a power cut:
# the journal first. On a copy, since the image is evidence.

image_replayed() { # IMAGE: prints the path of the copy
    local copy
    copy=$(mktemp /data/.replayed.XXXXXX)
    cp --sparse=always "$1" "$copy"
    # 1: errors were corrected, as which a replay counts.
    e2fsck -y -E journal_only "$copy" >/dev/null 2>&1
    if (($? > 1)); then
        echo "$1: the journal cannot be replayed" >&2
        rm "$copy"
        return 1
    fi
    echo "$copy"
}

disk_number() { # IMAGE [FILE]: prints the number that the guest left on it
    local copy number
    copy=$(image_replayed "$1") || return
    number=$(debugfs -R "cat /${2:-number}" "$copy" 2>/dev/null)
    rm "$copy"
    [[ $number =~ ^0*([0-9]+)$ ]] && echo "${BASH_REMATCH[1]}"
}

fsck_clean() { # IMAGE
    local copy status
    copy=$(image_replayed "$1") || return
    e2fsck -fn "$copy"
    status=$?
    rm "$copy"
    return "$status"
}

# --- What is left behind ---------------------------------------------------------------------

# All that a program could leave behind in this host, as text. Numbers which differ between two
# states that are the same to a person (domain and process ids, loop and minor numbers) are left out.
state_save() { # FILE
    {
        echo "# volumes"
        lvs -a --noheadings --units b -o vg_name,lv_name,lv_attr,lv_size,origin,pool_lv,lv_tags | sort
        echo "# device tables"
        dmsetup table | sort
        echo "# devices suspended"
        dmsetup info -c --noheadings -o name,suspended | grep Suspended | sort
        echo "# device tree"
        dmsetup ls --tree -o ascii,nodevice
        echo "# loop devices"
        losetup -nl -O BACK-FILE | sort
        echo "# mounts"
        findmnt -rno TARGET,SOURCE | sort
        echo "# domains"
        # Running and blocked are the scheduler's affair; paused, shut down, crashed, dying are not.
        xl list | awk 'NR > 1 { print $1, substr($5, 3) }' | sort
        # dmeventd ends by itself after an idle hour.
        echo "# processes"
        ps --ppid 2 -p 2 --deselect -o comm= |
            grep -vxE 'dmeventd|run|bash|ps|grep|sort|uniq|sleep|tail|\(udev-worker\)' | sort | uniq -c
    } >"$1"
}
