# shellcheck shell=bash
# For the scripts that write tables: results are files of lines "ROW WHAT NUMBER".

median() { # FILE ROW WHAT
    awk -v row="$2" -v what="$3" '$1 == row && $2 == what { print $3 }' "$1" | sort -n |
        awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "nan" }'
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf a < b / 10 ? "1/%.0f" : "%.2f", a < b / 10 ? b / a : a / b }'; }
