#!/usr/bin/env bash
# convert-folded.sh - carat convert --to folded: models trained with norms that have running statistics, without them.
. "$(dirname "$0")/common.sh"
cat >"$work/gpt.yaml" <<YAML
model: {model_type: gpt2, n_embd: 16, n_layer: 2, n_head: 2, tie_word_embeddings: false, norm: {name: powernorm, groups: 0}}
tokenizer: {kind: characters}
data: {train: $source_root/README.md}
context: 16
per_device_train_batch_size: 4
max_steps: 6
learning_rate: 0.01
eval_batches: 4
save_steps: -1
YAML
exits 0 train "$work/gpt.yaml" out="$work/gpt" --json
exits 0 convert "$work/gpt" "$work/folded" --to folded --verify "$source_root/README.md" --tokenizer "$work/gpt" --json
json 'r["to"] == "folded" and r["logit_difference"] < 1e-5 and r["parameters"] < r["parameters_before"]'
exits 0 inspect "$work/folded/model.safetensors" --json
! grep -q 'ln_\|running_phi' "$work/out" || fail "a norm was left"
exits 0 evaluate "$work/gpt" "$source_root/README.md" --max_tokens 500 --json
cp "$work/out" "$work/whole.json"
exits 0 evaluate "$work/folded" "$source_root/README.md" --max_tokens 500 --json
json 'abs(r["loss"] - json.load(open("'"$work"'/whole.json"))["loss"]) < 1e-5'
exits 0 generate "$work/folded" --prompt The --max_new_tokens 4 --json
sed -e 's/tie_word_embeddings: false, norm: .*/norm: batchnorm}/' "$work/gpt.yaml" >"$work/tied.yaml"
exits 0 train "$work/tied.yaml" out="$work/tied" --json
exits 1 convert "$work/tied" "$work/x" --to folded
says "the head is tied"
exits 0 convert "$work/tied" "$work/untied" --to folded --untie
prints "untied: folded" "largest difference of logits"
ok transformers

exits 1 convert "$work/folded" "$work/x" --to folded
says "the model has no norm that could be folded"
make_model
exits 1 convert "$work/model" "$work/x" --to folded --untie
says "ln_1 (layernorm) cannot be folded: in evaluation it depends on the token"
exits 2 convert "$work/gpt" "$work/x" --to folded --fold
says "--fold and --pad are for --to rmsnorm and crmsnorm"
exits 2 convert "$work/gpt" "$work/x" --to folded --dtype bf16
says "with --to folded weights keep their types"
[ ! -e "$work/x" ] || fail "a refused conversion wrote something"
ok refused
