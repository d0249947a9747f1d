#!/usr/bin/env bash
# ensemble.sh - little data from the command: tuning by coordinate descent, ensembles, asymptotes, data efficiency.
. "$(dirname "$0")/common.sh"
make_model
mv "$work/model" "$work/a"
"$carat" train "$work/recipe.yaml" seed=7 out="$work/b" --json >"$work/out" 2>"$work/err" || fail "training the second model"
printf 'The model is trained by a recipe and the curve is written to the folder of the run.' >"$work/text.txt"

exits 0 merge ensemble "$work/a" "$work/b" --out "$work/both.json"
prints "2 members by the mean of their logits"
grep -q '"members": \["a", "b"\]' <(tr -d '\n' <"$work/both.json" | tr -s ' ' | sed 's/\[ /[/; s/ \]/]/') || fail "members are not relative"
exits 0 evaluate "$work/a" "$work/text.txt" --json
cp "$work/out" "$work/a.out"
exits 0 evaluate "$work/both.json" "$work/text.txt" --json
json 'r["loss"] == r["loss_logits"] and r["loss_probabilities"] <= r["loss_mean"] and r["loss_logits"] <= r["loss_mean"]'
json 'r["members"][0] == json.load(open("'"$work"'/a.out"))["loss"] and abs(sum(r["members"]) / 2 - r["loss_mean"]) < 1e-12'
json 'r["tokens"] == 82'
exits 0 merge ensemble "$work/a" "$work/a" --average probabilities --out "$work/same.json" --json
json 'r["members"] == 2 and r["average"] == "probabilities"'
exits 0 evaluate "$work/same.json" "$work/text.txt" --json
json 'abs(r["loss"] - json.load(open("'"$work"'/a.out"))["loss"]) < 1e-6'
exits 0 evaluate "$work/same.json" "$work/text.txt"
prints "by the mean of probabilities" "2 members (82 tokens)"
exits 2 merge ensemble "$work/a"
says "--out FILE.json is needed"
exits 2 merge soup "$work/a" --out x.json
says 'there is no merge "soup"'
exits 1 merge ensemble "$work/a" "$work/c" --out "$work/x.json"
[ ! -e "$work/x.json" ] || fail "a manifest of a missing model"
exits 1 merge ensemble "$work/a" --out "$work/none/x.json"
says "there is no such folder"
exits 2 evaluate layers "$work/both.json" "$work/text.txt"
says "an ensemble is evaluated on a TEXT"
printf '{"members": []}' >"$work/bad.json"
exits 1 evaluate "$work/bad.json" "$work/text.txt"
says "the manifest of an ensemble"
ok ensemble

runs=$source_root/recipes/runs.csv
exits 0 fit asymptote "$runs" --x tokens --json
json 'r["sizes"] == 5 and r["runs"] == 10 and r["e_low"] <= r["e"] <= r["e_high"] and not r["uncertain"]'
exits 0 fit asymptote "$runs" --x tokens --resamples 0
prints "asymptote " "without an interval"
exits 1 fit asymptote "$runs"
says 'there is no column "x"'
head -n 7 "$runs" >"$work/three.csv"
exits 2 fit asymptote "$work/three.csv" --x tokens
says "3 different x, expected 4 at least"
exits 2 fit line "$runs"
says 'there is no fit "line"'
exits 0 plan data-efficiency "$runs" --tokens 200000 --reached 3.45 --json
json '1 < r["efficiency"] < 10 and abs(r["tokens_needed"] / 200000 - r["efficiency"]) < 1e-9 and not r["extrapolated"]'
exits 0 plan data-efficiency "$runs" --tokens 200000 --reached 2
prints "No amount of data"
exits 2 plan data-efficiency "$runs" --tokens 200000
says "--reached LOSS are needed"
ok fits

table=$source_root/recipes/ensembles.csv
exits 0 plan ensemble "$table" --budget 60000 --json
json 'all(c["size"] * c["members"] <= 60000 for c in r["choices"]) and sum(c["best"] for c in r["choices"]) == 1'
json 'min(c["loss"] for c in r["choices"] if c["loss"] is not None) == [c["loss"] for c in r["choices"] if c["best"]][0]'
json 'all(s["limit"] > 2 and 0.5 < s["exponent"] < 2 for s in r["sizes"]) and len(r["sizes"]) == 5'
json 'r["joint"]["limit"] < min(s["limit"] for s in r["sizes"]) and r["joint"]["uncertain"]'
exits 0 plan ensemble "$table" --budget 60000
prints "fit over members" "fit over sizes" "<- least" "extrapolated"
awk -F, 'NR == 1 || $2 < 4' "$table" >"$work/few.csv"
exits 0 plan ensemble "$work/few.csv" --budget 60000
prints "3 runs, expected 4 different x at least" "No limit of the sizes: 0 sizes with a settled limit"
exits 2 plan ensemble "$table"
says "--budget PARAMETERS is needed"
exits 2 plan ensemble "$table" --budget 10
says "the smallest model of the runs has"
exits 1 plan ensemble "$table" --budget 60000 --members k
says 'there is no column "k"'
exits 2 plan ensemble "$table" --budget 60000 --tokens 3
says "tokens belongs to plan data-efficiency"
exits 0 plan ensemble "$table" --budget 60000 --size parameters --loss loss --quiet
ok plan

exits 0 train tune "$work/recipe.yaml" learning_rate=1e-4 out="$work/tune" --params learning_rate,max_steps --evaluations 5 --json
json 'r["runs"] == 5 and not r["settled"] and set(r["values"]) == {"learning_rate", "max_steps"}'
[ "$(wc -l <"$work/tune/tune.csv")" = 6 ] || fail "tune.csv has not a line for each run"
[ -d "$work/tune/learning_rate=0.0001,max_steps=2" ] || fail "no folder of the first run"
cp "$work/out" "$work/tune.out"
exits 0 train tune "$work/recipe.yaml" learning_rate=1e-4 out="$work/tune" --params learning_rate,max_steps --evaluations 5 --json
same "$work/out" "$work/tune.out"
exits 0 train tune "$work/recipe.yaml" learning_rate=1e-4 weight_decay=0.1 out="$work/short" --params lr,wd --evaluations 2 --json
json 'set(r["values"]) == {"learning_rate", "weight_decay"}'
exits 2 train tune "$work/recipe.yaml" out="$work/tune"
says "--params KEY,KEY"
exits 2 train tune "$work/recipe.yaml" out="$work/tune" --params weight_decay
says "weight_decay: the recipe has no number above 0"
exits 2 train "$work/recipe.yaml" out="$work/x" --params weight_decay
says "params belongs to carat train tune"
ok tune
