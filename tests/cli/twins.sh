#!/bin/bash
# What a repository has twice (its config, the log, its state, the records): each × how it is damaged × which of the two × what
# is asked of it then. $1 is the program.
domsnap=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
now=$work/now # the state of one try; $work/base is what each begins with
export DOMSNAP_REPO=$now/repo XDG_STATE_HOME=$now/state XDG_RUNTIME_DIR=$now/run XDG_CACHE_HOME=$now/cache
. "${0%/*}/common"

# ---- what is asked ----

asked=(list show check create restore delete delete_it gc)
list() { "$domsnap" list; }
show() { "$domsnap" show twin01@two; }
check_() { "$domsnap" check; }
create() { "$domsnap" create twin01@more --config "$now/off.cfg"; }
restore() { "$domsnap" restore twin01@two; }
delete() { "$domsnap" delete twin01@one; }
delete_it() { "$domsnap" delete twin01@two; }
gc() { "$domsnap" gc; }

# ---- what must come of it, if both are damaged: the exit status of each that is asked, in that order; and what is said ----

# With one that is whole, all goes as if nothing had happened.
declare -A both=(
    # Nothing can be said of a repository without it.
    [config damaged]='1 1 1 1 1 1 1 1' [config gone]='1 1 1 1 1 1 1 1'
    # What was said in the last, and any that follow, might have been anything.
    [last damaged]='1 1 1 1 1 1 1 1'
    # Both of the last: it is as if it had never been said, and nobody can know. (This one tells of twin01@three.)
    [last gone]='0 0 0 0 0 0 0 0'
    [earlier damaged]='1 1 1 1 1 1 1 1' [earlier gone]='1 1 1 1 1 1 1 1'
    # The entries before it were removed for it.
    [state damaged]='1 1 1 1 1 1 1 1' [state gone]='1 1 1 1 1 1 1 1'
    # It hurts one snapshot, and what can be freed is not known, until that is deleted. Then all is well.
    [record damaged]='0 1 1 0 1 1 0 1' [record gone]='0 1 1 0 1 1 0 1'
)
declare -A said=(
    [config damaged]='config: .*(not valid JSON|checksum)' [config gone]='domsnap init'
    [last damaged]='log/[0-9]+: .*nothing after it can be trusted' [earlier damaged]='log/[0-9]+: .*nothing after it can be trusted'
    [earlier gone]='log/[0-9]+ is missing, and so nothing after it can be trusted'
    [state damaged]='state/[0-9]+: ' [state gone]='log/[0-9]+ is missing, and so nothing after it can be trusted'
    [record damaged]='record.*twin01@two|twin01@two: ' [record gone]='record.*twin01@two|twin01@two: '
)

# ---- the state that each try begins with: a state, and entries after it ----

mkdir "$now"
printf "name = 'twin01'\nmemory = 64\ndisk = [ '%s,raw,xvda,rw' ]\n" "$now/one.img" > "$now/off.cfg"
dd if=/dev/urandom of="$now/one.img" bs=64k count=20 status=none
{
    "$domsnap" init
    "$domsnap" create twin01@one --config "$now/off.cfg"
    dd if=/dev/urandom of="$now/one.img" bs=4k count=3 seek=33 conv=notrunc status=none
    "$domsnap" create twin01@two --config "$now/off.cfg"
    sha256sum "$now/one.img" > "$work/two.sum"
    for _ in {1..40}; do "$domsnap" check; done
    "$domsnap" gc
    "$domsnap" create twin01@three --config "$now/off.cfg"
} > "$work/log" 2>&1
mv "$now" "$work/base"
cd "$work/base/repo" || exit
mapfile -t entries < <(find log -type f | sort)
declare -A objects=(
    [config]=config
    [last]=${entries[-1]}
    [earlier]=${entries[-2]}
    [state]=$(find state -type f)
    [record]=$(grep -l '"name": "two"' snapshots/*)
)
check "there is one state, and entries after it: $(echo "${objects[@]}")" test "$(wc -w <<< "${objects[*]}") ${#entries[@]}" = "5 2"

# ---- the tries ----

begin() { rm -rf "$now" && cp -a "$work/base" "$now"; }

# Prints what is not as it should be.
try() { # OBJECT HOW WHICH COMMAND STATUS
    local object=${objects[$1]} status=0 kind=damaged
    begin
    [ "$2" != gone ] || kind=gone
    [ "$3" = copy ] || harm "$2" "$now/repo/$object"
    [ "$3" = first ] || harm "$2" "$now/repo/copy/$object"
    if [ "$4" = check ]; then check_; else "$4"; fi > "$work/output" 2>&1 || status=$?
    [ $status = "$5" ] || { echo "$4: exit $status, not $5: $(tail -n 2 "$work/output")" && return; }
    [ $status = 0 ] || grep -qE "${said[$1 $kind]}" "$work/output" || { echo "$4 says $(cat "$work/output")" && return; }
    [ $status = 0 ] || return
    case $4 in
    list) grep -q twin01@two "$work/output" || echo "list lacks twin01@two" ;;
    restore) sha256sum --quiet -c "$work/two.sum" || echo "what was restored is something else" ;;
    esac
    # Nothing else is lost, and nothing is believed to be.
    case $4 in create | delete* | gc) ;; *) return ;; esac
    if [ "$3" != both ] && [ $2 != cut ]; then
        "$domsnap" check --read-data > "$work/output" 2>&1 || echo "after $4, check says $(tail -n 2 "$work/output")"
        [ "$4" = delete_it ] || { "$domsnap" restore twin01@two && sha256sum --quiet -c "$work/two.sum"; } > "$work/output" 2>&1 ||
            echo "after $4: $(tail -n 2 "$work/output")"
        [ "$4" != create ] || "$domsnap" show twin01@more > "$work/output" 2>&1 || echo "create has made nothing"
    fi
}

for object in config last earlier state record; do
    for how in flip cut zero gone; do
        for which in first copy both; do
            kind=damaged wrong=
            [ $how != gone ] || kind=gone
            read -ra statuses <<< "$([ $which = both ] && echo "${both[$object $kind]}" || echo 0 0 0 0 0 0 0 0)"
            for i in "${!asked[@]}"; do
                # What is said of one that is cut, or zeros, is said by the same code to all.
                case $how-${asked[i]} in
                cut-show | cut-check | cut-create | zero-list | zero-check | zero-gc) ;;
                cut-* | zero-*) continue ;;
                esac
                wrong+=$(try $object $how $which "${asked[i]}" "${statuses[i]}")
            done
            text="$object: $which of the two, $how: $(echo "${statuses[@]}")"
            if [ -z "$wrong" ]; then
                echo "ok - $text"
            else
                failed=1
                echo "not ok - $text: $wrong"
            fi
        done
    done
done

# ---- what is mended ----

for object in config last earlier state record; do
    for which in "" copy/; do
        begin
        harm flip "$now/repo/$which${objects[$object]}"
        "$domsnap" check > "$work/output" 2>&1
        "$domsnap" create twin01@more --config "$now/off.cfg" > "$work/output" 2>&1
                "$domsnap" gc > "$work/output" 2>&1
        # The log is folded by then.
        check "$which$object: one of the two that was damaged is whole again, or gone" \
            bash -c "[ ! -e '$now/repo/$which${objects[$object]}' ] || cmp '$now/repo/${objects[$object]}' '$now/repo/copy/${objects[$object]}'"
    done
done
exit $failed
