#!/usr/bin/env bash
# embed.sh - carat evaluate embed: vectors of texts into an npz that is searched at once and later, and what is refused.
. "$(dirname "$0")/common.sh"

# An encoder with random weights (tests/golden/make_encoders.py) and a tokenizer of single characters.
for i in 1 2 3 4 5 6 7 8; do echo "the quick brown fox jumps over the lazy dog $i"; done >"$work/train.txt"
cat >"$work/recipe.yaml" <<YAML
model: {model_type: gpt2, n_embd: 8, n_layer: 1, n_head: 1}
tokenizer: {kind: characters}
data: {train: $work/train.txt}
context: 8
max_steps: 1
eval_batches: 1
save_steps: 0
output_dir: $work/gpt
YAML
"$carat" train "$work/recipe.yaml" --json >"$work/out" 2>"$work/err" || fail "training the model for the tokenizer"
model=$work/model
cp -r "$source_root/tests/golden/encoders/bert" "$model"
chmod -R u+w "$model"
cp "$work/gpt/tokenizer.json" "$work/gpt/tokenizer_config.json" "$work/gpt/special_tokens_map.json" "$model"

printf 'the fox\nlazy dog\nquick\nthe fox\n' >"$work/texts.txt"
exits 0 evaluate embed "$model" --text "$work/texts.txt" --out "$work/v.npz" --query "lazy dog" --top 2 --json
silent
json 'r["texts"] == 4 and r["tokens"] == 27 and r["width"] == 24 and r["texts_per_second"] > 0'
json '[n["index"] for n in r["nearest"]][0] == 1 and abs(r["nearest"][0]["cosine"] - 1) < 1e-6'
json 'r["nearest"][0]["text"] == "lazy dog" and len(r["nearest"]) == 2 and r["nearest"][1]["cosine"] < 1'
cp "$work/out" "$work/first.json"
exits 0 evaluate embed "$model" --vectors "$work/v.npz" --query "lazy dog" --top 2 --json
json 'r["nearest"] == json.load(open("'"$work"'/first.json"))["nearest"]'
exits 0 evaluate embed "$model" --vectors "$work/v.npz" --query "the fox" --top 9
[ "$(wc -l <"$work/out")" = 4 ] || fail "four texts, expected four lines"
[ "$(sed -n 1p "$work/out" | cut -f2,3)" = "0	the fox" ] || fail "the first of two equal texts comes first"
[ "$(sed -n 2p "$work/out" | cut -f1,2)" = "$(sed -n 1p "$work/out" | cut -f1)	3" ] || fail "equal texts have equal vectors"
ok search

# The archive: what Python's own zip reader and the .npy headers say.
python3 - "$work/v.npz" <<'PYTHON' || fail "the archive is not what it should be"
import ast, struct, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
assert sorted(archive.namelist()) == ["text_bytes.npy", "text_ends.npy", "vectors.npy"]
def read(name):
    data = archive.read(name + ".npy")
    length = struct.unpack("<H", data[8:10])[0]
    return ast.literal_eval(data[10:10 + length].decode()), data[10 + length:]
header, data = read("vectors")
assert header["descr"] == "<f4" and header["shape"] == (4, 24) and not header["fortran_order"]
rows = [struct.unpack("<24f", data[i * 96:i * 96 + 96]) for i in range(4)]
assert rows[0] == rows[3] and rows[0] != rows[1] and max(map(abs, rows[0])) > 0.1
assert read("text_bytes")[1] == b"the foxlazy dogquickthe fox"
assert struct.unpack("<4q", read("text_ends")[1]) == (7, 15, 20, 27)
PYTHON
cp "$work/v.npz" "$work/first.npz"
for options in "--batch_tokens 1" "--batch_tokens 9 --threads 1" "--threads 3"; do
    exits 0 evaluate embed "$model" --text "$work/texts.txt" --out "$work/v.npz" $options
    prints "4 texts, 27 tokens, width 24"
    same "$work/v.npz" "$work/first.npz"
done
ok "the archive, for any batch and number of threads"

printf 'n\tq\n1\tthe fox\n2\tlazy dog\n3\tquick\n4\tthe fox\n' >"$work/texts.tsv"
printf '{"q": "the fox"}\n{"q": "lazy dog"}\n{"q": "quick"}\n{"q": "the fox"}\n' >"$work/texts.jsonl"
for file in texts.tsv texts.jsonl; do
    exits 0 evaluate embed "$model" --text "$work/$file" --field q --out "$work/v.npz" --quiet
    [ ! -s "$work/out" ] || fail "--quiet says something"
    same "$work/v.npz" "$work/first.npz"
done
exits 0 evaluate embed "$model" --text "$work/texts.txt" --out "$work/v.npz" --pooling cls --normalize yes
cmp -s "$work/v.npz" "$work/first.npz" && fail "--pooling cls changes nothing"
ok "fields and options"

exits 2 evaluate embed "$model" --text "$work/texts.txt"
says "expected --out FILE.npz, --query TEXT or both"
exits 2 evaluate embed "$model" --query fox
says "expected one of --text FILE and --vectors FILE.npz"
exits 2 evaluate embed "$model" --vectors "$work/v.npz" --out "$work/w.npz" --query fox
exits 2 evaluate embed "$model" "$work/texts.txt" --out "$work/v.npz"
says "--text names the texts"
exits 2 evaluate embed "$model" --text "$work/texts.txt" --out "$work/v.npz" --max_seq_length 21
says "more than the model's 20 positions"
exits 1 evaluate embed "$work/gpt" --text "$work/texts.txt" --out "$work/w.npz"
says "a gpt2 is no encoder"
exits 1 evaluate embed "$model" --text "$work/nothing.txt" --out "$work/w.npz"
says "nothing.txt"
exits 1 evaluate embed "$model" --vectors "$work/texts.txt" --query fox
exits 2 evaluate embed "$model" --vectors "$work/v.npz" --query "FOX"
[ ! -e "$work/w.npz" ] || fail "a failed run left a file"
ok refused

exits 1 generate "$model" --prompt fox
says "generate: a bert is an encoder"
exits 1 evaluate "$model" "$work/texts.txt"
says "evaluate: a bert is an encoder"
sed -e "s#^model: .*#model: {path: $model}#" -e "s#/gpt#/other#" "$work/recipe.yaml" >"$work/bert.yaml"
exits 1 train "$work/bert.yaml"
says "model: a bert is an encoder"
ok "language models only"
