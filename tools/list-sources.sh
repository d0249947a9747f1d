#!/bin/sh
# Lists the files of one part of the project, sorted, relative to the repository's root. Meson asks for them at
# configure time; `list-sources.sh all` is what the Makefile compares to see that it must reconfigure.
#
#   list-sources.sh library | plain | avx2 | avx512 | command | claims | verbs | headers | recipes | kinds | kind NAME
#                   | tests | reach | checkasm | fuzz | scripts | benchmarks | all
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."

# Files under the given folders; those that do not exist yet hold none.
found() {
    folders=
    while [ "$1" != -- ]; do
        [ -d "$1" ] && folders="$folders $1"
        shift
    done
    shift
    [ -n "$folders" ] || return 0
    # shellcheck disable=SC2086 # names of folders have no spaces
    find $folders -type f "$@" | sort -u
}

# Kinds are those whose header declares the table that method-table.sh writes; their methods are the files with
# `const ct_KIND_method ct_KIND_NAME = {`.
kinds() {
    found include/carat -- -name '*.h' -exec \
        sed -nE 's/^extern const ct_([a-z_]+)_method \*const ct_\1_methods\[\].*/\1/p' {} +
}
methods() {
    found src -- -name '*.c' -exec grep -lE "^const ct_$1_method ct_$1_[a-z0-9_]+ *=" {} +
}

case "${1:-}" in
library) found src -- -name '*.c' ! -path 'src/cli/*' ! -name '*_avx2.c' ! -name '*_avx512.c' ! -name '*_plain.c' ;;
plain) found src/tensor/cpu -- -name '*_plain.c' ;;
avx2) found src/tensor/cpu -- -name '*_avx2.c' ;;
avx512) found src/tensor/cpu -- -name '*_avx512.c' ;;
command) found src/cli -- -name '*.c' ;;
claims) found claims -- -name '*.c' ;;
claim-fixtures) found tests/claims/fixtures -- -name '*.c' ;;
verbs) found src/cli -- -name '*.c' -exec sed -nE 's/^const ct_verb ct_verb_([a-z]+) *=.*/\1/p' {} + | sort ;;
headers) found include/carat -- -name '*.h' ;;
recipes) found recipes -- -name '*.yaml' -o -name '*.jsonl' -o -name '*.csv' ;;
kinds) kinds ;;
kind) methods "$2" ;;
tests) found tests -- -name 'test_*.c' ! -path 'tests/reach/*' ! -path 'tests/checkasm/*' ! -path 'tests/fuzz/*' ;;
test-helpers) found tests -- -name '*.c' ! -name 'test_*.c' ! -path 'tests/reach/*' ! -path 'tests/checkasm/*' \
    ! -path 'tests/claims/fixtures/*' ! -path 'tests/fuzz/*' ;;
reach) found tests/reach -- -name '*.c' ;;
checkasm) found tests/checkasm -- -name '*.c' ;;
fuzz) found tests/fuzz -- -name 'fuzz_*.c' ! -name 'fuzz_main.c' ;;
scripts) found tests/cli tests/tools -- -name '*.sh' ! -name 'lib.sh' ! -name 'common.sh' ;;
benchmarks) found bench/kernels -- -name '*.c' ;;
all)
    for part in library plain avx2 avx512 command claims claim-fixtures headers recipes tests test-helpers reach checkasm fuzz scripts \
        benchmarks kinds; do
        "$0" "$part"
    done
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
