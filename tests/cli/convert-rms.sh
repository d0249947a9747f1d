#!/usr/bin/env bash
# convert-rms.sh - carat convert --to rmsnorm|crmsnorm: the converted model says the same, is written and read again, and
# what cannot be converted is refused.
. "$(dirname "$0")/common.sh"
make_model
model=$work/model
text=$source_root/README.md

# config FILE EXPRESSION: true of a config.json, as `c`.
config() {
    python3 - "$1" "$2" <<'PYTHON' || fail "not so in $1: $2"
import json, sys
c = json.load(open(sys.argv[1], encoding="utf-8"))
sys.exit(0 if eval(sys.argv[2]) else 1)
PYTHON
}
# perplexity FOLDER: of the text, into $value.
perplexity() {
    exits 0 evaluate "$1" "$text" --max_tokens 400 --json
    value=$(sed 's/.*"perplexity":\([0-9.]*\).*/\1/' "$work/out")
}
# close A B: equal to five digits.
close() { python3 -c "import sys; sys.exit(not abs($1 / $2 - 1) < 1e-5)" || fail "$1 and $2 differ"; }

perplexity "$model"
before=$value
exits 0 convert "$model" "$work/rms" --to rmsnorm --untie --verify "$text" --json
silent
json 'r["to"] == "rmsnorm" and r["logit_difference"] < 1e-4 and r["parameters"] > r["parameters_before"]' # untied
config "$work/rms/config.json" 'c["norm"]["name"] == "rmsnorm" and c["tie_word_embeddings"] is False and c["n_embd"] == 16'
perplexity "$work/rms"
close "$value" "$before"
exits 0 generate "$model" --prompt "The " --max_new_tokens 20 --temperature 0
cp "$work/out" "$work/greedy"
exits 0 generate "$work/rms" --prompt "The " --max_new_tokens 20 --temperature 0
same "$work/out" "$work/greedy"
ok rmsnorm

exits 0 convert "$model" "$work/folded" --to rmsnorm --untie --fold --verify "$text" --json
json 'r["logit_difference"] < 1e-4'
perplexity "$work/folded"
close "$value" "$before"
exits 0 convert "$model" "$work/unfolded" --to rmsnorm --untie --fold 0 --json
json 'r["logit_difference"] < 1e-4 and r["verified_on"] == "random input"'
same "$work/unfolded/model.safetensors" "$work/rms/model.safetensors"
exits 0 convert "$model" "$work/folded-too" --to rmsnorm --untie 1 --fold=1
same "$work/folded-too/model.safetensors" "$work/folded/model.safetensors"
exits 0 convert "$model" "$work/narrow" --to crmsnorm --untie --pad 0 --verify "$text" --json
json 'r["logit_difference"] < 1e-4'
config "$work/narrow/config.json" 'c["norm"] == {"name": "crmsnorm", "eps": 1e-05, "pad": False} and c["n_embd"] == 15 and c["head_dim"] == 8 and c["n_inner"] == 64'
perplexity "$work/narrow"
close "$value" "$before"
exits 0 generate "$work/narrow" --prompt "The " --max_new_tokens 20 --temperature 0
same "$work/out" "$work/greedy"
exits 0 convert "$model" "$work/crms" --to crmsnorm --untie --verify "$text"
prints "$work/crms: crmsnorm, " "largest difference of logits: "
config "$work/crms/config.json" 'c["norm"]["name"] == "crmsnorm"'
perplexity "$work/crms"
close "$value" "$before"
ok "fold and crmsnorm"

# The source stays as it is; what was converted can go on to crmsnorm; a model trained with RMSNorm cannot.
cp "$model/model.safetensors" "$work/source"
exits 0 convert "$model" "$work/again" --to rmsnorm --untie
same "$model/model.safetensors" "$work/source"
same "$work/again/model.safetensors" "$work/rms/model.safetensors"
exits 0 convert "$work/rms" "$work/twice" --to crmsnorm --verify "$text" --json
json 'r["logit_difference"] < 1e-4'
perplexity "$work/twice"
close "$value" "$before"
sed -e 's/^model: .*/model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, norm: rmsnorm, tie_word_embeddings: false}/' \
    -e "s|$work/model|$work/trained|" "$work/recipe.yaml" >"$work/trained.yaml"
