#!/bin/bash
# A repository as a user without Xen meets it: guests that do not run, on image files. $1 is the program.
domsnap=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOMSNAP_REPO=$work/repo XDG_STATE_HOME=$work/state XDG_RUNTIME_DIR=$work/run
. "${0%/*}/common"
change() { # FILE SEED: some pages of it
    python3 - "$@" << 'END'
import random, sys
r = random.Random(sys.argv[2])
with open(sys.argv[1], 'r+b') as f:
    size = f.seek(0, 2)
    for _ in range(6):
        f.seek(r.randrange(size // 4096) * 4096)
        f.write(r.randbytes(4096))
END
}
sums() { sha256sum "$work/one.img" "$work/two.img"; }

truncate -s 300M "$work/one.img"
truncate -s $((64 << 20 | 512)) "$work/two.img"
change "$work/one.img" 1
dd if="$domsnap" of="$work/one.img" bs=64k seek=100 conv=notrunc status=none
change "$work/two.img" 2
cat > "$work/off.cfg" << END
# As a person would write it.
name = "off01"
memory = 256
disk = [ '$work/one.img,raw,xvda,rw', 'file:$work/two.img,xvdb,w', '$work/cd.iso,,hdc,cdrom' ]
END

check_fails "without a repository" 1 'domsnap init' "$domsnap" list
check "init" "$domsnap" init
check_fails "init, again" 1 'is not empty' "$domsnap" init
check_fails "an empty list" 0 'no snapshots' "$domsnap" list
check_fails "create" 0 'off01@one .*as of' "$domsnap" create off01@one --config "$work/off.cfg"
check "create, into a folder" "$domsnap" create --config "$work/off.cfg" --to "$work/folder"
check "its images are the disks" cmp "$work/one.img" "$work/folder/off01.xvda.img"
check "and its configuration is the file" cmp "$work/off.cfg" "$work/folder/off01.cfg"
check_fails "nothing is overwritten" 1 'nothing is overwritten' "$domsnap" create --config "$work/off.cfg" --to "$work/folder"
check "restore from the folder" "$domsnap" restore --from "$work/folder"
check_fails "verify of the folder" 0 'good +/' "$domsnap" verify --from "$work/folder"
printf x | dd of="$work/folder/off01.xvdb.img" bs=1 seek=70000 conv=notrunc status=none
check_fails "verify of the folder, damaged" 1 'off01.xvdb.img is damaged' "$domsnap" verify --from "$work/folder"
check_fails "nothing is left to recover" 0 'nothing' "$domsnap" recover
"$domsnap" create --config "$work/off.cfg" --to "$work/torn" --limit 100 > "$work/said" 2>&1 &
create=$!
until [ -e "$work/torn/.off01.xvda.img.part" ] || ! kill -0 $create 2> /dev/null; do sleep 0.01; done
cp "$work/two.img" "$work/untorn"
printf x | dd of="$work/two.img" bs=1 seek=$((64 << 20)) conv=notrunc status=none
status=0
wait $create || status=$?
mv "$work/untorn" "$work/two.img"
check "an image that is written while it is copied" test $status = 1
check "is no snapshot, and that is said" grep -q 'two.img: somebody has written to it meanwhile; what was copied is of no use' "$work/said"
check "and nothing is left of it" test ! -e "$work/torn"
sums > "$work/sums-1"
check_fails "a name that is taken" 1 'is a snapshot off01@one already' "$domsnap" create off01@one --config "$work/off.cfg"
check_fails "a name that can't be" 2 'letters, digits' "$domsnap" create off01@../x --config "$work/off.cfg"
check_fails "another domain's configuration" 2 'is the configuration of off01' "$domsnap" create off02 --config "$work/off.cfg"
echo 'name = [' > "$work/bad.cfg"
check_fails "a configuration that is none" 1 'bad.cfg.*(syntax error|can.t be read)' "$domsnap" create --config "$work/bad.cfg"
change "$work/one.img" 3
"$domsnap" create off01@two --config "$work/off.cfg" --json > "$work/json" 2> /dev/null
check "the second costs what has changed" python3 -c '
import json, sys
s = json.load(open(sys.argv[1]))["stats"]
sys.exit(not 0 < s["stored_bytes"] < 100000)' "$work/json"
sums > "$work/sums-2"
check "verify" "$domsnap" verify
check_fails "show" 0 'xvdb +64.0 MiB' "$domsnap" show off01@two
check "nothing is for others to read" test -z "$(find "$work/repo" -perm /077)"

rm "$work/one.img"
change "$work/two.img" 4
check "restore, of a file that is gone and one that has changed" "$domsnap" restore off01@one
check "both are as they were" sha256sum --quiet -c "$work/sums-1"
check "and sparse" test "$(du -k "$work/one.img" | cut -f1)" -lt 65536
check "restore of the other" "$domsnap" restore off01@two
check "both are as they were then" sha256sum --quiet -c "$work/sums-2"
rm "$work/one.img" "$work/two.img"
check "restore of files that are gone" "$domsnap" restore off01@one
check "they are as they were" sha256sum --quiet -c "$work/sums-1"
touch "$work/two.img.domsnap"
check_fails "the name is taken that a file has while it is not whole" 1 'two.img.domsnap already' "$domsnap" restore off01@two
check "nothing was touched" sha256sum --quiet -c "$work/sums-1"
check_fails "nor is anything left to recover" 0 'nothing' "$domsnap" recover
rm "$work/two.img.domsnap"
truncate -s +512 "$work/two.img"
check_fails "a file of another size" 1 'must be the same' "$domsnap" restore off01@one
truncate -s -512 "$work/two.img"
check_fails "a snapshot that does not exist" 1 'there is no snapshot' "$domsnap" restore off01@three

change "$work/one.img" 5
# Of what the program fills, a page: a patch.
dd if=/dev/urandom of="$work/one.img" bs=4k count=1 seek=1610 conv=notrunc status=none
check "create of a third" "$domsnap" create off01@after --config "$work/off.cfg"
"$domsnap" create off01@a --config "$work/off.cfg" > /dev/null 2>&1 &
first=$!
second=0
"$domsnap" create off01@b --config "$work/off.cfg" > /dev/null 2>&1 || second=$?
wait $first && first=0 || first=$?
check "two at once: one is done ($first, $second)" test "$first" = 0 -o $second = 0
check "and what was done is there" bash -c "
    { [ $first != 0 ] || '$domsnap' show off01@a; } && { [ $second != 0 ] || '$domsnap' show off01@b; }"
check "and all verify" "$domsnap" verify

# Damage: a byte in each pack in turn.
damaged=0
for pack in "$work"/repo/packs/*.pack; do
    cp "$pack" "$work/good"
    python3 - "$pack" << 'END'
import sys
with open(sys.argv[1], 'r+b') as f:
    f.seek(200)
    b = f.read(1)
    f.seek(200)
    f.write(bytes([b[0] ^ 1]))
END
    "$domsnap" verify > "$work/said" 2> "$work/told" || { grep -q DAMAGED "$work/said" && damaged=$((damaged + 1)); }
    bad=$(grep -c DAMAGED "$work/said")
    # A job of cron sees this alone.
    [ "$bad" -lt 2 ] || check "all $bad are counted in the error" grep -q "; $((bad - 1)) more are not good" "$work/told"
    cp "$work/good" "$pack"
done
check "damage is found in each of $damaged" test $damaged = "$(find "$work/repo/packs" -name '*.pack' | wc -l)"
check "verify, without the damage" "$domsnap" verify
# What the README says of damage: the guest still has most of what the largest pack holds.
pack=$(find "$work/repo/packs" -name '*.pack' -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
name=$(basename "$pack" .pack)
cp -r "$work/repo" "$work/kept"
printf 'xxxxxxxx' | dd of="$pack" bs=1 seek=300 conv=notrunc status=none
check_fails "verify names the pack" 1 "DAMAGED .*pack $name" "$domsnap" verify
mv "$pack" "$work/pack"
check_fails "check names the snapshots" 1 'DAMAGED +off01@after' "$domsnap" check
check "create, without that pack" "$domsnap" create off01@anew --config "$work/off.cfg"
check "stores anew what the guest still has" "$domsnap" verify off01@anew
check "and so heals an older snapshot" "$domsnap" verify off01@after
"$domsnap" check --json > "$work/json" 2> /dev/null
python3 -c '
import json, sys
for d in json.load(open(sys.argv[1]))["damaged"]: print(d["what"])' "$work/json" > "$work/list"
check "only the snapshots that are damaged still ($(echo $(cat "$work/list")))" \
    bash -c "! grep -q after '$work/list'"
check "are deleted" xargs -rd '\n' "$domsnap" delete < "$work/list"
check_fails "and the repository is whole" 0 'snapshots in' "$domsnap" check
check "and good" "$domsnap" verify
rm -r "$work/repo"
mv "$work/kept" "$work/repo"
check_fails "verify of a sample" 0 'good' "$domsnap" verify --sample 30
check_fails "check" 0 'snapshots in [0-9]+ packs' "$domsnap" check
# The largest: more than its end is cut off.
pack=$(find "$work/repo/packs" -name '*.pack' -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
mv "$pack" "$work/pack"
check_fails "check, without a pack" 1 'DAMAGED +off01@' "$domsnap" check
head -c 1000 "$work/pack" > "$pack"
check_fails "check, with a pack cut short" 1 'DAMAGED +pack' "$domsnap" check
mv "$work/pack" "$pack"
check_fails "check --rebuild-index" 0 'snapshots in' "$domsnap" check --rebuild-index
check "check, after that" "$domsnap" check
# Deleted: what only it needed goes, what others need stays.
used() { du -sk "$work/repo/packs" | cut -f1; }
dd if=/dev/urandom of="$work/one.img" bs=1M count=90 seek=100 conv=notrunc status=none
"$domsnap" create off01@large --config "$work/off.cfg" > /dev/null 2>&1
before=$(used)
check_fails "delete of one that is not there" 1 'there is no snapshot' "$domsnap" delete off01@large off01@none
check "nothing was deleted" "$domsnap" show off01@large
check_fails "delete" 0 'are free again' "$domsnap" delete off01@large off01@large
check "its space is free ($before to $(used) KiB)" test $(($(used) + 80000)) -lt "$before"
check "verify, after that" "$domsnap" verify
check "delete of most" "$domsnap" delete off01@one off01@after
check "verify, after that" "$domsnap" verify
rm -rf "$work"/repo/index/*
check "verify, without an index" "$domsnap" verify
check "restore of what is left" "$domsnap" restore off01@two
check "it is as it was" sha256sum --quiet -c "$work/sums-2"
"$domsnap" create off01@one --config "$work/off.cfg" > /dev/null 2>&1
records=$work/repo/snapshots

# What is not there, and what can't be read, is never "all good".
check_fails "verify of a guest without snapshots" 1 'no snapshot of offo1' "$domsnap" verify offo1
check_fails "list of a guest without snapshots" 1 'no snapshot of offo1' "$domsnap" list offo1
check_fails "check without a damaged record" 0 'snapshots in' "$domsnap" check
for kind in cut empty flipped pipe; do
    cp "$records/off01/two.json" "$work/record"
    case $kind in
    cut) truncate -s 100 "$records/off01/two.json" ;;
    empty) : > "$records/off01/two.json" ;;
    flipped) sed -i 's/"vcpus": 1/"vcpus": 2/' "$records/off01/two.json" ;;
    pipe) rm "$records/off01/two.json" && mkfifo "$records/off01/two.json" ;;
    esac
    for scope in "" off01; do
        # shellcheck disable=SC2086 # no word, or one
        check_fails "verify ${scope:-of all}, a record is $kind" 1 '(DAMAGED|NOT READ) +off01@two: ' "$domsnap" verify $scope
        # shellcheck disable=SC2086
        check_fails "list ${scope:-of all}, a record is $kind" 1 '(DAMAGED|NOT READ) +off01@two: ' "$domsnap" list $scope
    done
    check_fails "verify goes on to the others, a record is $kind" 1 'good +off01@one' "$domsnap" verify
    check_fails "list shows the others, a record is $kind" 1 '^off01@one' "$domsnap" list
    check_fails "JSON tells, a record is $kind" 1 '"snapshot": "off01@two"' "$domsnap" verify --json
    check_fails "JSON of list tells, a record is $kind" 1 '"snapshot": "off01@two"' "$domsnap" list --json
    check_fails "check tells, a record is $kind" 1 'off01@two' "$domsnap" check
    check_fails "create goes on, a record is $kind" 0 'warning: record off01@two' "$domsnap" create off01@next --config "$work/off.cfg"
    check_fails "nothing is freed, a record is $kind" 1 'off01@two' "$domsnap" delete off01@next
    rm "$records/off01/two.json"
    mv "$work/record" "$records/off01/two.json"
done
check "all is good again" "$domsnap" verify

# What others may put there.
echo "a note" > "$records/README"
echo "a note" > "$records/off01/README"
cp "$records/off01/one.json" "$records/off01/one copy.json"
mkfifo "$records/pipe"
mkdir "$records/lost+found" "$work/repo/packs/lost+found"
for command in list verify check delete; do
    check "$command, with strays in the repository" "$domsnap" $command
done
check "a stray is left alone" test -e "$records/README" -a -e "$records/off01/one copy.json"
rm "$records/off01/one copy.json"
ln -s off01 "$records/linked"
check_fails "a link is told, and the others are verified" 1 'good +off01@one' "$domsnap" verify
check_fails "a link is told, and the others are listed" 1 'NOT READ|DAMAGED +linked: ' "$domsnap" list
check_fails "nothing is freed while there is a link" 1 'linked' "$domsnap" delete
rm "$records/linked"

mv "$records/off01/one.json" "$records/off01/other.json"
check_fails "a record under another's name" 1 'is that of' "$domsnap" restore off01@other
exit $failed
