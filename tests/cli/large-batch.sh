#!/usr/bin/env bash
# large-batch.sh - recipe keys that the command takes apart: large_batch, gradient noise; and carat train rewrite.
. "$(dirname "$0")/common.sh"
make_model
sed -e "s|output_dir: .*|output_dir: $work/large|" "$work/recipe.yaml" >"$work/large.yaml"

exits 0 train "$work/large.yaml" --large_batch 2:8 --regime_adaptation learning_rate=0.01
says "large batch: 2 -> 8 rows a step, learning rate 0.01 -> 0.02 (sqrt), steps 2, warmup 0 steps"
grep -q "^gradient_accumulation_steps: 4$" "$work/large/recipe.yaml" || fail "the recipe that was run"
exits 2 train "$work/large.yaml" --large_batch 2:7 out="$work/x"
says "7 rows are no multiple of per_device_train_batch_size 2"
exits 2 train "$work/large.yaml" --large-batch 8:16 out="$work/x"
says "a recipe of 8 rows a step over, this one has 2"
exits 2 train "$work/large.yaml" --regime-adaptation out="$work/x"
says "it needs large_batch"
exits 2 train "$work/large.yaml" --large_batch 2:4 --regime_adaptation num_train_epochs=1 out="$work/x"
says "both max_steps and num_train_epochs"
ok "large batch"

printf 'model: {model_type: mlp, sizes: [4, 8, 2]}\nseed: 3\n' >"$work/mlp.yaml"
exits 0 train rewrite "$work/mlp.yaml" --insert-norm ln --out "$work/normed.yaml"
prints "$work/normed.yaml: norms (ln) stand before every nonlinearity now"
grep -q "insert_norm: ln" "$work/normed.yaml" && grep -q "seed: 3" "$work/normed.yaml" || fail "the rewritten recipe"
exits 0 train rewrite "$work/normed.yaml" --insert-norm rms --out "$work/twice.yaml"
prints "the model normalises already and keeps its own norms (not rms)"
grep -q "insert_norm: ln" "$work/twice.yaml" || fail "the recipe that was kept"
printf '{"model_type": "mlp", "sizes": [4, 8, 2]}' >"$work/config.json"
exits 0 train rewrite "$work/config.json" --insert-norm rms --out "$work/normed.json" --quiet
python3 -c "import json, sys; sys.exit(json.load(open('$work/normed.json'))['insert_norm'] != 'rms')" || fail "the rewritten configuration"
exits 0 train rewrite "$work/recipe.yaml" --insert-norm ln --out "$work/gpt.yaml"
prints "the model normalises already"
sed 's/^model: .*/model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, norm: none}/' "$work/recipe.yaml" >"$work/none.yaml"
exits 1 train rewrite "$work/none.yaml" --insert-norm ln --out "$work/x.yaml"
says "no place for norms before its activations"
[ ! -e "$work/x.yaml" ] || fail "a file was written although it was refused"
exits 2 train rewrite "$work/mlp.yaml" --insert-norm batch --out "$work/x.yaml"
says 'insert_norm: "batch", expected ln or rms'
exits 2 train rewrite "$work/mlp.yaml" --out "$work/x.yaml"
says "expected --insert_norm ln or rms, and --out FILE"
exits 2 train rewrite "$work/mlp.yaml" --insert-norm ln --out "$work/x.yaml" seed=4
says "seed has no effect"
exits 2 train "$work/recipe.yaml" --insert-norm ln
says "insert_norm is for carat train rewrite"
exits 2 train "$work/recipe.yaml" "$work/mlp.yaml"
says "unexpected argument"
printf 'seed: 3\n' >"$work/empty.yaml"
exits 1 train rewrite "$work/empty.yaml" --insert-norm ln --out "$work/x.yaml"
says "there is no model.model_type"
ok rewrite
exits 0 train "$work/large.yaml" out="$work/nap" "optimizer_links=[nap]" "regularizers=[logit_scale]" model.tie_word_embeddings=false
ok "nap with a scale of logits"
