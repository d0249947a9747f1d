#!/usr/bin/env bash
# layers.sh - carat evaluate layers, growth and entropy on a model that carat trained, and distance on its run: columns,
# JSON, values that must agree with each other, what is refused.
. "$(dirname "$0")/common.sh"
make_model
model=$work/model
text=$source_root/README.md

# csv EXPRESSION: true of standard output as rows of dictionaries, numbers as floats, empty cells as None.
csv() {
    python3 - "$work/out" "$1" <<'PYTHON' || fail "not so: $1"
import csv, math, sys
rows = list(csv.DictReader(open(sys.argv[1], encoding="utf-8")))
def number(text):
    try: return float(text) if text != "" else None
    except ValueError: return text
rows = [{k: number(v) for k, v in row.items()} for row in rows]
sys.exit(0 if eval(sys.argv[2]) else 1)
PYTHON
}

exits 0 evaluate layers "$model" "$text" --batch 4
[ "$(head -n 1 "$work/out")" = "layer,variance,distance,gradient_norm,skipped_loss,loss_change" ] || fail "columns of layers"
says "loss " "effectiveness (least over most gradient norm) 1.000" # of one layer
csv 'len(rows) == 1 and rows[0]["layer"] == 0 and rows[0]["variance"] > 0 and 0 <= rows[0]["distance"] <= 1'
csv 'rows[0]["gradient_norm"] > 0 and abs(rows[0]["loss_change"]) < rows[0]["skipped_loss"]'
exits 0 evaluate layers "$model" "$text" --batch 4 --json
silent
json 'len(r["layers"]) == 2 and r["layers"][0]["layer"] == -1 and r["layers"][0]["distance"] is None'
json 'r["effectiveness"] == 1 and 1 < r["loss"] < 8 and r["layers"][1]["skipped_loss"] > 1'
cp "$work/out" "$work/layers.json"
exits 0 evaluate layers "$model" "$text" --batch 4 --json --threads 1
same "$work/out" "$work/layers.json"
exits 0 evaluate layers "$model" "$text" --batch 4 --context 16 --quiet
silent
ok layers

exits 0 evaluate growth "$model" "$text" --batch 4
[ "$(head -n 1 "$work/out")" = "layer,variance,largest,median,largest_over_median,massive,gradient_norm,beyond_f16" ] ||
    fail "columns of growth"
csv '[x["layer"] for x in rows] == [-1, 0] and all(x["beyond_f16"] == 0 for x in rows)'
csv 'all(abs(x["largest"] / x["median"] / x["largest_over_median"] - 1) < 1e-4 and x["variance"] > 0 for x in rows)'
csv 'all(x["massive"] == (x["largest_over_median"] > 100) for x in rows) and rows[0]["gradient_norm"] is None'
exits 0 evaluate growth "$model" "$text" --batch 4 --json
json '[l["layer"] for l in r["layers"]] == [-1, 0] and r["layers"][1]["variance"] > 0 and r["layers"][1]["skipped_loss"] is None'
json 'r["variance_slope"] is None and r["variance_r2"] is None' # one block
json 'r["layers"][1]["gradient_norm"] == json.load(open("'"$work"'/layers.json"))["layers"][1]["gradient_norm"]'
ok growth

exits 0 evaluate entropy "$model" "$text" --batch 4
[ "$(head -n 1 "$work/out")" = "layer,entropy,batch_entropy" ] || fail "columns of entropy"
csv '[x["layer"] for x in rows] == [-1, 0] and all(0 < x["entropy"] <= math.log(16) + 1e-6 for x in rows)' # width 16
csv 'all(0 < x["batch_entropy"] <= math.log(4) for x in rows)'
cp "$work/out" "$work/first.csv"
exits 0 evaluate entropy "$model" "$text" --batch 4 --alpha 2 --json
json 'all(0 < l["entropy"] <= math.log(16) for l in r["layers"])'
python3 - "$work/out" "$work/first.csv" <<'PYTHON' || fail "entropies do not fall with their order"
import csv, json, sys
second = [l["entropy"] for l in json.load(open(sys.argv[1]))["layers"]]
first = [float(x["entropy"]) for x in csv.DictReader(open(sys.argv[2]))]
sys.exit(0 if all(b < a for a, b in zip(first, second)) else 1)
PYTHON
exits 0 evaluate entropy "$model" "$text" --batch 1
csv 'all(x["batch_entropy"] is None for x in rows)'
ok entropy

exits 0 evaluate distance "$model" --plot "$work/distance.svg"
[ "$(head -n 1 "$work/out")" = "tensor,step,distance" ] || fail "columns of distance"
says "no fit: 0 checkpoints" "the learning rate drops at step 2" # linear over two steps: 1, 1/2
csv 'rows[0]["tensor"] == "all" and rows[0]["step"] == 2 and rows[0]["distance"] > 0'
csv 'abs(math.sqrt(sum(x["distance"] ** 2 for x in rows[1:])) / rows[0]["distance"] - 1) < 1e-6 and len(rows) > 10'
grep -q "<svg" "$work/distance.svg" || fail "the picture"
exits 0 evaluate distance "$model" --json
silent
json 'r["steps"] == [2] and r["fit"]["b"] is None and r["distance"][0] > 0 and r["drops"] == [2]'
json 'abs(sum(v[0] ** 2 for v in r["tensors"].values()) / r["distance"][0] ** 2 - 1) < 1e-9'
ok distance

exits 2 evaluate depth "$model" "$text"
says 'expected "layers", "growth" or "entropy" as the first, found "depth"'
exits 1 evaluate layers "$work/absent" "$text"
says "$work/absent"
exits 1 evaluate growth "$model" "$work/absent.txt"
says "$work/absent.txt"
printf 'T' >"$work/one.txt"
exits 2 evaluate layers "$model" "$work/one.txt"
says "1 tokens, expected at least 2"
exits 2 evaluate entropy "$model" "$work/one.txt"
says "1 tokens, expected at least 2"
exits 2 evaluate entropy "$model" "$text" --alpha 0
says "alpha"
exits 2 evaluate layers "$model" "$text" --batch 0
says "batch"
exits 2 evaluate growth "$model" "$text" --plot x.svg
says "--plot is for carat evaluate distance"
exits 1 evaluate distance "$work"
says "there are no checkpoints"
cp -r "$model" "$work/cut"
head -c 400 "$model/checkpoint-2/model.safetensors" >"$work/cut/checkpoint-2/model.safetensors"
exits 1 evaluate distance "$work/cut"
says "checkpoint-2/model.safetensors"
ok refused
