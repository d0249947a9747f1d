#!/usr/bin/env bash
# inspect.sh - carat inspect: a model folder and a safetensors file that carat wrote, damaged files.
. "$(dirname "$0")/common.sh"

make_model
exits 0 inspect "$work/model"
silent
prints "architecture  gpt2" "transformer.wte.weight" "F32" "transformer.h.0.attn.c_attn.weight" "[16, 48]" " elements, "
exits 0 inspect "$work/model" --json
json 'r["config"]["model_type"] == "gpt2" and r["config"]["n_embd"] == 16'
json 'r["tensors"] == len(r["list"]) and r["elements"] == sum(math.prod(t["shape"]) for t in r["list"])'
json 'all(t["dtype"] == "F32" and t["bytes"] == 4 * math.prod(t["shape"]) for t in r["list"])'
json 'r["bytes"] == sum(t["bytes"] for t in r["list"])'
cp "$work/out" "$work/folder.json"
exits 0 inspect "$work/model/model.safetensors" --json
json '"config" not in r and r["list"] == json.load(open("'"$work"'/folder.json"))["list"]'
ok written_by_carat

# The same header as another reader sees it.
python3 - "$work/model/model.safetensors" "$work/folder.json" <<'PYTHON' || fail "other tensors than in the file's header"
import json, struct, sys
data = open(sys.argv[1], "rb").read()
header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
header.pop("__metadata__", None)
mine = {t["name"]: (t["dtype"], t["shape"]) for t in json.load(open(sys.argv[2]))["list"]}
sys.exit(mine != {name: (t["dtype"], t["shape"]) for name, t in header.items()})
PYTHON
ok header

size=$(wc -c <"$work/model/model.safetensors")
head -c $((size - 10)) "$work/model/model.safetensors" >"$work/short.safetensors"
exits 1 inspect "$work/short.safetensors"
says "short.safetensors"
head -c 4 "$work/model/model.safetensors" >"$work/short.safetensors"
exits 1 inspect "$work/short.safetensors"
says "short.safetensors"
printf 'hello, this is a text' >"$work/text.safetensors"
exits 1 inspect "$work/text.safetensors" --json
says "text.safetensors"
[ ! -s "$work/out" ] || fail "output in spite of an error"
mkdir "$work/empty"
exits 1 inspect "$work/empty"
says "$work/empty"
ok damaged
