#!/bin/sh
# Decoders of the Llama family from the command: each is trained from nothing, goes on from its folder, generates and is
# evaluated as gpt2 is; folders that transformers wrote (one sharded) are opened; what is not built is refused.
set -eu
carat=${CARAT:-build/carat}
source=${CARAT_SOURCE:-.}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
text=$source/LICENSE

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

sizes="model.hidden_size=32 model.intermediate_size=48 model.num_hidden_layers=2 model.num_attention_heads=4"
printf 'model: {model_type: llama}\ntokenizer: {kind: bytes}\n' >"$folder/new.yaml"
printf 'model: {path: %s}\n' "$folder/llama" >"$folder/on.yaml"
for family in llama mistral qwen2 qwen3 gemma2; do
    more=
    [ $family = llama ] || more="model.sliding_window=9"
    [ $family != qwen2 ] || more="$more model.use_sliding_window=true model.max_window_layers=1"
    [ $family != qwen3 ] && [ $family != gemma2 ] || more="$more model.head_dim=8"
    # shellcheck disable=SC2086
    [ "$(code "$carat" train "$folder/new.yaml" model.model_type=$family $sizes model.num_key_value_heads=2 $more "data.train=$text" \
        context=32 per_device_train_batch_size=4 learning_rate=1e-2 max_steps=20 \
        out="$folder/$family" --json)" = 0 ] || fail "$family: $(cat "$folder/err")"
    before=$(sed -E 's/.*"perplexity_before":([0-9.]*).*/\1/' "$folder/out")
    after=$(sed -E 's/.*"perplexity_after":([0-9.]*).*/\1/' "$folder/out")
    [ "$(echo "$before $after" | awk '{print ($2 > 0 && $2 < 0.5 * $1)}')" = 1 ] ||
        fail "$family: perplexity $before before and $after after"
    grep -q "\"max_position_embeddings\": 32" "$folder/$family/config.json" || fail "$family: no context in config.json"
    # It goes on where it was.
    [ "$(code "$carat" train "$folder/on.yaml" "model.path=$folder/$family" "data.train=$text" context=32 per_device_train_batch_size=4 \
        learning_rate=1e-3 max_steps=2 out="$folder/$family-2" --json)" = 0 ] || fail "$family: $(cat "$folder/err")"
    again=$(sed -E 's/.*"perplexity_before":([0-9.]*).*/\1/' "$folder/out")
    [ "$(echo "$after $again" | awk '{d = ($1 - $2) / $1; print (d < 0.001 && d > -0.001)}')" = 1 ] ||
        fail "$family: perplexity $after at the end, $again when it goes on"
    [ "$(code "$carat" generate "$folder/$family" "Lic" --max_new_tokens 8 --do_sample=false --ignore_eos)" = 0 ] ||
        fail "$family: $(cat "$folder/err")"
    [ "$(code "$carat" evaluate "$folder/$family" "$text" --max_tokens 500 --json)" = 0 ] ||
        fail "$family: $(cat "$folder/err")"
done

# Folders of transformers: one in shards, one in f16, one in bf16.
for name in llama3 mistral qwen3; do
    [ "$(code "$carat" generate "$source/tests/golden/models/$name" "abc" --tokenizer "$folder/llama" \
        --max_new_tokens 4 --do_sample=false --ignore_eos)" = 0 ] || fail "$name: $(cat "$folder/err")"
done

# Keys that change what is computed and that nothing does are refused by name and value.
cp -r "$source/tests/golden/models/llama-linear" "$folder/dynamic"
chmod -R u+w "$folder/dynamic"
sed -i 's/"rope_type": "linear"/"rope_type": "dynamic"/' "$folder/dynamic/config.json"
[ "$(code "$carat" generate "$folder/dynamic" "abc" --tokenizer "$folder/llama")" = 1 ]
grep -q 'rope_type "dynamic" is not built' "$folder/err" || fail "$(cat "$folder/err")"
[ "$(code "$carat" train "$folder/new.yaml" model.num_experts=4 "data.train=$text" out="$folder/x")" != 0 ]
grep -q 'num_experts' "$folder/err" || fail "$(cat "$folder/err")"

# The recipe that comes with Carat, its memory and its first steps.
[ "$(code "$carat" plan memory "$source/recipes/llama-small.yaml" "data.train=$text" --json)" = 0 ] ||
    fail "$(cat "$folder/err")"
[ "$(code "$carat" train "$source/recipes/llama-small.yaml" "data.train=$text" tokenizer.vocab_size=300 max_steps=2 \
    out="$folder/small" --json)" = 0 ] || fail "$(cat "$folder/err")"
