#!/bin/bash
# What SECURITY.md promises of files, links and names. $1 is the program; domsnap-xen and
# domsnap-faults lie beside it. Not for root, whom permissions do not hold back.
domsnap=$1
faults=${1%/*}/domsnap-faults
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOMSNAP_REPO=$work/repo XDG_STATE_HOME=$work/state XDG_RUNTIME_DIR=$work/run XDG_CACHE_HOME=$work/cache
umask 000
. "${0%/*}/common"

refused() { # TEXT STATUS PATTERN COMMAND...
    local text=$1 status=$2 pattern=$3 output got
    shift 3
    output=$(timeout 60 "$@" 2>&1 < /dev/null)
    got=$?
    if [ "$got" = "$status" ] && grep -Eq -- "$pattern" <<< "$output" && ! grep -q '[[:cntrl:]]' <<< "$output"; then
        echo "ok - $text"
    else
        echo "not ok - $text: exit $got, and it said: $(cat -v <<< "$output")"
        failed=1
    fi
}

config() { # NAME
    printf "name = \"%s\"\nmemory = 64\ndisk = [ '%s,raw,xvda,rw' ]\n" "$1" "$work/one.img"
}
config off01 > "$work/off.cfg"
dd if=/dev/urandom of="$work/one.img" bs=64k count=8 status=none

# ---- modes ----

open_to_others() { find "$work/repo" "$work/state" "$work/run" "$work/cache" "$work/folder" -perm /077 2> /dev/null; }

"$domsnap" init > "$work/log" && "$domsnap" create off01@one --config "$work/off.cfg" >> "$work/log" &&
    "$domsnap" create --config "$work/off.cfg" --to "$work/folder" >> "$work/log" || exit
check "umask 000: folders are 0700" test -z "$(find "$work/repo" "$work/folder" "$work/state/domsnap" "$work/run/domsnap" "$work/cache/domsnap" -type d ! -perm 700)"
check "umask 000: files are 0600" test -z "$(find "$work/repo" "$work/folder" "$work/state" "$work/run" "$work/cache" -type f ! -perm 600)"
mkdir "$work/wide" && "$domsnap" init "$work/wide" > "$work/log"
check "a folder for others becomes a repository for its owner alone" test "$(stat -c %a "$work/wide")" = 700
mode=$(stat -c %a "$work/one.img")
mv "$work/one.img" "$work/kept.img"
"$domsnap" restore off01@one > "$work/log"
check "a file that restore makes has the mode that it had" test "$(stat -c %a "$work/one.img")" = "$mode"

cp -a "$work/folder" "$work/kept"
dies() { # POINT ARGUMENT...
    DOMSNAP_FAULT="$1 1 kill" "$faults" "${@:2}"
}
open='' killed=0
for point in $("$faults" --fault-points | cut -d' ' -f1); do
    for command in "create off01@$point" "create --to $work/folder"; do
        rm -rf "$work/folder"
        # shellcheck disable=SC2086 # words of a command
        dies "$point" $command --config "$work/off.cfg" > "$work/log" 2>&1
        [ $? != 137 ] || killed=$((killed + 1))
        open+=$(open_to_others)
        "$domsnap" recover > "$work/log"
    done
done
check "at whatever point it is killed ($killed), nothing is for others" test -z "$open" -a $killed -gt 5
mv "$work/kept" "$work/folder"

# ---- links ----

plant() { # PATH: what it is goes elsewhere, and a link to there takes its place
    mv "$1" "$work/elsewhere"
    ln -s "$work/elsewhere" "$1"
    touch -hd 2001-01-01 "$work/elsewhere"
    find "$work/elsewhere" -printf '%p %s %T@\n' > "$work/before"
}
uproot() { # PATH
    check "$1: nothing was written through the link" cmp "$work/before" <(find "$work/elsewhere" -printf '%p %s %T@\n')
    rm "$work/$1"
    mv "$work/elsewhere" "$work/$1"
}
link='symbolic link, and none is followed'

record=$(find "$work/repo/snapshots" -type f | head -n 1)
record=snapshots/${record##*/}
grep -q '"name": "one"' "$work/repo/$record" || record=snapshots/$(basename "$(grep -l '"name": "one"' "$work"/repo/snapshots/*)")
cp -a "$work/repo" "$work/repo.kept"
anew() { rm -rf "$work/repo" && cp -a "$work/repo.kept" "$work/repo"; }
for place in packs snapshots log state copy copy/log copy/snapshots; do
    plant "$work/repo/$place"
    # Of records one of the two will do, and is told of.
    [ "$place" = copy/snapshots ] && status=0 || status=1
    refused "$place is a link: create" $status "$link" "$domsnap" create off01@y --config "$work/off.cfg"
    case $place in
    copy/snapshots) check "$place is a link: restore" "$domsnap" restore off01@one ;;
    snapshots) refused "$place is a link: restore" 0 "$link.*its copy was read" "$domsnap" restore off01@one ;;
    *) refused "$place is a link: restore" 1 "$link" "$domsnap" restore off01@one ;;
    esac
    # It is forgotten all the same, if the log can be written.
    refused "$place is a link: delete" 1 "$link" "$domsnap" delete off01@one
    uproot "repo/$place"
    anew
