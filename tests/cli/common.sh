# common.sh - what the tests of the command share. To be sourced: a folder of its own that goes away at the end, and
# checks that say what was expected.
# shellcheck shell=bash
set -eu
export LC_ALL=C
carat=${CARAT:-build/carat}
source_root=${CARAT_SOURCE:-$PWD}
work=$(mktemp -d "${TMPDIR:-/tmp}/carat-cli-XXXXXX")
trap 'rm -rf "$work"' EXIT

ok() { echo "ok $1"; }

fail() {
    echo "FAILED: $1" >&2
    [ ! -s "$work/out" ] || { echo "--- standard output" >&2; head -c 2000 "$work/out" >&2; }
    [ ! -s "$work/err" ] || { echo "--- standard error" >&2; head -c 2000 "$work/err" >&2; }
    exit 1
}

# exits CODE ARGUMENTS...: runs the command; its output is in $work/out and $work/err.
exits() {
    local expected=$1 code=0
    shift
    "$carat" "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
    [ "$code" = "$expected" ] || fail "carat $*: exit code $code, expected $expected"
}

# says WORDS...: each of them is in standard error; prints WORDS...: in standard output.
says() {
    for words in "$@"; do grep -qF -- "$words" "$work/err" || fail "standard error does not say: $words"; done
}
prints() {
    for words in "$@"; do grep -qF -- "$words" "$work/out" || fail "standard output does not say: $words"; done
}
silent() { [ ! -s "$work/err" ] || fail "standard error is not empty"; }

# json EXPRESSION: true of standard output, one line of JSON, as `r`.
json() {
    python3 - "$work/out" "$1" <<'PYTHON' || fail "not so: $1"
import json, math, sys
lines = open(sys.argv[1], encoding="utf-8").read().split("\n")
assert len(lines) == 2 and lines[1] == "", "expected one line"
def refuse(word): raise ValueError(word + " is not JSON")
r = json.loads(lines[0], parse_constant=refuse)
sys.exit(0 if eval(sys.argv[2]) else 1)
PYTHON
}

same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }

# A model folder $work/model with a character tokenizer, trained for 2 steps on README.md.
make_model() {
    rm -rf "$work/model"
    cat >"$work/recipe.yaml" <<YAML
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
tokenizer: {kind: ${1:-characters}}
data: {train: $source_root/README.md}
context: 32
per_device_train_batch_size: 2
max_steps: 2
logging_steps: 1
eval_batches: 2
save_steps: 0
output_dir: $work/model
YAML
    "$carat" train "$work/recipe.yaml" --json >"$work/out" 2>"$work/err" || fail "training the model for the test"
}

# An installed copy of the build below $dest, as `meson install --destdir` leaves it; pkg-config finds it. Ends the test as
# skipped where that cannot be done.
install_copy() {
    [ -n "${CARAT_BUILD:-}" ] && command -v meson >/dev/null && command -v pkg-config >/dev/null ||
        { echo "SKIPPED: meson, pkg-config or CARAT_BUILD is missing"; exit 77; }
    dest=$work/dest
    meson install -C "$CARAT_BUILD" --no-rebuild --quiet --destdir "$dest" >"$work/out" 2>"$work/err" || fail "meson install"
    local pc
    pc=$(find "$dest" -name carat.pc)
    [ -n "$pc" ] || fail "there is no carat.pc in what was installed"
    export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$dest
    carat=$(find "$dest" -path '*/bin/carat')
    [ -x "$carat" ] || fail "there is no command in what was installed"
    library=$(find "$dest" -name 'libcarat.so')
}
