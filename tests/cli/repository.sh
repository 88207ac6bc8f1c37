#!/bin/bash
# A repository as a user without Xen meets it: guests that do not run, on image files. $1 is the program.
domsnap=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOMSNAP_REPO=$work/repo XDG_STATE_HOME=$work/state XDG_RUNTIME_DIR=$work/run XDG_CACHE_HOME=$work/cache
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
name = "shop01"
memory = 256
disk = [ '$work/one.img,raw,xvda,rw', 'file:$work/two.img,xvdb,w', '$work/cd.iso,,hdc,cdrom' ]
END

check_fails "without a repository" 1 'domsnap init' "$domsnap" list
check "init" "$domsnap" init
check_fails "init, again" 1 'is not empty' "$domsnap" init
check_fails "an empty list" 0 'no snapshots' "$domsnap" list
check_fails "create" 0 'shop01@one .*as of' "$domsnap" create shop01@one --config "$work/off.cfg"
check "create, into a folder" "$domsnap" create --config "$work/off.cfg" --to "$work/folder"
check "its images are the disks" cmp "$work/one.img" "$work/folder/shop01.xvda.img"
check "and its configuration is the file" cmp "$work/off.cfg" "$work/folder/shop01.cfg"
check_fails "nothing is overwritten" 1 'nothing is overwritten' "$domsnap" create --config "$work/off.cfg" --to "$work/folder"
check "restore from the folder" "$domsnap" restore --from "$work/folder"
check_fails "check of the folder" 0 'good +/' "$domsnap" check --from "$work/folder"
printf x | dd of="$work/folder/shop01.xvdb.img" bs=1 seek=70000 conv=notrunc status=none
check_fails "check of the folder, damaged" 1 'DAMAGED +snapshot .*shop01.xvdb.img is damaged' "$domsnap" check --from "$work/folder"
check_fails "nothing is left to recover" 0 'nothing' "$domsnap" recover
"$domsnap" create --config "$work/off.cfg" --to "$work/torn" --limit 1 > "$work/said" 2>&1 &
create=$!
until [ -e "$work/torn/.shop01.xvda.img.part" ] || ! kill -0 $create 2> /dev/null; do sleep 0.01; done
cp "$work/two.img" "$work/untorn"
printf x | dd of="$work/two.img" bs=1 seek=$((64 << 20)) conv=notrunc status=none
status=0
wait $create || status=$?
mv "$work/untorn" "$work/two.img"
check "an image that is written while it is copied" test $status = 1
check "is no snapshot, and that is said" grep -q 'two.img: somebody has written to it meanwhile; what was copied is of no use' "$work/said"
check "and nothing is left of it" test ! -e "$work/torn"
sums > "$work/sums-1"
check_fails "a name that is taken" 1 'is a snapshot shop01@one already' "$domsnap" create shop01@one --config "$work/off.cfg"
check_fails "a name that can't be" 2 'letters, digits' "$domsnap" create shop01@../x --config "$work/off.cfg"
check_fails "another domain's configuration" 2 'is the configuration of shop01' "$domsnap" create off02 --config "$work/off.cfg"
echo 'name = [' > "$work/bad.cfg"
check_fails "a configuration that is none" 1 'bad.cfg.*(syntax error|can.t be read)' "$domsnap" create --config "$work/bad.cfg"
change "$work/one.img" 3
"$domsnap" create shop01@two --config "$work/off.cfg" --json > "$work/json" 2> /dev/null
check "the second costs what has changed" python3 -c '
import json, sys
s = json.load(open(sys.argv[1]))["stats"]
sys.exit(not 0 < s["stored_bytes"] < 100000)' "$work/json"
sums > "$work/sums-2"
check "check" "$domsnap" check
check "check of the content" "$domsnap" check --read-data
check_fails "show" 0 'xvdb +64.0 MiB' "$domsnap" show shop01@two
check "nothing is for others to read" test -z "$(find "$work/repo" -perm /077)"