exits 0 train "$work/trained.yaml" --json
exits 1 convert "$work/trained" "$work/x" --to crmsnorm
says "rmsnorm"
[ ! -e "$work/x/model.safetensors" ] || fail "a model was written although it was refused"
ok again

# Training goes on as with LayerNorm where the stream is kept centred, and not where it is not.
learn() {
    sed -e "s|^model: .*|model: {path: $work/$1}|" -e "s|$work/model|$work/$2|" -e 's/^max_steps: .*/max_steps: 8/' \
        "$work/recipe.yaml" >"$work/$2.yaml"
    exits 0 train "$work/$2.yaml" --json --optim sgd --learning_rate 0.5 --lr_scheduler_type constant --max_grad_norm 0 \
        --center "$3"
    value=$(sed 's/.*"perplexity_after":\([0-9.]*\).*/\1/' "$work/out")
}
sed -e 's/^model: .*/model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, tie_word_embeddings: false, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, initializer_range: 0.3}/' \
    -e "s|$work/model|$work/loose|" "$work/recipe.yaml" >"$work/loose.yaml"
exits 0 train "$work/loose.yaml" --json
exits 0 convert "$work/loose" "$work/loose-rms" --to rmsnorm
learn loose more none
expected=$value
for how in weights activations; do
    learn loose-rms "more-$how" "$how"
    close "$value" "$expected"
    exits 0 convert "$work/more-$how" "$work/same-$how" --to rmsnorm # its stream is centred, also as it was saved
done
learn loose-rms more-none none
! python3 -c "import sys; sys.exit(not abs($value / $expected - 1) < 1e-5)" || fail "without center the losses are equal too"
exits 1 train "$work/more.yaml" --output_dir "$work/x" --center weights
says "a stream is kept centred for rmsnorm alone"
ok center

# Images: sample input is random, or an IDX file.
vit=$source_root/tests/golden/vit/classifier
python3 - "$work/images" <<'PYTHON'
import struct, sys
open(sys.argv[1], "wb").write(struct.pack(">HBB4I", 0, 8, 4, 3, 3, 12, 12) + bytes(i * 7 % 256 for i in range(3 * 3 * 144)))
PYTHON
for form in "rmsnorm" "rmsnorm --fold 1" "crmsnorm" "crmsnorm --pad 0"; do
    # shellcheck disable=SC2086
    exits 0 convert "$vit" "$work/vit" --to $form --verify "$work/images" --json
    json 'r["logit_difference"] < 1e-4 and r["verified_on"].endswith("images")'
done
exits 0 convert "$vit" "$work/vit" --to rmsnorm
prints "(on random input)"
exits 1 convert "$vit" "$work/x" --to rmsnorm --verify "$source_root/README.md"
exits 1 convert "$source_root/tests/golden/vit/model" "$work/x" --to crmsnorm
says "gives what layernorm makes of the stream"
exits 1 convert "$source_root/tests/golden/encoders/sentence" "$work/x" --to rmsnorm
says "sentence (bert) normalises after the residual sum; the rewrite needs pre-norm"
ok images

exits 2 convert "$model" "$work/x.npz" --untie
says "are for --to rmsnorm"
exits 2 convert "$model" "$work/x" --to rmsnorm --untie --dtype bf16
says "keep their types"
exits 1 convert "$model" "$work/tied" --to rmsnorm
says "untie"
exits 2 convert "$model" "$model" --to rmsnorm --untie
says "of its own"
exits 2 convert "$model" "$work/x" --to rmsnrm
says "rmsnorm"
exits 2 convert "$model"
says "expected: carat convert"
exits 1 convert "$work/absent" "$work/x" --to rmsnorm
says "$work/absent"
exits 1 convert "$model" "$work/x" --to rmsnorm --untie --verify "$work/absent.txt"
says "$work/absent.txt"
mkdir "$work/bert"
printf '{"model_type": "bert", "hidden_size": 8}' >"$work/bert/config.json"
exits 1 convert "$work/bert" "$work/x" --to rmsnorm
says "normalises after the residual sum; the rewrite needs pre-norm"
sed -e 's/^model: .*/model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, norm: {place: post}}/' \
    -e "s|$work/model|$work/post|" "$work/recipe.yaml" >"$work/post.yaml"
exits 0 train "$work/post.yaml" --json
exits 1 convert "$work/post" "$work/x" --to rmsnorm --untie
says "residual sum"
ok refused
