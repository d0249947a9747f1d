#!/usr/bin/env bash
# mup-tied.sh - muP with a head that shares the embedding's weight: it trains, resumes to the same bits, and what is saved
# is a plain model that gives the same losses, also after conversion to GGUF and back.
. "$(dirname "$0")/common.sh"
cat >"$work/tied.yaml" <<YAML
model: {model_type: llama, hidden_size: 24, intermediate_size: 30, num_hidden_layers: 1, num_attention_heads: 2,
        num_key_value_heads: 2, tie_word_embeddings: true}
tokenizer: {kind: bpe, vocab_size: 300}
data: {train: $source_root/LICENSE}
context: 16
per_device_train_batch_size: 4
max_steps: 6
learning_rate: 0.01
lr_scheduler_type: constant
logging_steps: 1
save_steps: 3
eval_batches: 4
param: {name: mup, base_width: 8}
YAML

exits 0 train "$work/tied.yaml" out="$work/whole" --json
cp "$work/out" "$work/whole.json"
json 'r["bits_per_byte_after"] < r["bits_per_byte_before"]'
exits 0 train "$work/tied.yaml" out="$work/parts" max_steps=3 --json
exits 0 train "$work/tied.yaml" out="$work/parts" --resume --json
json 'r["loss_hash"] == json.load(open("'"$work"'/whole.json"))["loss_hash"]'
same "$work/whole/model.safetensors" "$work/parts/model.safetensors"
exits 0 inspect "$work/whole/model.safetensors" --json
cp "$work/out" "$work/tensors.json"
! grep -q lm_head "$work/tensors.json" || fail "the head was stored beside the embedding"
ok trains

# From the folder, without param: the same loss before the first step.
sed -e "/^param/d" -e "/^tokenizer/d" -e "s|^model: .*|model: {path: $work/whole}|" -e "/num_key_value_heads/d" \
    "$work/tied.yaml" >"$work/on.yaml"
exits 0 train "$work/on.yaml" out="$work/on" learning_rate=0 max_steps=1 --json
json 'r["bits_per_byte_before"] == json.load(open("'"$work"'/whole.json"))["bits_per_byte_after"]'
exits 0 evaluate "$work/whole" "$source_root/LICENSE" --max_tokens 200 --json
cp "$work/out" "$work/direct.json"
exits 0 convert "$work/whole" "$work/model.gguf" --dtype f32
exits 0 convert "$work/model.gguf" "$work/back" --dtype f32
exits 0 evaluate "$work/back" "$source_root/LICENSE" --max_tokens 200 --json
json 'r["loss"] == json.load(open("'"$work"'/direct.json"))["loss"]'
exits 0 generate "$work/whole" --prompt "Licen" --max_new_tokens 8 --do_sample=false --json
cp "$work/out" "$work/said.json"
exits 0 generate "$work/back" --prompt "Licen" --max_new_tokens 8 --do_sample=false --json
json 'r["results"][0]["text"] == json.load(open("'"$work"'/said.json"))["results"][0]["text"]' 
ok plain

exits 1 train "$work/tied.yaml" out="$work/none" model.norm.name=rmsnorm model.norm.affine=false
says "no norm with a gain stands before it" "tie_word_embeddings: false"
ok refused
