#!/bin/bash
# Which domsnap-xen the program hands over to, and what it does without any. $1 is the program;
# domsnap-xen and domsnap-faults lie beside it.
domsnap=$1
faults=${1%/*}/domsnap-faults
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DOMSNAP_REPO=$work/repo XDG_STATE_HOME=$work/state XDG_RUNTIME_DIR=$work/run XDG_CACHE_HOME=$work/cache
. "${0%/*}/common"

alone=$work/domsnap
cp "$domsnap" "$alone"
cat > "$work/off.cfg" << END
name = "exec01"
memory = 64
disk = [ '$work/one.img,raw,xvda,rw' ]
END
dd if=/dev/urandom of="$work/one.img" bs=64k count=4 status=none
cp "$work/one.img" "$work/kept.img"
"$domsnap" create --config "$work/off.cfg" --to "$work/folder" > "$work/log" || exit

check "it links no library of Xen's" test -z "$(ldd "$domsnap" | grep -E 'libx(en|l)')"

if [ -e /sys/hypervisor/type ] || [ -e /usr/lib/domsnap ] || [ -e /usr/local/lib/domsnap ]; then
    echo "skipped - this machine runs Xen, or has a domsnap-xen: what the program does without was not seen"
else
    check_fails "without domsnap-xen: a command's help" 0 '^Usage: domsnap create' "$alone" create --help
    check_fails "create" 1 'does not run Xen' "$alone" create exec01 --to "$work/x"
    check_fails "create --config" 1 "/off.cfg: .* without the package domsnap-xen-[0-9]+\.[0-9]+$" \
        "$alone" create --config "$work/off.cfg" --to "$work/x"
    check_fails "doctor" 1 'does not run Xen' "$alone" doctor
    check_fails "recover" 0 'nothing to recover' "$alone" recover
    rm "$work/one.img"
    check "restore of an image file" "$alone" restore --from "$work/folder"
    check "it is as it was" cmp "$work/one.img" "$work/kept.img"
    printf x | dd of="$work/one.img" bs=1 seek=5000 conv=notrunc status=none
    DOMSNAP_FAULT="target-written 1 kill" "$faults" restore --from "$work/folder" > "$work/log" 2>&1
    check_fails "recover of a restore that was cut short" 0 'exec01: .* was finished' "$alone" recover
    check "it is as it was" cmp "$work/one.img" "$work/kept.img"
fi

# One that says what it was given.
printf '#!/bin/sh\necho "handed over: $*"\nexit 3\n' > "$work/domsnap-xen"
chmod +x "$work/domsnap-xen"
mkdir "$work/bin"
ln -s "$alone" "$work/bin/domsnap"
for command in create restore recover doctor; do
    check_fails "$command is handed over to the one beside it" 3 "^handed over: $command --to a b$" "$work/bin/domsnap" $command --to "a b"
done
for command in init list show check repair delete gc stats import frobnicate --version --help; do
    check "$command is not" test -z "$("$alone" $command "$work/none" 2>&1 | grep 'handed over')"
done
exit $failed
