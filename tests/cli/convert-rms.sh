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