rm "$work/one.img"
change "$work/two.img" 4
check "restore, of a file that is gone and one that has changed" "$domsnap" restore shop01@one
check "both are as they were" sha256sum --quiet -c "$work/sums-1"
check "and sparse" test "$(du -k "$work/one.img" | cut -f1)" -lt 65536
check "restore of the other" "$domsnap" restore shop01@two
check "both are as they were then" sha256sum --quiet -c "$work/sums-2"
rm "$work/one.img" "$work/two.img"
check "restore of files that are gone" "$domsnap" restore shop01@one
check "they are as they were" sha256sum --quiet -c "$work/sums-1"
touch "$work/two.img.domsnap"
check_fails "the name is taken that a file has while it is not whole" 1 'two.img.domsnap already' "$domsnap" restore shop01@two
check "nothing was touched" sha256sum --quiet -c "$work/sums-1"
check_fails "nor is anything left to recover" 0 'nothing' "$domsnap" recover
rm "$work/two.img.domsnap"
truncate -s +512 "$work/two.img"
check_fails "a file of another size" 1 'must be the same' "$domsnap" restore shop01@one
truncate -s -512 "$work/two.img"
check_fails "a snapshot that does not exist" 1 'there is no snapshot' "$domsnap" restore shop01@three

change "$work/one.img" 5
# Of what the program fills, a page: a patch.
dd if=/dev/urandom of="$work/one.img" bs=4k count=1 seek=1610 conv=notrunc status=none
check "create of a third" "$domsnap" create shop01@after --config "$work/off.cfg"
# The latest is told by the second.
sleep 1.1
"$domsnap" create shop01@a --config "$work/off.cfg" > /dev/null 2>&1 &
first=$!
second=0
"$domsnap" create shop01@b --config "$work/off.cfg" > /dev/null 2>&1 || second=$?
wait $first && first=0 || first=$?
check "two at once: one is done ($first, $second)" test "$first" = 0 -o $second = 0
check "and what was done is there" bash -c "
    { [ $first != 0 ] || '$domsnap' show shop01@a; } && { [ $second != 0 ] || '$domsnap' show shop01@b; }"
check "and all is good" "$domsnap" check --read-data

# ---- the latest ----

check "the latest is one of these two" bash -c "'$domsnap' show shop01@latest --json | grep -qE '\"name\": \"[ab]\"'"
check_fails "show of the latest" 0 '^shop01@[ab] ' "$domsnap" show shop01@latest
check_fails "check of the latest" 0 '^good +shop01@' "$domsnap" check shop01@latest
check_fails "list takes a guest" 2 'is one snapshot' "$domsnap" list shop01@latest
check_fails "delete of the latest is refused: it must be named" 2 'stands for the newest' "$domsnap" delete shop01@latest
check_fails "so is a create" 2 'stands for the newest' "$domsnap" create shop01@latest --config "$work/off.cfg"
check_fails "the latest of a guest without snapshots" 1 'no snapshot of offo1' "$domsnap" show offo1@latest
sums > "$work/sums-latest"
rm "$work/one.img"
check "restore of the latest" "$domsnap" restore shop01@latest
check "it is the latest" sha256sum --quiet -c "$work/sums-latest"

# ---- damage ----

largest() { find "$work/repo/packs" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2; }
cp -a "$work/repo" "$work/kept"
whole() { # as it was
    rm -rf "$work/repo" && cp -a "$work/kept" "$work/repo"
}

