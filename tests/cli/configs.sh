#!/bin/bash
# Configurations that can't be snapshotted as they are: each is refused, with the reason. $1 is the program.
domsnap=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOMSNAP_REPO=$work/repo XDG_STATE_HOME=$work/state XDG_RUNTIME_DIR=$work/run XDG_CACHE_HOME=$work/cache
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
config "disk = [ 'phy:$work/\\0351.img,xvda,w' ]"
refused "a path that is not UTF-8" 'element 1 of the list is not UTF-8'
config "disk = [ $(for i in {0..256}; do printf "'phy:$work/a.img,d%dp0,w', " "$i"; done) ]"
refused "257 disks" 'it has 257 disks, and a snapshot holds 256'
mkfifo pipe.cfg
check_fails "a pipe in place of a file" 1 'neither a file nor a block device' timeout -s KILL 60 "$domsnap" create --config pipe.cfg

for backend in domain-0 0 Domain-0; do
    config "disk = [ 'phy:$work/a.img,xvda,w,backend=$backend' ]"
    if [ $backend = domain-0 ]; then
        refused "a backend in another domain" 'it is served by a script or another domain'
    else
        check "backend=$backend is this host" "$domsnap" create --config config.cfg "t@backend-$backend"
    fi
done

# Image files come back as they were.
config "disk = [ 'phy:$work/own.img,xvda,w' ]"
truncate -s 1M own.img
chmod 0640 own.img
[ "$(id -u)" != 0 ] || chown 12:34 own.img
stat -c '%a %u %g' own.img > before
check "a file that others own" "$domsnap" create --config config.cfg t@own
chmod 0440 own.img
check "one that may not be written to" "$domsnap" create --config config.cfg t@read-only
rm own.img
check "restore, of one that is gone" "$domsnap" restore t@own
check "its owner and mode are as they were" diff before <(stat -c '%a %u %g' own.img)
rm own.img
ln -s nowhere own.img
check_fails "restore, where a link leads nowhere" 1 'own.img is a symbolic link to what does not exist' "$domsnap" restore t@own
check "the link is as it was" test "$(readlink own.img)" = nowhere

rm own.img
truncate -s 1M own.img
check_fails "a result that can't be printed is done all the same" 4 'done, but its result could not be printed' \
    bash -c '"$1" create --config config.cfg t@unsaid > /dev/full' bash "$domsnap"
check "it is there" "$domsnap" show t@unsaid

# Whether it could be restored, before anybody tries.
check_fails "doctor, of a snapshot" 1 'good  restore .*its volumes are there' "$domsnap" doctor t@unsaid
truncate -s 2M own.img
check_fails "doctor, of one whose disk has grown since" 1 'bad   restore .*the image has 1048576 bytes' "$domsnap" doctor t@unsaid
check_fails "doctor, of a snapshot that is not there" 1 'bad   restore .*t@unseen' "$domsnap" doctor t@unseen
check "doctor has left the disk as it was" test "$(stat -c %s own.img)" = 2097152
check_fails "doctor --repo of no snapshot" 2 'which snapshot' "$domsnap" doctor --repo "$DOMSNAP_REPO" t

# A path that JSON can't hold.
odd=$work/$'odd\xff'
check "a repository whose path is not UTF-8" "$domsnap" init "$odd"
check_fails "is not used" 1 'is not UTF-8.*mount it elsewhere' "$domsnap" create --config config.cfg t@odd --repo "$odd"
check_fails "is not restored from" 1 'is not UTF-8.*mount it elsewhere' "$domsnap" restore t@odd --repo "$odd"

truncate -s 0 empty.img
config "disk = [ 'phy:$work/empty.img,xvda,w' ]"
check_fails "a disk of 0 bytes is told" 0 'warning: disk xvda: .*empty.img has 0 bytes' "$domsnap" create --config config.cfg
exit $failed
