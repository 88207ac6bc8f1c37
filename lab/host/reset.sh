# shellcheck shell=bash
# The state every job starts from: no guest, two empty volume groups, an empty /data. Sourced.

disk=/dev/disk/by-id/virtio

# A run that was given the disks of an earlier one finds its volume groups there.
volumes_make() {
    vgs xenvols >/dev/null 2>&1 || vgcreate -q -y xenvols "$disk-xenvols" >/dev/null
    vgs xenvols2 >/dev/null 2>&1 || vgcreate -q -y xenvols2 "$disk-xenvols2" >/dev/null
}

mounts_beyond_boot() {
    findmnt -rno TARGET | grep -vxFf /run/mounts-at-boot | tac
}

# One line for each thing that a job should have taken away itself.
left_behind() { # SESSION
    {
        xl list | awk 'NR > 1 && $2 != 0 { print "domain", $1 }'
        lvs --noheadings -o vg_name,lv_name | awk '{ print "volume", $1 "/" $2 }'
        dmsetup info -c --noheadings -o name,uuid,suspended --separator ' ' 2>/dev/null |
            awk '$2 !~ /^LVM-/ && !/No devices/ { print "device", $1 } $NF == "Suspended" { print "suspended", $1 }'
        losetup -nl -O NAME,BACK-FILE | awk '{ print "loop", $2 }'
        mounts_beyond_boot | sed 's/^/mount /'
        pgrep -ls "$1" | sed 's/^/process /'
    } | sed 's/^/left behind: /'
}

# Anything may be in any state here, a suspended disk under a guest included: so the devices are
# let go first, and the volume groups are made anew rather than emptied.
reset() { # SESSION
    local name
    pkill -KILL -s "$1"
    dmsetup info -c --noheadings -o name,suspended --separator ' ' 2>/dev/null |
        awk '$2 == "Suspended" { print $1 }' | xargs -r dmsetup resume
    xl list | awk 'NR > 1 && $2 != 0 { print $2 }' | xargs -r -n 1 timeout 60 xl destroy
    mounts_beyond_boot | xargs -r -d '\n' -n 1 umount -l
    losetup -D
    udevadm settle
    timeout 60 dmsetup remove_all --force
    for name in xenvols xenvols2; do
        wipefs -qaf "$disk-$name"
    done
    udevadm settle
    dmsetup mknodes
    volumes_make
    find /data -mindepth 1 ! -name lost+found -delete
    rm -rf /etc/xen/*.cfg /etc/xen/auto/* /var/lib/xen/save/* /var/log/xen/console/* \
        /var/log/xen/xl-* /var/lib/domsnap /run/domsnap /usr/local/sbin/*
} >/dev/null
