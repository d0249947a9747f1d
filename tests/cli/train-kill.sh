#!/bin/sh
# A run that is killed with SIGKILL again and again, at random instants, and goes on each time ends with the same
# weights and losses as a run that was left alone.
set -eu
carat=${CARAT:-build/carat}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
text=${CARAT_SOURCE:-.}/LICENSE

cat >"$folder/recipe.yaml" <<RECIPE
model: {model_type: gpt2, n_embd: 48, n_layer: 2, n_head: 2, resid_pdrop: 0.1, embd_pdrop: 0, attn_pdrop: 0}
tokenizer: {kind: bpe, vocab_size: 300}
data: {train: $text}
context: 32
per_device_train_batch_size: 4
learning_rate: 3e-3
warmup_ratio: 0.1
max_steps: 300
eval_steps: 50
eval_batches: 4
save_steps: 5
save_total_limit: 2
logging_steps: 1
ema_decay: 0.9
threads: 2
RECIPE

train() {
    "$carat" train "$folder/recipe.yaml" "out=$folder/$1" --resume --json
}
hashes() {
    sed -E 's/.*"weights_hash":"([0-9a-f]*)","loss_hash":"([0-9a-f]*)".*/\1 \2/'
}
# A number in [0, $1), from the system's random source.
random() {
    number=$(od -An -N2 -tu2 /dev/urandom)
    echo $((number % $1))
}

expected=$(train whole | hashes)
# How long a run takes here decides when to kill.
start=$(date +%s%N)
train timed >/dev/null
took=$((($(date +%s%N) - start) / 1000000))

kills=0
attempt=0
while [ $attempt -lt 60 ]; do
    attempt=$((attempt + 1))
    "$carat" train "$folder/recipe.yaml" "out=$folder/killed" --resume --json >"$folder/result" 2>"$folder/errors" &
    process=$!
    wait_for=$((took / 20 + $(random $((took / 3 + 1)))))
    sleep "$((wait_for / 1000)).$(printf %03d $((wait_for % 1000)))"
    if kill -9 $process 2>/dev/null; then kills=$((kills + 1)); fi
    wait $process 2>/dev/null || true
    if [ -s "$folder/result" ]; then
        if [ $kills -ge 2 ]; then break; fi
        # The machine was slower when the time was taken: once more from the start, and killed sooner.
        rm -rf "$folder/killed"
        took=$((took / 2))
        kills=0
        continue
    fi
    if [ -s "$folder/errors" ]; then
        cat "$folder/errors"
        exit 1
    fi
    [ $kills -lt 12 ] || break
done
found=$(train killed | hashes)
echo "$kills kills; expected $expected, found $found"
[ $kills -ge 2 ]
[ "$found" = "$expected" ]
# The log has every step once, in order.
grep -o '^{"step":[0-9]*,"loss"' "$folder/killed/train.jsonl" | tr -dc '0-9\n' >"$folder/steps"
seq 300 | cmp - "$folder/steps"
[ "$(find "$folder/killed" -maxdepth 1 -name 'checkpoint-*' | wc -l)" -eq 2 ]
[ -z "$(find "$folder/killed" -maxdepth 1 -name '.*' ! -path "$folder/killed")" ]
