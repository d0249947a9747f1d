#!/usr/bin/env bash
# evaluate.sh - carat evaluate on a model that carat trained: perplexity, multiple choice, what is refused.
. "$(dirname "$0")/common.sh"
make_model
model=$work/model
printf 'The model is trained by a recipe and the curve is written to the folder of the run.' >"$work/text.txt"

exits 0 evaluate "$model" "$work/text.txt" --json
silent
json 'r["tokens"] == 82 and r["bytes"] == 82'
json 'abs(math.exp(r["loss"]) - r["perplexity"]) < 1e-6 * r["perplexity"]'
json 'abs(r["loss"] / math.log(2) - r["bits_per_token"]) < 1e-9 and abs(r["bits_per_byte"] - r["bits_per_token"]) < 1e-9'
json '1 < r["perplexity"] < 500 and r["seconds"] >= 0'
cp "$work/out" "$work/first.json"
exits 0 evaluate "$model" "$work/text.txt" --json --batch 1 --threads 2
json 'r["loss"] == json.load(open("'"$work"'/first.json"))["loss"]'
exits 0 evaluate "$model" "$work/text.txt" --json --stride 1
json 'r["tokens"] == 82 and r["loss"] != json.load(open("'"$work"'/first.json"))["loss"]'
exits 0 evaluate "$model" "$work/text.txt" --json --max_tokens 20 --stride 16
json 'r["tokens"] == 19'
exits 0 evaluate "$model" "$work/text.txt" --json --bf16 --bf16_weights
json 'abs(r["loss"] - json.load(open("'"$work"'/first.json"))["loss"]) < 0.1'
exits 0 evaluate "$model" "$work/text.txt"
prints "perplexity " " bits per byte (82 tokens, 82 bytes, "
ok perplexity

printf '{"words": "The model"}\n{"words": "the run"}\n' >"$work/text.jsonl"
exits 0 evaluate "$model" "$work/text.jsonl" --field words --json
json 'r["tokens"] == 17' # "The model\nthe run\n"
exits 1 evaluate "$model" "$work/text.jsonl"
says 'text.jsonl:1: the record has no text in field "text"'
ok fields

printf '{"prompt": "The", "choices": [" model", " e"], "answer": 1}\n{"prompt": "The", "choices": [" model", " e"], "answer": 0}\n' >"$work/q.jsonl"
exits 0 evaluate "$model" --choices "$work/q.jsonl" --json
json 'r["questions"] == 2 and r["accuracy"] == 0.5 and r["accuracy_per_byte"] == 0.5'
exits 0 evaluate "$model" --choices "$work/q.jsonl" --json --limit 1
json 'r["questions"] == 1 and r["accuracy"] == 1'
exits 0 evaluate "$model" --choices "$work/q.jsonl"
prints "accuracy 0.5000" "(2 questions)"
printf '{"prompt": "The", "choices": ["a"], "answer": 0}\n' >>"$work/q.jsonl"
exits 1 evaluate "$model" --choices "$work/q.jsonl"
says "q.jsonl:3: expected"
ok choices

printf 'T' >"$work/one.txt"
exits 2 evaluate "$model" "$work/one.txt"
says "the text has 1 tokens, expected at least 2"
: >"$work/none.txt"
exits 2 evaluate "$model" "$work/none.txt"
says "the text has 0 tokens"
exits 2 evaluate "$model" "$work/text.txt" --context 33
says "context 33, the model has 32 positions"
exits 2 evaluate "$model" "$work/text.txt" --context 8 --stride 9
says "stride 9"
exits 0 data tokenizer "$source_root/README.md" --vocab_size 500 --out "$work/bpe"
exits 1 evaluate "$model" "$work/text.txt" --tokenizer "$work/bpe"
says "the tokenizer has 500 tokens"
head -c 300 "$model/model.safetensors" >"$work/cut" && cp "$work/cut" "$model/model.safetensors"
exits 1 evaluate "$model" "$work/text.txt"
says "$model/model.safetensors"
ok refused
