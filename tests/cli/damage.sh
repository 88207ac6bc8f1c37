#!/bin/bash
# Each kind of object × each kind of damage: what is hurt must be named, what is not must come back, what the guests still have
# must heal, and what is left must be whole. Prints a table. $1 is the program; with "all" after it, every kind of damage.
domsnap=$1 damages=(flip table zero gone)
[ "${2:-}" != all ] || damages=(flip head table cut zero swap gone)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
now=$work/now # the state of one try; $work/base is what each begins with
export DOMSNAP_REPO=$now/repo XDG_STATE_HOME=$now/state XDG_RUNTIME_DIR=$now/run XDG_CACHE_HOME=$now/cache
. "${0%/*}/common"

guests=(hurt01 hurt02 hurt03)
snapshots=({hurt01,hurt02,hurt03}@{one,two})

# ---- the state that each try begins with: three guests of one template, two snapshots of each ----

page() { # FILE PAGE COUNT
    dd if=/dev/urandom of="$1" bs=4k seek="$2" count="$3" conv=notrunc status=none
}
take() { # NAME
    local guest
    for guest in "${guests[@]}"; do
        "$domsnap" create "$guest@$1" --config "$now/$guest.cfg" || return
        sha256sum < "$now/$guest.img" > "$work/$guest@$1.sum"
    done
}
mkdir "$now"
{
    truncate -s 16M "$work/template"
    dd if="$domsnap" of="$work/template" bs=64k count=16 conv=notrunc status=none
    page "$work/template" 1024 300
    "$domsnap" init
    for i in 1 2 3; do
        guest=hurt0$i
        cp "$work/template" "$now/$guest.img"
        page "$now/$guest.img" $((1000 + 200 * i)) 3
        page "$now/$guest.img" $((3000 + 200 * i)) 70
        printf "name = '%s'\nmemory = 64\ndisk = [ '%s,raw,xvda,rw' ]\n" "$guest" "$now/$guest.img" > "$now/$guest.cfg"
    done
    take one
    for i in 1 2 3; do
        page "$now/hurt0$i.img" $((1100 + 200 * i)) 2
        page "$now/hurt0$i.img" $((3100 + 200 * i)) 5
    done
    # So that there is a state, too, and entries after it.
    for _ in {1..40}; do "$domsnap" check; done
    "$domsnap" gc
    take two
} > "$work/log" 2>&1
check "three guests, two snapshots of each" "$domsnap" check --read-data
mv "$now" "$work/base"

