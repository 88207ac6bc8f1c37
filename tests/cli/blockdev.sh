#!/bin/bash
# A block device that is not LVM's: a loop device. Created, damaged, restored, byte for byte. $1 is the program.
domsnap=$1
work=$(mktemp -d)
loop=
trap '[ -z "$loop" ] || losetup -d "$loop"; rm -rf "$work"' EXIT
export DOMSNAP_REPO=$work/repo XDG_STATE_HOME=$work/state XDG_RUNTIME_DIR=$work/run XDG_CACHE_HOME=$work/cache
. "${0%/*}/common"

# Not a multiple of a chunk, nor of a page.
truncate -s $((20 << 20 | 3 << 9)) "$work/disk"
dd if=/dev/urandom of="$work/disk" bs=1M count=3 seek=7 conv=notrunc status=none
dd if=/dev/urandom of="$work/disk" bs=512 count=3 seek=40960 conv=notrunc status=none
if ! loop=$(losetup -f --show "$work/disk" 2> "$work/why"); then
    echo "skipped - loop devices can't be made here: $(cat "$work/why")"
    exit 77
fi
sum() { sha256sum < "$loop"; }
before=$(sum)
ln -s "$loop" "$work/link"
"$domsnap" init > /dev/null

declare -A paths=([device]=$loop [relative]=${loop#/dev/} [link]=$work/link)
for name in "${!paths[@]}"; do
    path=${paths[$name]}
    printf "name = 'looped'\nmemory = 64\ndisk = [ 'phy:%s,xvda,w' ]\n" "$path" > "$work/looped.cfg"
    check "$path: create" "$domsnap" create "looped@$name" --config "$work/looped.cfg"
    check "$path: create into a folder" "$domsnap" create --config "$work/looped.cfg" --to "$work/$name.d"
    check "$path: the image is the disk" cmp "$loop" "$work/$name.d/looped.xvda.img"
    check "$path: check" "$domsnap" check "looped@$name"
    dd if=/dev/urandom of="$loop" bs=1M count=20 conv=notrunc,fsync status=none
    check "$path: the disk is damaged" test "$(sum)" != "$before"
    check "$path: restore" "$domsnap" restore "looped@$name"
    check "$path: it is as it was" test "$(sum)" = "$before"
    dd if=/dev/zero of="$loop" bs=1M count=20 conv=notrunc,fsync status=none
    check "$path: restore from the folder" "$domsnap" restore --from "$work/$name.d"
    check "$path: it is as it was again" test "$(sum)" = "$before"
done
mkfs.ext4 -q "$loop" 2> /dev/null
mkdir "$work/mnt"
if mount "$loop" "$work/mnt" 2> /dev/null; then
    check_fails "a mounted device is refused" 1 'a mount.* uses it' "$domsnap" create looped@busy --config "$work/looped.cfg"
    umount "$work/mnt"
else
    echo "skipped - a loop device can't be mounted here"
fi
exit $failed
