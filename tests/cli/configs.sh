#!/bin/bash
# Configurations that can't be snapshotted as they are: each is refused, with the reason. $1 is the program.
domsnap=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOMSNAP_REPO=$work/repo XDG_STATE_HOME=$work/state XDG_RUNTIME_DIR=$work/run
. "${0%/*}/common"
cd "$work" || exit 1
truncate -s 1M a.img
"$domsnap" init > /dev/null

refused() { # TEXT PATTERN: by what config.cfg has
    check_fails "$1: refused, into a folder" 1 "$2" "$domsnap" create --config config.cfg --to "$work/folder"
    check_fails "$1: refused, into a repository" 1 "$2" "$domsnap" create --config config.cfg
    check "$1: nothing was made" test ! -e "$work/folder" -a -z "$(ls -A "$work/repo/snapshots")"
}
config() { printf "name = 't'\nmemory = 64\n%b\n" "$1" > config.cfg; }

config ''
refused "no disk" 'config.cfg: there is nothing to snapshot: it names no disk'
config 'disk = [ ]'
refused "an empty list of disks" 'it names no disk'
config "disks = [ 'phy:$work/a.img,xvda,w' ]"
refused "a misspelt list of disks" 'it names no disk'
config "disk = 'phy:$work/a.img,xvda,w'"
refused "a string in place of a list" 'disk is not a list.*config.cfg:3'
config "disk = [ [ 'phy:$work/a.img', 'xvda', 'w' ] ]"
refused "a list in the list" 'element 1 of the list is not a string'
config "disk = [ 'phy:$work/a.img,xvda,r', ',,hdc,cdrom' ]"
refused "disks that the guest may not write to" 'the guest may write to none'
config "disk = [ 'phy:$work/a.img,xvda,w' ]\n\0more"
refused "a NUL byte" 'config.cfg: line 4: it has a NUL byte'
config "\0\0\0\0disk = [ 'phy:$work/a.img,xvda,w' ]"
refused "NUL bytes before the disks" 'config.cfg: line 3: it has a NUL byte'
echo "disk = [ 'phy:$work/a.img,xvda,w' ]" > config.cfg
refused "no name" 'has no name'

truncate -s 0 empty.img
config "disk = [ 'phy:$work/empty.img,xvda,w' ]"
check_fails "a disk of 0 bytes is told" 0 'warning: disk xvda: .*empty.img has 0 bytes' "$domsnap" create --config config.cfg
exit $failed
