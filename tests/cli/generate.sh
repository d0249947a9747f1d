#!/usr/bin/env bash
# generate.sh - carat generate on a model that carat trained: output, --json, streams, what is refused.
. "$(dirname "$0")/common.sh"
make_model
model=$work/model

exits 0 generate "$model" --prompt Carat --max_new_tokens 8 --json
silent
json 'len(r["results"]) == 1 and r["new_tokens"] == 8 and r["prompt_tokens"] == 5'
json 'len(r["results"][0]["ids"]) == 8 and len(r["results"][0]["text"]) == 8'
json 'r["results"][0]["finish"] == "length" and "logprobs" not in r["results"][0]'
json 'r["first_token_seconds"] > 0 and r["tokens_per_second"] > 0 and r["prompt_tokens_per_second"] > 0'
cp "$work/out" "$work/first.json"
text=$(python3 -c 'import json, sys; sys.stdout.write(json.load(open(sys.argv[1]))["results"][0]["text"] + "|")' "$work/first.json")
text=${text%|}
exits 0 generate "$model" --prompt Carat --max_new_tokens 8 --json --threads 2
json 'r["results"] == json.load(open("'"$work"'/first.json"))["results"]'
exits 0 generate "$model" --prompt Carat --max_new_tokens 8 --json --seed 1
json 'r["results"] != json.load(open("'"$work"'/first.json"))["results"]'
ok json

