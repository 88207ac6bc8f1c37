# shellcheck shell=bash
# For the scripts that write tables: results are files of lines "ROW WHAT NUMBER".

median() { # FILE ROW WHAT
    awk -v row="$2" -v what="$3" '$1 == row && $2 == what { print $3 }' "$1" | sort -n |
        awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "nan" }'
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf a < b / 10 ? "1/%.0f" : "%.2f", a < b / 10 ? b / a : a / b }'; }

# Wall seconds, CPU seconds and peak memory of a command, into the file $results.
measure() { # ROW COMMAND...
    local row=$1
    shift
    sync
    if ! /usr/bin/time -o time -f '%e %U %S %M' "$@" > log 2>&1; then
        echo "$row failed:"
        cat log
        exit 1
    fi
    awk -v row="$row" '{ printf "%s wall %.2f\n%s cpu %.2f\n%s mib %.0f\n", row, $1, row, $2 + $3, row, $4 / 1024 }' time |
        tee -a "$results"
}
