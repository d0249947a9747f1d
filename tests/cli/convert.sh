#!/usr/bin/env bash
# convert.sh - carat convert between file formats: safetensors, shards, npz, PyTorch, GGUF and back; bounded memory, what is
# refused, what a stopped or failed conversion leaves.
. "$(dirname "$0")/common.sh"

# A llama model folder of random weights: make_llama FOLDER HIDDEN ROWS [dtype]
make_llama() {
    python3 - "$1" "$2" "$3" "${4:-F32}" <<'PYTHON'
import json, os, random, struct, sys
folder, hidden, rows, dtype = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.makedirs(folder, exist_ok=True)
json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": rows,
           "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
           "rms_norm_eps": 1e-5, "vocab_size": 300, "rope_theta": 10000.0, "tie_word_embeddings": False, "hidden_act": "silu"},
          open(os.path.join(folder, "config.json"), "w"))
p = "model.layers.0."
shapes = {"model.embed_tokens.weight": [300, hidden], "lm_head.weight": [300, hidden], "model.norm.weight": [hidden],
          p + "input_layernorm.weight": [hidden], p + "post_attention_layernorm.weight": [hidden],
          p + "self_attn.q_proj.weight": [hidden, hidden], p + "self_attn.k_proj.weight": [hidden // 2, hidden],
          p + "self_attn.v_proj.weight": [hidden // 2, hidden], p + "self_attn.o_proj.weight": [hidden, hidden],
          p + "mlp.gate_proj.weight": [rows, hidden], p + "mlp.up_proj.weight": [rows, hidden],
          p + "mlp.down_proj.weight": [hidden, rows]}
header, data, rng = {"__metadata__": {"format": "pt"}}, bytearray(), random.Random(3)
for name in sorted(shapes):
    count = 1
    for n in shapes[name]: count *= n
    piece = struct.pack("<1024f", *[rng.uniform(-1, 1) for _ in range(1024)])
    if dtype == "BF16": piece = b"".join(piece[i + 2:i + 4] for i in range(0, 4096, 4))
    size = count * (2 if dtype == "BF16" else 4)
    raw = (piece * (size // len(piece) + 1))[:size]
    header[name] = {"dtype": dtype, "shape": shapes[name], "data_offsets": [len(data), len(data) + size]}
    data += raw
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(os.path.join(folder, "model.safetensors"), "wb").write(struct.pack("<Q", len(text)) + text + data)
PYTHON
}

make_llama "$work/model" 64 96
echo "a side file" >"$work/model/notes.txt"
exits 0 convert "$work/model" "$work/m.gguf" --json
json 'r["from"] == "safetensors" and r["to"] == "gguf" and r["architecture"] == "llama" and r["types"] == {"F32": 12}'
says "no vocabulary"
exits 0 convert "$work/m.gguf" "$work/back" --quiet
python3 - "$work/model/model.safetensors" "$work/back/model.safetensors" <<'PYTHON' || fail "the weights are others after GGUF"
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__")
    return {name: (t["dtype"], t["shape"], data[8 + length:][slice(*t["data_offsets"])]) for name, t in header.items()}
sys.exit(tensors(sys.argv[1]) != tensors(sys.argv[2]))
PYTHON
python3 - "$work/model/config.json" "$work/back/config.json" <<'PYTHON' || fail "the config is another after GGUF"
import json, sys
a, b = (json.load(open(path)) for path in sys.argv[1:])
sys.exit(any(b.get(key) != value for key, value in a.items()))
PYTHON
ok gguf_and_back

for type in f16 bf16 q8_0 q4_0; do
    exits 0 convert "$work/model" "$work/m-$type.gguf" --dtype $type
    prints "m-$type.gguf: gguf, 12 tensors (" "3 F32" "${type^^}"
done
prints "7 Q4_0, 2 Q8_0"
exits 0 convert "$work/m-q8_0.gguf" "$work/back" --dtype bf16
exits 0 inspect "$work/back"
prints "BF16" "model.layers.0.mlp.down_proj.weight"
ok types

exits 0 convert "$work/model" "$work/shards" --max-shard-size 50K
[ -f "$work/shards/model.safetensors.index.json" ] || fail "no index"
same "$work/model/notes.txt" "$work/shards/notes.txt"
exits 0 convert "$work/shards" "$work/whole"
exits 0 convert "$work/model" "$work/direct.safetensors"
same "$work/direct.safetensors" "$work/whole/model.safetensors"
exits 0 convert "$work/whole" "$work/w.npz"
exits 0 convert "$work/w.npz" "$work/w.safetensors"
exits 0 inspect "$work/w.safetensors" --json
json 'r["tensors"] == 12'
ok shards_and_npz

# The same bytes for any number of threads.
exits 0 convert "$work/model" "$work/one.gguf" --dtype q4_0 --threads 1
same "$work/m-q4_0.gguf" "$work/one.gguf"
ok threads

# A tensor of 120 MB within 80 MB, rows reordered for rope and all.
make_llama "$work/large" 5504 64 BF16
for type in f16 q8_0; do
    exits 0 convert "$work/large" "$work/large.gguf" --dtype $type --memory 40M --json
    json 'r["peak_resident"] < 120e6'
done
rm -rf "$work/large" "$work/large.gguf"
ok memory

exits 2 convert "$work/model" "$work/model"
exits 2 convert "$work/model" "$work/x.gguf" --dtype q9
says "q9"
exits 2 convert "$work/model/model.safetensors" "$work/x.gguf"
says "config.json"
exits 1 convert "$work/absent" "$work/x.gguf"
sed 's/"llama"/"rwkv"/' "$work/model/config.json" >"$work/whole/config.json"
exits 1 convert "$work/whole" "$work/x.gguf"
says "rwkv" "gemma2"
head -c 5000 "$work/m.gguf" >"$work/cut.gguf"
exits 1 convert "$work/cut.gguf" "$work/cut"
says "cut.gguf"
[ ! -e "$work/x.gguf" ] && [ ! -e "$work/cut" ] && [ ! -e "$work/cut.partial" ] || fail "a failed conversion left output"
ok refused

# An unknown pre-tokenizer is named.
cat >"$work/model/tokenizer.json" <<'JSON'
{"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": {"type": "ByteLevel"},
 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "[0-9]+"}, "behavior": "Isolated",
  "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
 "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
JSON
exits 1 convert "$work/model" "$work/x.gguf"
says "pre-tokenizer" "split [0-9]+;bytes"
ok pre_tokenizer

# Stopped by Ctrl-C, or killed: nothing under the output's name, and the next run starts over.
rm "$work/model/tokenizer.json"
make_llama "$work/large" 4096 16000 BF16
"$carat" convert "$work/large" "$work/stopped" --quiet 2>"$work/err" &
pid=$!
for _ in $(seq 200); do [ -d "$work/stopped.partial" ] && break; sleep 0.01; done
kill -INT $pid 2>/dev/null || true
code=0
wait $pid || code=$?
if [ $code != 0 ]; then # else it was done before the signal
    [ $code = 1 ] || fail "exit code $code after Ctrl-C, expected 1"
    says "stopped"
    [ ! -e "$work/stopped" ] && [ ! -e "$work/stopped.partial" ] || fail "a stopped conversion left output"
fi
"$carat" convert "$work/large" "$work/killed" --quiet &
pid=$!
for _ in $(seq 200); do [ -d "$work/killed.partial" ] && break; sleep 0.01; done
kill -KILL $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
exits 0 convert "$work/large" "$work/killed"
[ ! -e "$work/killed.partial" ] || fail "what a killed conversion left is still there"
"$carat" convert "$work/large" "$work/fresh.safetensors" --quiet &
pid=$!
for _ in $(seq 200); do [ -n "$(find "$work" -name '.fresh.safetensors.tmp-*')" ] && break; sleep 0.01; done
kill -KILL $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
exits 0 convert "$work/large" "$work/fresh.safetensors"
[ -z "$(find "$work" -name '.fresh.safetensors.tmp-*')" ] || fail "the temporary file of a killed conversion is still there"
same "$work/fresh.safetensors" "$work/killed/model.safetensors"
ok interrupted
