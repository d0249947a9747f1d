#!/bin/sh
# carat train: overrides, Ctrl-C and --resume, --memory, exit codes, and what the command prints.
set -eu
carat=${CARAT:-build/carat}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
text=${CARAT_SOURCE:-.}/LICENSE
recipe=${CARAT_SOURCE:-.}/recipes/gpt-tiny.yaml

fail() {
    echo "$*"
    exit 1
}
# code COMMAND...: its exit code.
code() {
    status=0
    "$@" >"$folder/out" 2>"$folder/err" || status=$?
    echo $status
}

# Overrides, and the plan that stands in the report.
[ "$(code "$carat" train "$recipe" "data.train=$text" max_steps=6 save_steps=3 out="$folder/run" --json)" = 0 ] ||
    fail "$(cat "$folder/err")"
for key in weights_hash loss_hash bits_per_byte_after perplexity_before measured_peak tokens_per_second; do
    grep -q "\"$key\":" "$folder/out" || fail "--json has no $key"
done
hash=$(sed -E 's/.*"weights_hash":"([0-9a-f]*)".*/\1/' "$folder/out")
for file in config.json model.safetensors tokenizer.json generation_config.json loss.svg report.json recipe.yaml; do
    [ -s "$folder/run/$file" ] || fail "$file is missing"
done

# A second run into the same folder is refused, as wrong usage.
[ "$(code "$carat" train "$recipe" "data.train=$text" max_steps=6 out="$folder/run")" = 2 ]
grep -q 'holds another run' "$folder/err" || fail "$(cat "$folder/err")"

# Under a budget: the same bits, or the smallest budget that would do.
[ "$(code "$carat" train "$recipe" "data.train=$text" max_steps=6 out="$folder/small" --memory 2M)" = 1 ]
grep -q 'needs at least [0-9]*M' "$folder/err" || fail "$(cat "$folder/err")"
least=$(sed -E 's/.*needs at least ([0-9]*)M.*/\1/' "$folder/err")
[ "$(code "$carat" train "$recipe" "data.train=$text" max_steps=6 save_steps=3 out="$folder/small" \
    --memory "$((least + 1))M" --json)" = 0 ] || fail "$(cat "$folder/err")"
grep -q "\"weights_hash\":\"$hash\"" "$folder/out" || fail "another hash under a memory budget"

# Ctrl-C saves and exits with 0; --resume ends where the whole run does.
"$carat" train "$recipe" "data.train=$text" max_steps=100000 lr_scheduler_type=constant out="$folder/stopped" \
    --json >"$folder/out" 2>"$folder/err" &
process=$!
tries=0
until [ -s "$folder/stopped/train.jsonl" ] && [ "$(wc -l <"$folder/stopped/train.jsonl")" -ge 3 ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || fail "the run did not begin"
    sleep 0.1
done
kill -INT $process
status=0
wait $process || status=$?
[ $status = 0 ] || fail "Ctrl-C: exit code $status"
grep -q '"interrupted":true' "$folder/out" || fail "Ctrl-C: $(cat "$folder/out")"
steps=$(sed -E 's/.*"steps":([0-9]*).*/\1/' "$folder/out")
[ -s "$folder/stopped/checkpoint-$steps/trainer_state.json" ] || fail "no checkpoint of step $steps"
more=$((steps + 20))
for run in stopped whole; do
    [ "$(code "$carat" train "$recipe" "data.train=$text" max_steps=$more lr_scheduler_type=constant \
        out="$folder/$run" --resume --json)" = 0 ] || fail "$(cat "$folder/err")"
    sed -E 's/.*"weights_hash":"([0-9a-f]*)","loss_hash":"([0-9a-f]*)".*/\1 \2/' "$folder/out" >"$folder/$run.hash"
done
cmp "$folder/stopped.hash" "$folder/whole.hash"

# Wrong usage.
[ "$(code "$carat" train "$recipe" "data.train=$text" learning_rte=1 out="$folder/no")" = 2 ]
grep -q 'learning_rate' "$folder/err" || fail "no suggestion: $(cat "$folder/err")"
[ "$(code "$carat" train "$folder/missing.yaml" out="$folder/no")" = 1 ]
[ ! -e "$folder/no" ] || fail "a refused run made its folder"