cd "$work/base/repo" || exit
kind_of() { head -c 64 "$1" | od -An -v -tu1 -w1 | sed -n "$kind_at p"; }
# Where a pack's head says which kind it is: where the largest and the smallest differ first.
largest=$(find packs -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
smallest=$(find packs -type f -printf '%s %p\n' | sort -n | head -n 1 | cut -d' ' -f2)
kind_at=$(cmp -l "$largest" "$smallest" 2> /dev/null | head -n 1 | awk '{ print $1 }')
mapfile -t data < <(for p in packs/*; do [ "$(kind_of "$p")" != "$(kind_of "$largest")" ] || stat -c '%s %n' "$p"; done | sort -rn | cut -d' ' -f2)
mapfile -t lists < <(for p in packs/*; do [ "$(kind_of "$p")" = "$(kind_of "$largest")" ] || stat -c '%s %n' "$p"; done | sort -rn | cut -d' ' -f2)
mapfile -t entries < <(grep -l '"kind": "add"' log/*)
mapfile -t records < <(find snapshots -type f)
mapfile -t indexes < <(cd ../ && find cache -type f -printf '%s ../%p\n' | sort -rn | cut -d' ' -f2)
state=$(find state -type f)
check "packs of both kinds, entries, a state and an index: ${#data[@]} ${#lists[@]} ${#entries[@]} ${#indexes[@]}" \
    test ${#data[@]} -ge 6 -a ${#lists[@]} -ge 6 -a ${#entries[@]} = 3 -a -n "$state" -a ${#indexes[@]} -ge 1

# What is damaged, and what it is swapped with.
declare -A objects=([data]="${data[0]} ${data[1]}" [data-last]="${data[-1]} ${data[0]}" [lists]="${lists[0]} ${lists[1]}"
    [record]="${records[0]} ${records[1]}" [record-both]="${records[0]} ${records[1]}"
    [log]="${entries[1]} ${entries[0]}" [state]="$state config" [config]="config ${entries[0]}" [index]="${indexes[0]} ${indexes[-1]}")
[ ${#indexes[@]} -gt 1 ] || objects[index]="${indexes[0]} config"

# ---- a try ----

begin() { rm -rf "$now" && cp -a "$work/base" "$now"; }

# Prints those that don't come back: as files that are made anew, for what is on a disk already is not read. It is wrong if one
# comes back as something else.
restore_all() { # SNAPSHOT...
    local ref
    for ref; do
        rm -f "$now/${ref%@*}.img"
        if "$domsnap" restore "$ref" > "$work/output" 2>&1; then
            sha256sum < "$now/${ref%@*}.img" | cmp -s - "$work/$ref.sum" || echo "$ref-is-something-else"
        else
            echo "$ref"
        fi
    done
}

expect() { # STATUS TEXT COMMAND...
    local status=0
    "${@:3}" > "$work/output" 2> "$work/told" || status=$?
    [ $status = "$1" ] || wrong+="; $2: exit $status, not $1: $(tail -n 2 "$work/told")"
}

# Whom a check names, in order.
named() { jq -r '.faults[] | select(.kind != "pack") | .ref' "$work/output" | sort -u; }

try() { # KIND HOW
    local object other hurt named left status folder deleted freed
    read -r object other <<< "${objects[$1]}"
    begin
    cd "$now/repo" || return
    for folder in "" copy/; do
        [ -z "$folder" ] || [ "$1" = record-both ] || continue
        harm "$2" "$folder$object" "$folder$other"
    done
    wrong=

    # What does not come back is what check names.
    status=0
    "$domsnap" check --read-data --json > "$work/output" 2> "$work/told" || status=$?
    cp "$work/output" "$work/checked"
    named=$(named)
    jq -e '(.faults | length) as $n | .error.message // "" | [scan("[0-9]+")] | map(tonumber) | add // 0 | . == $n' "$work/output" > /dev/null ||
        wrong+="; the error does not count what is named: $(tail -n 1 "$work/told")"
    [ $status = "$([ "$(jq '.faults | length' "$work/output")" = 0 ] && echo 0 || echo 1)" ] || wrong+="; check: exit $status"
    case $1 in
    data* | lists)
        case $2 in flip) ;; *)
                # Its table, its length: the pack itself.
            [ "$2" = head ] || grep -q "${object#packs/}" "$work/output" || wrong+="; the pack is not named"
            ;;
        esac
        # Of its head nothing is needed.
        [ "$2" = head ] || jq -e '.damaged_packs > 0 or (.faults | length) > 0' "$work/output" > /dev/null || wrong+="; nothing was seen"
        ;;
    record-both) [ -n "$named" ] || wrong+="; the record is not named" ;;
    index) [ $status = 0 ] || wrong+="; an index is no part of it" ;;
    *) jq -e '.mended > 0 and .faults == []' "$work/output" > /dev/null || wrong+="; it was not mended: $(tail -n 1 "$work/told")" ;;
    esac
    # Nor is anything else of use that this host happens to know.
    rm -rf "$now/cache"
    hurt=$(restore_all "${snapshots[@]}" | sort)
    [ "$hurt" = "$named" ] || wrong+="; hurt: $(echo $hurt); named: $(echo $named)"

    # What the guests have is stored anew, and heals.
    cp "$work"/base/*.img "$now"
    sha256sum < "$now/hurt01.img" | cmp -s - "$work/hurt01@two.sum" || wrong+="; the test is wrong"
    for guest in "${guests[@]}"; do
        cp "$work/$guest@two.sum" "$work/$guest@new.sum"
        expect 0 "create $guest" "$domsnap" create "$guest@new" --config "$now/$guest.cfg"
    done
    expect 0 repair "$domsnap" repair
    "$domsnap" check --json > "$work/output" 2> "$work/told"
    [ $? = "$([ "$(jq '.faults | length' "$work/output")" = 0 ] && echo 0 || echo 1)" ] || wrong+="; check after repair: exit status"
    named=$(named)
    left=$(restore_all "${snapshots[@]}" "${guests[@]/%/@new}" | sort)
    [ "$left" = "$named" ] || wrong+="; hurt after repair: $(echo $left); named: $(echo $named)"
    [ -z "$(comm -13 <(echo "$hurt") <(echo "$left"))" ] || wrong+="; hurt only after repair: $(echo $left)"

    # Without what is hurt, all is whole.
    # shellcheck disable=SC2086 # a list of names
    deleted=${left:-hurt01@one}
    # shellcheck disable=SC2086
    expect 0 delete "$domsnap" delete $deleted
    freed=$(sed -n 's/ freed$//p' "$work/output" | head -n 1)
    expect 0 gc "$domsnap" gc
    expect 0 "check after all" "$domsnap" check --read-data
    # shellcheck disable=SC2046 # a list of names
    named=$(restore_all $("$domsnap" list --json | jq -r '.snapshots[].ref'))
    [ -z "$named" ] || wrong+="; lost by delete and gc: $(echo $named)"
    [ "$("$domsnap" list --json | jq '.snapshots | length')" = $((9 - $(wc -w <<< "$deleted"))) ] || wrong+="; the list is not as long as it must be"
    row=$(printf '%-12s %-6s %6s %5s %6s %10s' "$1" "$2" "$status" "$(wc -w <<< "$hurt")" "$(wc -w <<< "$left")" "$freed")
}

rows=()
for kind in data data-last lists record record-both log state config index; do
    for how in "${damages[@]}"; do
        # Entries do not have their own number in them.
        [ "$kind $how" != "log swap" ] || continue
        try $kind $how
        rows+=("$row")
        if [ -z "$wrong" ]; then
            echo "ok - $kind, $how"
        else
            failed=1
            echo "not ok - $kind, $how$wrong"
        fi
    done
done
printf '\n%-12s %-6s %6s %5s %6s %10s\n' object damage check hurt after freed
printf '%s\n' "${rows[@]}"
exit $failed