# Text as it comes: the prompt and what follows; --quiet leaves the prompt out.
exits 0 generate "$model" --prompt Carat max_new_tokens=8
[ "$(cat "$work/out"; echo x)" = "Carat$text
x" ] || fail "expected: Carat$text"
says "8 tokens"
exits 0 generate "$model" Carat --max-new-tokens=8
[ "$(cat "$work/out"; echo x)" = "Carat$text
x" ] || fail "the prompt as an argument: expected: Carat$text"
exits 0 generate "$model" --prompt Carat --max_new_tokens 8 --quiet
[ "$(cat "$work/out"; echo x)" = "$text
x" ] || fail "expected: $text"
silent
exits 0 generate "$model" --max_new_tokens 3 --json # a newline to begin with
json 'r["prompt_tokens"] == 1 and r["new_tokens"] == 3'
ok text

exits 0 generate "$model" --prompt Carat --max_new_tokens 4 --json --logprobs 2 --do_sample=false
json 'len(r["results"][0]["logprobs"]) == 4'
json 'all(e["logprob"] < 0 and len(e["top"]) == 2 and e["top"][0]["logprob"] == e["logprob"] for e in r["results"][0]["logprobs"])'
json '[e["top"][0]["id"] for e in r["results"][0]["logprobs"]] == r["results"][0]["ids"]'
cp "$work/out" "$work/greedy.json"
exits 0 generate "$model" --prompt Carat --max_new_tokens 4 --json --logprobs 2 --temperature 0
json 'r["results"] == json.load(open("'"$work"'/greedy.json"))["results"]'
exits 0 generate "$model" --prompt Carat --max_new_tokens 4 --json --top_k 1
json 'r["results"][0]["ids"] == json.load(open("'"$work"'/greedy.json"))["results"][0]["ids"]'
exits 0 generate "$model" --prompt Carat --max_new_tokens 4 --json --logprobs 1000 --bf16
json 'math.isfinite(sum(e["logprob"] for e in r["results"][0]["logprobs"]))'
json 'all(50 < len(e["top"]) < 256 for e in r["results"][0]["logprobs"])'
json 'all(a["id"] >= 0 and a["logprob"] is not None for e in r["results"][0]["logprobs"] for a in e["top"])'
ok options

stop=${text:2:1}
exits 0 generate "$model" --prompt Carat --max_new_tokens 8 --json --stop "$stop"
python3 - "$work/out" "$work/first.json" "$stop" <<'PYTHON' || fail "the text is not cut at the stop"
import json, sys
found, whole = (json.load(open(path))["results"][0] for path in sys.argv[1:3])
expected = whole["text"].split(sys.argv[3])[0]
sys.exit(found["text"] != expected or found["finish"] != "stop" or found["ids"] != whole["ids"][:len(expected)])
PYTHON
exits 0 generate "$model" --prompt Carat --max_new_tokens 8 --json --stop_strings "[$stop,zzz]" --stop "qqq"
json 'r["results"][0]["finish"] == "stop"'
exits 2 generate "$model" --prompt Carat --stop_strings 7
says "stop_strings"
ok stops

printf 'Carat\nThe\n' >"$work/prompts.txt"
printf '{"prompt": "Carat"}\n{"prompt": "The"}\n' >"$work/prompts.jsonl"
exits 0 generate "$model" --prompt_file "$work/prompts.txt" --max_new_tokens 8 --json
json 'len(r["results"]) == 2 and r["results"][0] == json.load(open("'"$work"'/first.json"))["results"][0]'
cp "$work/out" "$work/two.json"
exits 0 generate "$model" --prompt_file "$work/prompts.jsonl" --max_new_tokens 8 --json
json 'r["results"] == json.load(open("'"$work"'/two.json"))["results"]'
exits 0 generate "$model" --prompt_file "$work/prompts.txt" --max_new_tokens 8
prints "--- 1" "--- 2"
printf '{"prompt": "a"}\n{"text": "The"}\n' >"$work/bad.jsonl"
exits 1 generate "$model" --prompt_file "$work/bad.jsonl"
says 'bad.jsonl:2: the record has no text in field "prompt"'
: >"$work/none.txt"
exits 1 generate "$model" --prompt_file "$work/none.txt"
says "none.txt: there is no prompt in it"
ok files

exits 0 generate "$model" --prompt Carat --max_new_tokens 1000000000 --json # up to the context of 32
json 'r["results"][0]["finish"] == "context" and r["new_tokens"] == 27'
exits 2 generate "$model" --prompt "The The The The The The The The The The "
says "prompt 0 has 40 tokens, the model's context holds 32"
exits 0 generate "$model" --prompt Carat --max_new_tokens 0 --json
json 'r["results"][0]["text"] == "" and r["new_tokens"] == 0'
ok context

# A reader that goes away.
{
    code=0
    "$carat" generate "$model" --prompt Carat --max_new_tokens 27 2>"$work/err" || code=$?
    echo $code >"$work/code"
} | head -c 1 >/dev/null
case $(cat "$work/code") in 0 | 1) ;; *) fail "broken pipe: exit code $(cat "$work/code")" ;; esac
if [ -c /dev/full ]; then
    code=0
    "$carat" generate "$model" --prompt Carat --max_new_tokens 5 >/dev/full 2>"$work/err" || code=$?
    [ "$code" = 1 ] || fail "full disk: exit code $code"
    says "standard output"
fi
ok broken_pipe

# Files that do not fit together, or are damaged.
cp -r "$model" "$work/other"
exits 0 data tokenizer "$source_root/README.md" --vocab_size 500 --out "$work/bpe"
exits 1 generate "$model" --prompt a --tokenizer "$work/bpe"
says "the tokenizer has 500 tokens, the model's vocabulary"
size=$(wc -c <"$model/model.safetensors")
head -c $((size / 2)) "$model/model.safetensors" >"$work/other/model.safetensors"
exits 1 generate "$work/other" --prompt a
says "$work/other/model.safetensors"
cp "$model/model.safetensors" "$work/other/model.safetensors"
sed 's/"n_embd": 16/"n_embd": 32/' "$model/config.json" >"$work/other/config.json"
exits 1 generate "$work/other" --prompt a
says "transformer.wte.weight"
printf '{' >"$work/other/config.json"
exits 1 generate "$work/other" --prompt a
says "config.json"
ok damaged

# Bytes that are no text are shown as they are, and as U+FFFD in JSON.
make_model bytes
exits 0 generate "$model" --prompt Carat --max_new_tokens 24 --temperature 100 --json
json 'len(r["results"][0]["ids"]) == 24'
json 'bytes(r["results"][0]["ids"]).decode("utf-8", "replace") == r["results"][0]["text"]'
json '"\ufffd" in r["results"][0]["text"]'
ok bytes
