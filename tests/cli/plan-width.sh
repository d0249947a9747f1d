#!/usr/bin/env bash
# plan-width.sh - carat plan coordcheck and carat plan transfer: table, JSON, CSV, pictures, and what is refused.
. "$(dirname "$0")/common.sh"
cat >"$work/recipe.yaml" <<YAML
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, tie_word_embeddings: false}
tokenizer: {kind: characters}
data: {train: $source_root/README.md}
context: 32
per_device_train_batch_size: 2
learning_rate: 1e-3
max_steps: 3
YAML

exits 0 plan coordcheck "$work/recipe.yaml" --widths 16,32 --steps 2 --plot "$work/check.svg" --csv "$work/check.csv"
prints "after 2 steps" "h.0.attn.c_attn" "lm_head" "Verdict: "
[ "$(head -n 1 "$work/check.csv")" = "layer,width,step,size,change" ] || fail "the head of the CSV"
[ "$(wc -l <"$work/check.csv")" = 31 ] || fail "lines of the CSV" # 5 layers, 2 widths, 3 steps
grep -q "^lm_head,32,2,[0-9.e-]*,[0-9.e-]*$" "$work/check.csv" || fail "a line of the CSV"
grep -q "<svg" "$work/check.svg" || fail "the picture"
exits 0 plan coordcheck "$work/recipe.yaml" "widths=[16,32]" steps=1 param.name=mup param.base_width=16 --json
silent
json 'r["widths"] == [16, 32] and r["steps"] == 1 and len(r["layers"]) == 5'
json 'all(len(l["size"]) == 2 and len(l["size"][0]) == 2 and l["change"][0][0] == 0 for l in r["layers"])'
json 'abs(r["layers"][4]["slope"] - math.log(r["layers"][4]["change"][1][1] / r["layers"][4]["change"][0][1], 2)) < 1e-9'
json 'r["verdict"] in ("level", "falls", "rises")'
cp "$work/out" "$work/first.json"
exits 0 plan coordcheck "$work/recipe.yaml" "widths=[16,32]" steps=1 param.name=mup param.base_width=16 --json --threads 1
same "$work/out" "$work/first.json"
exits 0 plan coordcheck "$work/recipe.yaml" widths=16,32 points=lm_head.preactivation learning_rate=0 --json
json '[l["layer"] for l in r["layers"]] == ["lm_head"] and r["verdict"] == "still" and r["layers"][0]["slope"] is None'
ok coordcheck

exits 0 plan transfer "$work/recipe.yaml" --widths 16,32 --rates 1e-3,1e-2 --plot "$work/t.svg" --csv "$work/t.csv"
prints "Verdict: the best rate (*)"
[ "$(wc -l <"$work/t.csv")" = 5 ] || fail "lines of the CSV"
grep -q "<svg" "$work/t.svg" || fail "the picture"
exits 0 plan transfer "$work/recipe.yaml" --widths 16,32 --rates 1e-3,1e-2 --json
json 'r["rates"] == [0.001, 0.01] and all(l[0] > 1 and l[1] > 1 for l in r["loss"]) and r["shift"] in (0, 1) and r["at_end"]'
json 'all(r["rates"][l.index(min(l))] == b for l, b in zip(r["loss"], r["best"]))'
ok transfer

exits 2 plan coordcheck
says "expected one recipe"
exits 2 plan coordcheck "$work/recipe.yaml"
says "widths: expected at least two"
exits 2 plan coordcheck "$work/recipe.yaml" --widths 32,16
says "entry 2, 16, is not above"
exits 2 plan coordcheck "$work/recipe.yaml" --widths 16,33
says "n_head"
exits 2 plan coordcheck "$work/recipe.yaml" --widths 16,32 --rates 1,2
says "rates belongs to plan transfer"
exits 2 plan coordcheck "$work/recipe.yaml" --widths 16,32 --fraction 0.5
says "fraction belongs to plan runs-judge"
exits 2 plan transfer "$work/recipe.yaml" --widths 16,32 --rates 1,2 --steps 3
says "steps belongs to plan coordcheck; max_steps"
exits 2 plan memory "$work/recipe.yaml" --widths 16,32
says "plan memory: widths belongs to plan coordcheck"
exits 2 plan coordcheck "$work/recipe.yaml" --widths 16,32 --width 3
says 'unknown option "width"; did you mean "widths"?'
exits 1 plan coordcheck "$work/absent.yaml" --widths 16,32
says "$work/absent.yaml"
exits 2 plan coordcheck "$work/recipe.yaml" --widths 16,32 --plot "$work/check.gif"
says "gif"
exits 1 plan coordcheck "$work/recipe.yaml" --widths 16,32 --csv "$work/absent/check.csv"
says "$work/absent"
exits 1 plan coordcheck "$work/recipe.yaml" --widths 16,32 param.name=mup param.base_width=16 model.tie_word_embeddings=true model.norm.name=layernorm model.norm.affine=false
says "tie_word_embeddings: false"
ok refused
