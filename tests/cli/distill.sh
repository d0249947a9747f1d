#!/usr/bin/env bash
# distill.sh - students from the command: of an ensemble, by a recipe, of another size, of one model; resuming; refusals.
. "$(dirname "$0")/common.sh"
make_model
mv "$work/model" "$work/a"
for seed in 7 8; do
    "$carat" train "$work/recipe.yaml" seed=$seed max_steps=40 learning_rate=0.01 out="$work/m$seed" --json \
        >"$work/out" 2>"$work/err" || fail "training member $seed"
done
exits 0 merge ensemble "$work/m7" "$work/m8" --out "$work/both.json"

exits 0 distill ensemble "$work/both.json" -o "$work/student"
prints "Done after 40 steps" "ensemble of 2" "its members" "the student keeps" "are in $work/student"
[ -f "$work/student/model.safetensors" ] && [ -f "$work/student/train.jsonl" ] || fail "the student is no run's folder"
exits 0 evaluate "$work/student" "$work/recipe.yaml" --json
json 'r["tokens"] > 100'
grep -q 'teacher_hash' "$work/student/report.json" || fail "the report does not tell the teacher"
exits 0 distill ensemble "$work/both.json" -o "$work/json" --json
json 'r["members"] == 2 and r["loss_teacher"] <= r["loss_member"] and r["steps"] == 40'
json 'abs(r["kept"] - (r["loss_member"] - r["loss_student"]) / (r["loss_member"] - r["loss_teacher"])) < 1e-9'
cp "$work/out" "$work/whole.out"
ok student

# Of another size, by a recipe, with the hard targets too; then the same student in two sessions.
exits 0 distill ensemble "$work/both.json" --recipe "$work/recipe.yaml" model.n_embd=8 max_steps=4 --alpha 0.3 \
    --temperature 2 --average probabilities -o "$work/small"
exits 0 inspect "$work/small" --json
grep -q 'weight: 0.7' "$work/small/recipe.yaml" && grep -q 'average: probabilities' "$work/small/recipe.yaml" ||
    fail "the recipe of the student"
exits 0 distill ensemble "$work/both.json" -o "$work/parts" save_steps=10 max_steps=40 --json
rm -r "$work/parts/checkpoint-40" "$work/parts/checkpoint-30"
exits 0 distill ensemble "$work/both.json" -o "$work/parts" save_steps=10 max_steps=40 --resume --json
json 'r["resumed"] and r["weights_hash"] == json.load(open("'"$work"'/whole.out"))["weights_hash"]'
rm -r "$work/parts/checkpoint-40"
exits 0 merge ensemble "$work/m7" "$work/a" --out "$work/other.json"
exits 2 distill ensemble "$work/other.json" -o "$work/parts" save_steps=10 max_steps=40 --resume
says "it cannot be resumed with another"
ok sizes

exits 2 distill ensemble "$work/m7" -o "$work/self"
says "self-distillation (--self)"
exits 0 distill ensemble "$work/m7" --self max_steps=3 -o "$work/self"
prints "Held-out loss:   student" "teacher"
exits 2 distill ensemble "$work/both.json" --self -o "$work/x"
says "is an ensemble of 2, expected one model"
exits 2 distill ensemble "$work/both.json"
says "output_dir: expected the folder to write to"
exits 2 distill soup "$work/both.json" -o "$work/x"
says 'there is no distill "soup"'
exits 2 distill ensemble "$work/both.json" "$work/m7" -o "$work/x"
exits 2 distill ensemble "$work/both.json" -o
says "-o needs a value"
exits 2 distill ensemble "$work/both.json" --alpha 1 -o "$work/x"
says "alpha"
exits 2 distill ensemble "$work/both.json" objective='[distill_kl]' -o "$work/x"
says "learns from a teacher already"
exits 2 distill ensemble "$work/both.json" tokenizer.kind=bytes -o "$work/x"
says "the tokenizer of" "has other tokens"
exits 1 distill ensemble "$work/none.json" -o "$work/x"
says "none.json"
mkdir "$work/plain"
cp "$work/m8"/{config.json,model.safetensors,tokenizer.json,tokenizer_config.json} "$work/plain"
exits 2 distill ensemble "$work/plain" --self -o "$work/x"
says "there is no recipe.yaml"
make_model bytes
exits 2 merge ensemble "$work/m7" "$work/model" --out "$work/x.json"
says "the tokenizers of"
printf '{"carat_ensemble": 1, "members": ["m7", "model"]}' >"$work/mixed.json"
exits 2 distill ensemble "$work/mixed.json" -o "$work/x"
says "the tokenizers of"
[ ! -e "$work/x" ] || fail "a refused student left a folder"
exits 2 fit asymptote "$work/none.csv" -o x
says 'unknown option "-o"'
ok refusals
