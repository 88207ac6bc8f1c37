#!/bin/bash
# The program as a user without Xen meets it: usage, messages, exit statuses. $1 is the program.
domsnap=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

expect() { # TEXT STATUS PATTERN ARGUMENT...
    local text=$1 status=$2 pattern=$3 output got
    shift 3
    output=$("$domsnap" "$@" 2>&1)
    got=$?
    if [ "$got" = "$status" ] && grep -Eq -- "$pattern" <<< "$output"; then
        echo "ok - $text"
    else
        echo "not ok - $text: exit $got, and it said: $output"
        failed=1
    fi
}

expect "--version" 0 '^domsnap [0-9]' --version
expect "--help" 0 'Usage: domsnap COMMAND' --help
expect "no command" 2 'Usage:'
expect "an unknown command" 2 'no command "frobnicate"' frobnicate
for command in create restore import recover doctor init list show check repair delete gc stats selftest; do
    expect "$command --help" 0 "Usage: domsnap $command" $command --help
    expect "$command with an unknown option" 2 'unrecognized option' $command --frobnicate
done
# The manual has each command's options.
missing=
for command in create restore import recover doctor init list show check repair delete gc stats selftest; do
    for option in $("$domsnap" $command --help | sed -nE 's/^ +(-., +)?--([a-z-]+).*/\2/p' | grep -vxE 'help|usage'); do
        grep -q -- "Fl -$option\b\|, -$option\b" "${0%/*}/../../docs/domsnap.8" || missing+=" $command --$option"
    done
done
if [ -z "$missing" ]; then echo "ok - domsnap(8) has all options"; else echo "not ok - domsnap(8) lacks$missing"; failed=1; fi
expect "create without a domain" 2 'which DOMAIN' create --to "$work/x"
expect "create into a folder and a repository" 2 'for a repository, not a folder' create linux01@x --to "$work/x"
expect "create of two domains" 2 'one DOMAIN' create a b --to "$work/x"
expect "create of an impossible name" 2 "can't begin with" create .hidden --to "$work/x"
expect "restore of nothing" 2 'or --from DIR' restore
expect "restore of two things" 2 'give either' restore linux01@x --from "$work"
expect "show of no snapshot" 2 'DOMAIN@NAME' show linux01
expect "a repository of a running guest's options" 2 'are for a repository' create linux01@x --to "$work/x"
expect "options of a running guest, of one that does not run" 2 'does not run' create --config x --cold
expect "check of some of a folder" 2 'a folder is always read as a whole' check --from "$work" --read-data=10
expect "check of more than all" 2 'not a number from 1 to 100' check --read-data=101
expect "check of a folder and a repository" 2 'not a folder' check --from "$work" --repo "$work"
expect "check of nowhere" 1 'No such file' check --from "$work/nowhere"
expect "verify, which is called check now" 2 'no command "verify"' verify
expect "delete of nothing" 2 'which ones' delete
expect "gc of something" 2 'takes no arguments' gc linux01
expect "repair of something" 2 'takes no arguments' repair linux01
expect "stats of something" 2 'takes no arguments' stats linux01
expect "restore --skip-damaged of a folder" 2 'is for a repository' restore --from "$work" --skip-damaged
expect "list of what is not mounted" 1 'is its file system mounted' list --repo "$work"
expect "restore from nowhere" 1 'No such file' restore --from "$work/nowhere"
expect "restore from an empty folder" 1 'no manifest.json' restore --from "$work"
expect "import of an empty folder" 1 'no .sav file' import "$work"
expect "import of a wrong option" 2 'VDEV=FILE' import "$work" --disk xvda

echo "not a save file at all, but long enough to hold the head of one" > "$work/linux01.sav"
expect "import of no save file" 1 'not a save file' import "$work"
echo '{"format": "domsnap-manifest"' > "$work/manifest.json"
expect "restore with a broken manifest" 1 'not valid JSON' restore --from "$work"
echo '{"format": "domsnap-manifest", "version": 1}' > "$work/manifest.json"
expect "restore with a manifest without a seal" 1 'no checksum of itself' restore --from "$work"

if [ -e /sys/hypervisor/type ]; then
    echo "skipped - this machine runs Xen: its messages without Xen were not seen"
else
    expect "create without Xen" 1 'does not run Xen' create linux01 --to "$work/x"
    expect "doctor without Xen" 1 'does not run Xen' doctor
    expect "errors as JSON" 1 '"status": "unsupported"' create linux01 --to "$work/x" --json
    [ ! -e "$work/x" ] && echo "ok - nothing was made" || { echo "not ok - $work/x was made"; failed=1; }
fi
exit $failed
