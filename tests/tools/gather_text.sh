#!/bin/sh
# The text for `make run`: enough of it, UTF-8, the same twice, within the limit, few repeats; errors are clear.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "gather_text: $1" >&2
    exit 1
}

tools/gather-text.sh "$work/a/text.txt" 3 >"$work/said" || fail "did not gather"
tools/gather-text.sh "$work/b.txt" 3 >/dev/null
cmp "$work/a/text.txt" "$work/b.txt" || fail "two runs differ"
size=$(wc -c <"$work/b.txt")
[ "$size" -ge 1000000 ] || fail "only $size bytes, expected at least 1000000"
[ "$size" -le 3010000 ] || fail "$size bytes, expected at most 3 MB"
iconv -f UTF-8 -t UTF-8 "$work/b.txt" >/dev/null || fail "not UTF-8"
grep -q "$(printf '%s' "$size" | sed 's/\(...\)\(...\)$/,\1,\2/') bytes" "$work/said" || fail "does not say its size"
# A paragraph that stands in many packages' licences is there once.
count=$(tr '\n' ' ' <"$work/b.txt" | tr -s ' ' |
    grep -o 'The licenses for most software and other practical works are designed' | wc -l)
[ "$count" -eq 1 ] || fail "the preamble of the GPL is there $count times, expected once"

! tools/gather-text.sh "$work/b.txt/no" 3 2>"$work/error" || fail "wrote below a file"
grep -q "b.txt/no" "$work/error" || fail "the error does not name the file"
! tools/gather-text.sh "$work/c.txt" much 2>"$work/error" || fail "took 'much' for a number"
[ ! -e "$work/c.txt" ] || fail "left a file after an error"