done
# Of what is there twice a link is no object: the other is read.
for place in config "$record" "log/$(ls "$work/repo/log" | tail -n 1)"; do
    plant "$work/repo/$place"
    check "$place is a link: its copy is read" "$domsnap" show off01@one
    check "$place is a link: restore" "$domsnap" restore off01@one
    uproot "repo/$place"
    mv "$work/repo/copy/$place" "$work/other"
    plant "$work/repo/$place"
    refused "$place is a link, and has no copy" 1 "$link" "$domsnap" show off01@one
    uproot "repo/$place"
    mv "$work/other" "$work/repo/copy/$place"
done
for pack in "$work"/repo/packs/*; do
    plant "$pack"
    refused "a pack is a link" 1 'DAMAGED' "$domsnap" check
    uproot "repo/packs/${pack##*/}"
    anew
done
find "$work/cache" -type f > "$work/indexes"
while read -r idx; do
    plant "$idx"
    check "an index file is a link: it is left out" "$domsnap" check off01@one
    uproot "${idx#"$work"/}"
done < "$work/indexes"
for file in manifest.json off01.cfg off01.xvda.img; do
    plant "$work/folder/$file"
    refused "$file of a folder is a link: check" 1 "$link" "$domsnap" check --from "$work/folder"
    refused "$file of a folder is a link: restore" 1 "$link" "$domsnap" restore --from "$work/folder"
    uproot "folder/$file"
done
mkdir "$work/to"
for file in manifest.json off01.cfg off01.xvda.img .manifest.json.part .off01.cfg.part .off01.xvda.img.part; do
    ln -s "$work/nowhere" "$work/to/$file"
    refused "--to a folder where $file is a link" 1 "$file exists" "$domsnap" create --config "$work/off.cfg" --to "$work/to"
    rm "$work/to/$file"
done
check "and nothing is left there" rmdir "$work/to"
ln -s "$work/nowhere" "$work/to"
refused "--to a link that leads nowhere" 1 "$link" "$domsnap" create --config "$work/off.cfg" --to "$work/to"
plant "$work/state/domsnap/journal"
refused "the journal's folder is a link" 1 "$link" "$domsnap" create --config "$work/off.cfg" --to "$work/x"
uproot state/domsnap/journal
for file in state/domsnap/journal/off01.json run/domsnap/off01.lock; do
    rm -f "$work/$file"
    ln -s "$work/nowhere" "$work/$file"
    refused "$file is a link" 1 "$link" "$domsnap" create --config "$work/off.cfg" --to "$work/x"
    rm "$work/$file"
done
ln -s "$work/nowhere" "$work/state/domsnap/journal/.off01.json.new"
check "the journal's temporary file is a link: it is removed" "$domsnap" create --config "$work/off.cfg" --to "$work/x"
check "nothing was made where the links lead" test ! -e "$work/nowhere"

# Who waits for the other end of a pipe waits for ever.
for file in folder/manifest.json folder/off01.cfg; do
    mv "$work/$file" "$work/elsewhere"
    mkfifo "$work/$file"
    refused "$file is a pipe" 1 'not a file|neither a file' "$domsnap" restore --from "$work/folder"
    mv "$work/elsewhere" "$work/$file"
done
for file in config "$record"; do
    for copy in "" copy/; do
        mv "$work/repo/$copy$file" "$work/elsewhere${copy%/}"
        mkfifo "$work/repo/$copy$file"
        if [ -z "$copy" ]; then
            check "$file is a pipe, and its copy is read" timeout 60 "$domsnap" restore off01@one
        else
            refused "$file and its copy are pipes" 1 'it is not a regular file' "$domsnap" restore off01@one
        fi
    done
    for copy in "" copy/; do mv "$work/elsewhere${copy%/}" "$work/repo/$copy$file"; done
done
stray=0123456789abcdef-$(printf '%064d' 0)
mkfifo "$work/repo/packs/$stray"
check "what is called as a pack is a pipe: check" timeout 60 "$domsnap" check off01@one
check "what is called as a pack is a pipe: gc" timeout 60 "$domsnap" gc
rm "$work/repo/packs/$stray"

# ---- names ----

long=$(printf '%0101d' 0)
for name in .. . ../x a/b /x .x -x x@y $'a\tb' $'a\e[2Jb' $'a\xc2\x9bb' "$long" ''; do
    status=2
    # Without a name it is the file that is wrong.
    [ -n "$name" ] || status=1
    printable=$(cat -v <<< "$name")
    config "$name" > "$work/bad.cfg"
    refused "a configuration's name \"$printable\"" $status 'name' "$domsnap" create --config "$work/bad.cfg"
    [ "$name" = x@y ] && continue
    for command in restore show check delete; do
        refused "$command of the domain \"$printable\"" 2 'name' "$domsnap" $command -- "$name@one"
    done
    refused "list of the domain \"$printable\"" 2 'name' "$domsnap" list -- "$name"
done
for name in .. . ../x a/b -x .x $'a\tb' $'a\e[2Jb' $'\xff' "${long:0:65}" ''; do
    printable=$(cat -v <<< "$name")
    refused "create of the snapshot \"$printable\"" 2 'name' "$domsnap" create "off01@$name" --config "$work/off.cfg"
    for command in restore show check delete; do
        refused "$command of the snapshot \"$printable\"" 2 'name' "$domsnap" $command "off01@$name"
    done
done
refused "a folder's path that is not UTF-8" 1 'UTF-8' "$domsnap" create --config "$work/off.cfg" --to "$work/"$'\xff'
refused "what was named is shown without its control characters" 1 'no\?\[2J' "$domsnap" create --config $'no\e[2J'
check "nothing is left to recover" test "$("$domsnap" recover)" = "nothing to recover"
check "and all is as it was" "$domsnap" check --read-data
exit $failed
