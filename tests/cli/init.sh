#!/usr/bin/env bash
# init.sh - carat train init: a model with initial weights and no step of training, by an initializer that looks at data;
# the same from a checkpoint; --verbose.
. "$(dirname "$0")/common.sh"
cat >"$work/tiny.yaml" <<YAML
model: {model_type: gpt2, n_embd: 24, n_layer: 2, n_head: 2, tie_word_embeddings: false}
tokenizer: {kind: characters}
data: {train: $source_root/LICENSE, validation_fraction: 0}
context: 16
per_device_train_batch_size: 2
max_steps: 1
YAML

exits 0 train init "$work/tiny.yaml" init.name=lsuv init.batch=32 init.tol=0.001 out="$work/lsuv"
says "std before" "attempts" "h.1.mlp.c_fc.weight" "lm_head.weight"
prints "Initial weights, after 0 steps, are in"
[ -s "$work/lsuv/model.safetensors" ] && [ -s "$work/lsuv/recipe.yaml" ] || fail "a file is missing"
exits 0 train init "$work/tiny.yaml" init.name=lsuv init.batch=32 init.tol=0.001 out="$work/again" --json
silent
json 'len(r["layers"]) == 9 and all(abs(l["after"] - 1) <= 0.001 and l["attempts"] >= 1 for l in r["layers"])'
json '[l["name"] for l in r["layers"]][:2] == ["transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_proj.weight"]'
json 'r["output_dir"].endswith("/again") and r["layers"][0]["in"] == 24 and r["layers"][0]["out"] == 72'
same "$work/lsuv/model.safetensors" "$work/again/model.safetensors"
ok lsuv

# On what is there: nothing is left to correct, and the weights stay as they are.
sed -e "s|^model: .*|model: {path: $work/lsuv}|" -e "/^tokenizer/d" "$work/tiny.yaml" >"$work/on.yaml"
exits 0 train init "$work/on.yaml" init.name=lsuv init.ortho=false init.batch=32 init.tol=0.01 out="$work/kept" --json
json 'all(l["attempts"] == 0 and l["factor"] == 1 for l in r["layers"])'
same "$work/lsuv/model.safetensors" "$work/kept/model.safetensors"
# Without an initializer: those of the recipe's seed, with which a run of rate 0 ends too.
exits 0 train init "$work/tiny.yaml" out="$work/plain" --json
json 'r["layers"] == []'
exits 0 train "$work/tiny.yaml" learning_rate=0 save_steps=-1 out="$work/still" --json
same "$work/plain/model.safetensors" "$work/still/model.safetensors"
exits 0 train "$work/on.yaml" save_steps=-1 out="$work/trained" --json
ok checkpoint

exits 2 train init
says "init: expected a recipe"
exits 2 train init "$work/tiny.yaml" init.name=lsuw out="$work/x"
says 'did you mean "lsuv"?'
exits 2 train init "$work/tiny.yaml" init.name=lsuv init.batch=1 out="$work/x"
says "lsuv.batch"
exits 2 train init "$work/tiny.yaml" init.name=lsuv out="$work/lsuv"
says "output_dir"
exits 2 train init "$work/tiny.yaml" init.name=lsuv out="$work/x" --resume
says "init: there is nothing to resume"
exits 2 train init "$work/tiny.yaml" init.name=lsuv
says "output_dir"
[ ! -e "$work/x" ] || fail "a refused init wrote something"
ok refused

# What each tensor is to muP is said on request.
exits 0 train init "$work/tiny.yaml" param.name=mup param.base_width=12 out="$work/mup" --verbose
says "class" "hidden" "transformer.h.0.mlp.c_fc.weight" "multiplier"
exits 0 train init "$work/tiny.yaml" param.name=mup param.base_width=12 out="$work/mup2"
! grep -q "multiplier" "$work/err" || fail "the table of muP without --verbose"
same "$work/mup/model.safetensors" "$work/mup2/model.safetensors"
ok verbose