# A bit in each pack in turn.
hurt=0
for pack in "$work"/repo/packs/*; do
    harm flip "$pack"
    status=0
    "$domsnap" check --read-data > "$work/said" 2> "$work/told" || status=$?
    hurt=$((hurt + status))
    if [ $status = 1 ]; then
        # A job of cron sees this alone.
        check "${pack##*/}: $(grep -c DAMAGED "$work/said") lines, and the error counts them" \
            grep -q "damaged: $(grep -c 'DAMAGED *snapshot' "$work/said") snapshots, 0 records, $(grep -c 'DAMAGED *pack' "$work/said") packs" "$work/told"
        check_fails "it is remembered" 1 'DAMAGED' "$domsnap" check
    else
        # A list, which is there twice.
        check "${pack##*/}: what it hurts nobody is said, too" grep -q 'damage that hurts no snapshot: in 1 packs' "$work/said"
        check_fails "it is remembered" 0 'damage that hurts no snapshot: in 1 packs' "$domsnap" check
    fi
    check_fails "so stats says" 0 'damaged +1 packs' "$domsnap" stats
    whole
done
check "damage that hurts is told as such" test $hurt -ge 2
check "without the damage" "$domsnap" check --read-data

# What the README says of damage: the guest still has most of what the largest pack holds.
python3 - "$(largest)" << 'END'
import sys
with open(sys.argv[1], 'r+b') as f:
    size = f.seek(0, 2)
    f.seek(100)
    f.write(bytes(size // 2))
END
check_fails "check names the snapshots" 1 'DAMAGED +snapshot shop01@after: .*xvda: [0-9]+ KiB in [0-9]+ chunks' "$domsnap" check --read-data
check_fails "stats tells of it" 0 '^damaged +1 packs' "$domsnap" stats
check_fails "check of a snapshot that is hurt" 1 'DAMAGED +snapshot shop01@after: ' "$domsnap" check shop01@after
check_fails "repair takes out what is whole" 0 '1 damaged pack: [1-9][0-9]* pieces are whole' "$domsnap" repair
check "create stores anew what the guest still has" "$domsnap" create shop01@anew --config "$work/off.cfg"
check "so it is whole" "$domsnap" check shop01@anew
check "and an older snapshot, too" "$domsnap" check shop01@after
"$domsnap" check --json > "$work/json" 2> /dev/null
jq -r '.faults[] | select(.kind == "snapshot" and .status == "damaged") | .ref' "$work/json" > "$work/list"
# shellcheck disable=SC2046 # words on one line
check "only the snapshots that are damaged still ($(echo $(cat "$work/list")))" \
    bash -c "[ -s '$work/list' ] && ! grep -q 'after\|anew' '$work/list'"
check "are deleted" xargs -rd '\n' "$domsnap" delete < "$work/list"
check_fails "and the repository is whole" 0 'snapshots, .*all there' "$domsnap" check
check "its content, too" "$domsnap" check --read-data
whole

# Found by who reads, it is known to who writes; and what was put back is good again.
pack=$(largest)
cp "$pack" "$work/pack"
harm flip "$pack"
"$domsnap" check shop01 > /dev/null 2>&1
check_fails "what a guest's check finds is remembered" 1 'DAMAGED' "$domsnap" check
cp "$work/pack" "$pack"
check_fails "put back as it was, all of it is good" 0 'good +shop01@one' "$domsnap" check shop01
check_fails "and repair says so" 0 ' 0 are not' "$domsnap" repair
check "and is believed" "$domsnap" check --read-data
whole

check_fails "check of a sample" 0 'all there' "$domsnap" check --read-data=30
check_fails "check" 0 'snapshots, .* in [0-9]+ packs: all there' "$domsnap" check
check_fails "repair, with nothing to do" 0 'no pack is known to be damaged' "$domsnap" repair
# The largest: more than its end is cut off.
pack=$(largest)
mv "$pack" "$work/pack"
check_fails "check, without a pack" 1 "DAMAGED +pack ${pack##*/}: it is missing" "$domsnap" check
check_fails "and whom it hurts" 1 'DAMAGED +snapshot shop01@' "$domsnap" check
whole
head -c 1000 "$work/pack" > "$pack"
check_fails "check, with a pack cut short" 1 "DAMAGED +pack ${pack##*/}: it has 1000 bytes, not" "$domsnap" check
whole

# ---- disks with holes where it is damaged ----

for name in one two; do
    harm flip "$(largest)"
    rm "$work/one.img" "$work/two.img"
    check_fails "restore of shop01@$name, damaged" 1 'checksum mismatch|is damaged|corruption detected' "$domsnap" restore "shop01@$name"
    check "nothing was made" test ! -e "$work/one.img" -a ! -e "$work/two.img"
    check "restore --skip-damaged" bash -c "'$domsnap' restore shop01@$name --skip-damaged 2> '$work/told'"
    check "what is not to be had is listed" grep -qE 'warning: .*/one.img: 262144 bytes at [0-9]+ are zeros now: ' "$work/told"
    at=$(sed -nE 's/.*one.img: 262144 bytes at ([0-9]+) are zeros now.*/\1/p' "$work/told")
    cp "$work/one.img" "$work/holed.img"
    whole
    "$domsnap" restore "shop01@$name" > /dev/null
    check "shop01@$name: just that differs, and is zeros" python3 -c '
import sys
at, holed, one = int(sys.argv[1]), open(sys.argv[2], "rb").read(), open(sys.argv[3], "rb").read()
end = at + 262144
sys.exit(not (holed[:at] == one[:at] and holed[end:] == one[end:] and holed[at:end] == bytes(262144) != one[at:end]))' \
        "$at" "$work/holed.img" "$work/one.img"
    check "all is as it was" sha256sum --quiet -c "$work/sums-$([ $name = one ] && echo 1 || echo 2)"
done
check_fails "--skip-damaged of a folder" 2 'is for a repository' "$domsnap" restore --from "$work/folder" --skip-damaged
check "restore --skip-damaged, of what is whole" "$domsnap" restore shop01@after --skip-damaged

# ---- space ----

# Deleted: what only it needed goes, what others need stays.
used() { du -sk "$work/repo/packs" | cut -f1; }
dd if=/dev/urandom of="$work/one.img" bs=1M count=90 seek=100 conv=notrunc status=none
"$domsnap" create shop01@large --config "$work/off.cfg" > /dev/null 2>&1
before=$(used)
check_fails "delete of nothing" 2 'which ones' "$domsnap" delete
check_fails "delete of all of a guest's" 2 'which snapshot of shop01' "$domsnap" delete shop01
check_fails "delete of one that is not there" 1 'there is no snapshot' "$domsnap" delete shop01@large shop01@none
check "nothing was deleted" "$domsnap" show shop01@large
check_fails "delete" 0 'MiB freed' "$domsnap" delete shop01@large shop01@large
check "its space is free ($before to $(used) KiB)" test $(($(used) + 80000)) -lt "$before"
check_fails "gc, with nothing to do" 0 '^0 B freed$' "$domsnap" gc
check "all is good after that" "$domsnap" check --read-data
check "delete of most" "$domsnap" delete shop01@one shop01@after
check "all is good after that" "$domsnap" check --read-data
check "stats" bash -c "'$domsnap' stats --json | jq -e '.schema == 1 and .snapshots >= 2 and .domains == 1 and .runs == [] and .damaged_packs == 0 and .waiting_bytes == 0
    and .stored_bytes == $(cat "$work"/repo/packs/* | wc -c)'"
check_fails "stats, in words" 0 '^stored .* packs' "$domsnap" stats
# What a run that was killed has left.
"$domsnap" create shop01@killed --config "$work/off.cfg" --limit 20 > /dev/null 2>&1 &
create=$!
until "$domsnap" stats --json | jq -e '.runs | length == 1' > /dev/null || ! kill -0 $create 2> /dev/null; do sleep 0.05; done
check_fails "stats tells who is at work" 0 "at work .*create.* process $create on" "$domsnap" stats
kill -KILL $create
wait $create 2> /dev/null
check "gc" "$domsnap" gc
check_fails "no run is left of one that was killed" 0 '^stored' bash -c "'$domsnap' stats && ! '$domsnap' stats | grep 'at work'"
check "nor anything that it wrote" test -z "$(find "$work/repo" -type f -name '.*')"
check_fails "nor a snapshot" 1 'there is no snapshot' "$domsnap" show shop01@killed

# ---- the index is a cache ----

check "there is one" test -n "$(find "$work/cache" -type f)"
rm -rf "$work/cache"
check "check, without an index" "$domsnap" check --read-data
find "$work/cache" -type f | while read -r file; do harm zero "$file"; done
check "check, with an index of zeros" "$domsnap" check --read-data
find "$work/cache" -type f | while read -r file; do harm flip "$file"; done
check "check, with a damaged index" "$domsnap" check --read-data
rm -rf "$work/cache" && echo > "$work/cache"
check "check, where none can be kept" "$domsnap" check --read-data
rm "$work/cache"
check "restore of what is left" "$domsnap" restore shop01@two
check "it is as it was" sha256sum --quiet -c "$work/sums-2"
"$domsnap" create shop01@one --config "$work/off.cfg" > /dev/null 2>&1

# ---- records ----

# What is not there, and what can't be read, is never "all good".
check_fails "check of a guest without snapshots" 1 'no snapshot of offo1' "$domsnap" check offo1
check_fails "list of a guest without snapshots" 1 'no snapshot of offo1' "$domsnap" list offo1
check_fails "JSON of list" 0 '"schema": 1' "$domsnap" list --json
check "an item of it" bash -c "'$domsnap' list --json | jq -e '.snapshots[0] |
    .ref == \"shop01@two\" and .domain == \"shop01\" and .name == \"two\" and .ram == false and .disks == 2 and .bytes > 67108864 and .stored_bytes > 0'"
one=$(jq -r 'select(.kind == "add" and .snapshot.name == "two") | .run' "$work"/repo/log/* "$work"/repo/state/* 2> /dev/null | head -n 1)
[ -n "$one" ] || one=$(grep -l '"name": "two"' "$work"/repo/snapshots/* | head -n 1 | xargs basename)
record=$work/repo/snapshots/$one copy=$work/repo/copy/snapshots/$one
rm -rf "$work/kept" && cp -a "$work/repo" "$work/kept"
for kind in cut empty flipped pipe gone link; do
    for object in "$record" "$copy"; do
        case $kind in
        cut) truncate -s 100 "$object" ;;
        empty) : > "$object" ;;
        flipped) sed -i 's/"vcpus": 1/"vcpus": 2/' "$object" ;;
        pipe) rm "$object" && mkfifo "$object" ;;
        gone) rm "$object" ;;
        link) mv "$object" "$work/elsewhere" && ln -s "$work/elsewhere" "$object" ;;
        esac
        [ "$object" = "$record" ] || continue
        check "a record is $kind, and its copy is read" timeout 60 "$domsnap" show shop01@two
    done
    check "list does not need it, a record is $kind" timeout 60 "$domsnap" list
    check_fails "check tells, a record is $kind" 1 '(DAMAGED|NOT READ) +record shop01@two: ' timeout 60 "$domsnap" check
    check_fails "check of it, a record is $kind" 1 'record of shop01@two: ' timeout 60 "$domsnap" check shop01@two
    check_fails "check of a guest goes on to the others, a record is $kind" 1 'good +shop01@one' timeout 60 "$domsnap" check shop01
    check_fails "JSON tells, a record is $kind" 1 '"ref": "shop01@two"' timeout 60 "$domsnap" check --json
    check "create goes on, a record is $kind" timeout 60 "$domsnap" create shop01@next --config "$work/off.cfg"
    check_fails "nothing is freed, a record is $kind" 1 'are deleted, but not all.*shop01@two' timeout 60 "$domsnap" delete shop01@next
    check_fails "gc says so, too, a record is $kind" 1 'shop01@two' timeout 60 "$domsnap" gc
    check_fails "it is shown to be lost, a record is $kind" 1 'record of shop01@two: ' timeout 60 "$domsnap" show shop01@two
    check "with it deleted, a record is $kind" timeout 60 "$domsnap" delete shop01@two
    check "all is good, a record is $kind" timeout 60 "$domsnap" check --read-data
    whole
done
check "all is good again" "$domsnap" check --read-data

# ---- strays: what others may put there stops nothing, and is left alone ----

pack=$(largest)
entry=$(find "$work/repo/log" -type f | head -n 1)
echo "a note" > "$work/elsewhere"
strays=()
for folder in "" packs log state snapshots copy copy/log copy/state copy/snapshots; do
    folder=$work/repo/$folder
    mkdir -p "$folder"
    echo "a note" > "$folder/README"
    cp "$pack" "$folder/${pack##*/} copy"
    cp "$entry" "$folder/${entry##*/} copy"
    cp "$record" "$folder/${one} copy"
    cp "$record" "$folder/.${one}.swp"
    mkfifo "$folder/pipe"
    mkdir -p "$folder/lost+found/more"
    ln -s "$work/elsewhere" "$folder/linked"
    ln -s nowhere "$folder/dangling"
    ln -s .. "$folder/up"
    strays+=("$folder"/{README,pipe,lost+found/more,linked,dangling,up} "$folder/${pack##*/} copy" "$folder/${one} copy" "$folder/.${one}.swp")
done
stray() { check "$1, with strays in the repository" timeout 120 "$domsnap" "${@:2}"; }
stray list list
stray show show shop01@two
stray check check
stray "check of the content" check --read-data
stray create create shop01@strayed --config "$work/off.cfg"
stray stats stats
stray repair repair
stray delete delete shop01@strayed
stray gc gc
stray restore restore shop01@two
# So that all is folded, too.
for _ in {1..40}; do "$domsnap" check; done > /dev/null 2>&1
stray "gc that folds the log" gc
check "the log was folded" test "$(find "$work/repo/log" -type f -name '[0-9]*[0-9]' | wc -l)" -lt 10
stray "check of the content" check --read-data
check "it is as it was" sha256sum --quiet -c "$work/sums-2"
lost=
for stray in "${strays[@]}"; do [ -e "$stray" ] || [ -L "$stray" ] || lost+=" ${stray#"$work"/}"; done
check "all ${#strays[@]} are left alone:$lost" test -z "$lost"

# ---- a record under another's name ----

whole
other=$(find "$work/repo/snapshots" -type f ! -name "$one" | head -n 1)
for folder in snapshots copy/snapshots; do cp "$work/repo/$folder/${other##*/}" "$work/repo/$folder/$one"; done
check_fails "restore of a record under another's name" 1 'content of another object' "$domsnap" restore shop01@two
check_fails "check of it" 1 'DAMAGED +record shop01@two: .*content of another object' "$domsnap" check

# ---- neither config nor its copy ----

whole
harm zero "$work/repo/config"
harm zero "$work/repo/copy/config"
list_objects() { find "$work/repo" -type f -exec sha256sum {} + | sort; }
list_objects > "$work/before"
check_fails "without its config nothing is repaired" 1 'config' "$domsnap" repair
check "and nothing made anew, since the log is whole" cmp "$work/before" <(list_objects)

# ---- packs that are full of small pieces ----

rm -rf "$work/repo"
"$domsnap" init > /dev/null
"${domsnap%/*}/../bench/synth" "$work/repo" 10 20000
find "$work/repo/packs" -type f -size +2M > "$work/full"
"$domsnap" gc > /dev/null
check "gc leaves packs that are full of small pieces alone" test "$(xargs ls < "$work/full" | wc -l)" = 10
find "$work/repo/packs" -type f | sort > "$work/before"
check_fails "gc does not write anew what it has brought together" 0 '^0 B freed$' "$domsnap" gc
check "nor anything else" cmp "$work/before" <(find "$work/repo/packs" -type f | sort)
exit $failed
