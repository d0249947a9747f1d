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

# Other formats, from the golden files: what they hold, ties, metadata, statistics, filters.
golden=$source_root/tests/golden/archives
exits 0 inspect "$golden/checkpoint.pth"
silent
prints "model.weight" "optimizer.state.0.exp_avg" "is model.weight" "metadata      epoch: 7" "pytorch"
exits 0 inspect "$golden/checkpoint.pth" --json
json 'r["format"] == "pytorch" and r["metadata"]["name"] == "café" and r["metadata"]["size"] == [2, 3]'
json '[t["alias"] for t in r["list"] if "alias" in t] == ["mixed.0", "model.weight"]'
exits 0 inspect "$golden/arrays.npz" --stats --json --quiet
silent
json 'r["format"] == "npz" and {t["name"]: t for t in r["list"]}["scalar"]["statistics"]["mean"] == 2.5'
json '{t["name"]: t for t in r["list"]}["empty"]["statistics"]["min"] is None'
exits 0 inspect "$golden/one.npy"
prints "F32   [3, 4, 5]"
exits 0 inspect "$golden/gpt2" --stats --filter '*.ln_1.*' --memory 16M --threads 2
prints "4 of 28 tensors" "norm 2.82843" "parameters    2,080: embedding 320" "layers 2, heads 2, width 8"
exits 0 inspect "$golden/gpt2" --stats --filter ln_1 --json --quiet
cp "$work/out" "$work/two.json"
exits 0 inspect "$golden/gpt2" --stats --filter ln_1 --json --quiet --threads 1
same "$work/out" "$work/two.json"
exits 0 inspect "$golden/gpt2_shards" --json
json 'len(r["files"]) == 2 and r["model"]["parameters"] == 2080 and r["tensors"] == 28'
exits 1 inspect "$golden/gpt2" --filter transformer.wte.wieght
says 'none of 28 tensors matches' 'the nearest name is "transformer.wte.weight"'
exits 2 inspect "$golden/gpt2" --memory 1M
says "memory"
ok formats

# Hostile files are refused, say why, and run nothing. (The sanitizers' memory around each value counts too: a budget that
# lets the reader's own bounds speak.)
for words in "system.pt:posix.system" "legacy.pt:old format" "bomb.pt:2 million values" "beyond.pt:beyond its storage" \
    "object.npz:Python objects" "bomb.npz:deflate" "lacking:1 of 1 shards are missing" "text.npy:texts"; do
    exits 1 inspect "$golden/${words%%:*}" --json --memory 2G
    says "${words#*:}"
    [ ! -s "$work/out" ] || fail "output in spite of an error"
done
head -c 300 "$golden/state.bin" >"$work/short.bin"
exits 1 inspect "$work/short.bin"
says "short.bin" "cut short"
[ ! -e /tmp/pwned ] || fail "a pickle ran a command"
ok hostile

# GGUF: keys, block types decoded; a key that is no text; names that are commands to a terminal are shown without them.
exits 0 inspect "$source_root/tests/golden/gguf/blocks.gguf" --stats --quiet
prints "architecture  llama (golden blocks)" "metadata      test.numbers: [1,2,3]" "Q4_K  [3, 512]  min"
exits 0 inspect "$source_root/tests/golden/gguf/blocks.gguf" --json
json 'r["format"] == "gguf" and r["metadata"]["test.i16"] == -30000 and r["model"]["parameters"] == r["elements"]'
python3 - "$work" <<'PYTHON'
import json, struct, sys
def text(b): return struct.pack("<Q", len(b)) + b
for name, key in (("key", b"bad\xff"), ("good", b"esc\x1b[2J")):
    body = text(key) + struct.pack("<II", 4, 7) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"x\x1b]0;y\x07")
    open(f"{sys.argv[1]}/{name}.gguf", "wb").write(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + body + bytes(64))
header = json.dumps({"a\u001b[31m\u009b2J": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
open(sys.argv[1] + "/esc.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + b"1")
PYTHON
exits 1 inspect "$work/key.gguf"
says "no text in UTF-8"
exits 0 inspect "$work/good.gguf"
prints "metadata      esc?[2J: 7" "architecture  x?]0;y?"
exits 0 inspect "$work/esc.safetensors"
prints "a?[31m??2J"
exits 1 inspect "$work/esc.safetensors" --filter none
if grep -q "$(printf '\033')" "$work/out" "$work/err"; then fail "a command to the terminal was let through"; fi
ok gguf_and_terminal

# An adapter folder, and one with several files of which none is the model.
mkdir "$work/adapter"
cp "$golden/state.bin" "$work/adapter/adapter_model.bin"
echo '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q", "v"], "base_model_name_or_path": "a/b"}' \
    >"$work/adapter/adapter_config.json"
exits 0 inspect "$work/adapter"
prints "adapter       LORA, rank 4, alpha 8, of a/b" 'targets       ["q","v"]' "2 tensors"
mkdir "$work/several"
cp "$golden/state.bin" "$work/several/one.pt"
cp "$golden/lone.pt" "$work/several/two.pt"
exits 0 inspect "$work/several"
prints "one.pt" "two.pt" "name the one to inspect"
ok folders
