#!/usr/bin/env bash
# data.sh - carat data: tokenizers, encoding and decoding there and back, what is refused.
. "$(dirname "$0")/common.sh"
readme=$source_root/README.md

exits 0 data tokenizer "$readme" --vocab_size 400 --out "$work/bpe"
prints "400 tokens from $(wc -c <"$readme") bytes"
exits 0 data tokenizer "$readme" --kind characters --out "$work/characters" --json
json 'r["tokens"] > 20 and r["out"].endswith("/characters")'
exits 0 data tokenizer "$readme" --vocab_size 300 'special_tokens=[<|endoftext|>,<|pad|>]' --out "$work/special" --json
json 'r["tokens"] == 300'
[ "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["<|pad|>"])' "$work/special/vocab.json")" = 1 ] ||
    fail "special tokens are the first ids"
ok tokenizer

for tokenizer in bytes "$work/bpe" "$work/characters"; do
    exits 0 data encode --tokenizer "$tokenizer" "$readme" --out "$work/ids.txt"
    [ ! -s "$work/out" ] || fail "--out and standard output"
    [ "$(wc -l <"$work/ids.txt")" = 1 ] || fail "one line a file"
    exits 0 data decode --tokenizer "$tokenizer" "$work/ids.txt" --out "$work/text.txt"
    same "$readme" "$work/text.txt"
    exits 0 data encode --tokenizer "$tokenizer" "$readme" --json
    cp "$work/out" "$work/ids.jsonl"
    [ "$(head -c 8 "$work/ids.jsonl")" = '{"ids":[' ] || fail 'not {"ids":[...]}'
    [ "$(tail -c 3 "$work/ids.jsonl")" = ']}' ] || fail 'not {"ids":[...]}'
    [ "$(sed 's/{"ids":\[//; s/\]}//; s/,/ /g' "$work/ids.jsonl")" = "$(cat "$work/ids.txt")" ] || fail "other ids in JSON"
    exits 0 data decode --tokenizer "$tokenizer" "$work/ids.jsonl"
    same "$readme" "$work/out"
done
[ "$(wc -w <"$work/ids.txt")" -gt 100 ] || fail "hardly any ids"
ok round_trip

printf 'a\377b\300\200\n\0z\303' >"$work/invalid"
for tokenizer in bytes "$work/bpe"; do
    exits 0 data encode --tokenizer "$tokenizer" "$work/invalid" --out "$work/ids.txt"
    exits 0 data decode --tokenizer "$tokenizer" "$work/ids.txt"
    same "$work/invalid" "$work/out"
done
exits 1 data encode --tokenizer "$work/characters" "$work/invalid"
exits 1 data decode --tokenizer bytes "$work/ids.txt" --json
says "UTF-8"
ok invalid_utf8

printf '{"text": "ab", "t": "c"}\n{"text": "", "t": "\\u00e9d"}\n' >"$work/records.jsonl"
exits 0 data encode --tokenizer bytes "$work/records.jsonl"
printf '97 98\n\n' | cmp -s - "$work/out" || fail "one line a record"
exits 0 data encode --tokenizer bytes "$work/records.jsonl" --field t --json
printf '{"ids":[99]}\n{"ids":[195,169,100]}\n' | cmp -s - "$work/out" || fail 'exactly {"ids":[...]} lines'
cp "$work/out" "$work/ids.jsonl"
exits 0 data decode --tokenizer bytes "$work/ids.jsonl" --json
printf '{"text":"c"}\n{"text":"\303\251d"}\n' | cmp -s - "$work/out" || fail 'exactly {"text":...} lines'
exits 0 data decode --tokenizer bytes "$work/ids.jsonl"
printf 'c\n\303\251d' | cmp -s - "$work/out" || fail "a newline between records"
exits 0 data decode --tokenizer bytes "$work/ids.jsonl" "$work/ids.jsonl"
printf 'c\n\303\251d\nc\n\303\251d' | cmp -s - "$work/out" || fail "a newline between files"
exits 1 data encode --tokenizer bytes "$work/records.jsonl" --field words
says 'records.jsonl:1: the record has no text in field "words"'
ok records

# What is not ids. The line is named; what stood under --out before stays.
echo before >"$work/kept"
refused() {
    printf '97\n%s\n' "$1" >"$work/bad.txt"
    exits "$2" data decode --tokenizer bytes "$work/bad.txt" --out "$work/kept"
    says "bad.txt:2"
    [ "$(cat "$work/kept")" = before ] || fail "the file was replaced"
}
refused '98 x 99' 1
refused '98 256' 1
refused '-1' 1
refused '99999999999' 1
refused '{"ids": [1, "a"]}' 1
refused '{"ids": [4294967296]}' 1
refused '{"ids": [1.5]}' 1
refused '{"ids": 1}' 1
refused '{"text": "a"}' 1
refused '{"ids": [1' 1
ok decode_errors

gpt2=${CARAT_SHARED:-$source_root/../shared}/data/tokenizer/gpt2
[ -d "$gpt2" ] || gpt2=${CARAT_SHARED:-$source_root/../shared}/tokenizer/gpt2
if [ -d "$gpt2" ]; then
    exits 0 data encode --tokenizer "$gpt2" "$gpt2/golden.jsonl" --json
    python3 -c 'import json, sys
golden = [json.loads(line)["ids"] for line in open(sys.argv[1], encoding="utf-8")]
found = [json.loads(line)["ids"] for line in open(sys.argv[2])]
sys.exit(golden != found or len(golden) < 20)' "$gpt2/golden.jsonl" "$work/out" || fail "other ids than the golden ones"
    ok gpt2
else
    echo "SKIPPED gpt2: $gpt2 is not there (CARAT_SHARED names the folder of shared data)"
fi

# A reader that goes away, and a full disk.
for _ in 1 2 3 4; do cat "$readme" "$readme" "$readme" "$readme"; done >"$work/long.txt"
exits 0 data encode --tokenizer bytes "$work/long.txt" --out "$work/long.ids"
{
    code=0
    "$carat" data encode --tokenizer bytes "$work/long.txt" 2>"$work/err" || code=$?
    echo $code >"$work/code"
} | head -c 10 >/dev/null
code=$(cat "$work/code")
[ "$code" = 1 ] || fail "broken pipe: exit code $code, expected 1"
says "standard output"
if [ -c /dev/full ]; then
    for arguments in "show" "show --json" "data decode --tokenizer bytes $work/ids.jsonl" "--help" "show --help"; do
        code=0
        # shellcheck disable=SC2086 # words of a command
        "$carat" $arguments >/dev/full 2>"$work/err" || code=$?
        [ "$code" = 1 ] || fail "carat $arguments on a full disk: exit code $code, expected 1"
        says "standard output"
    done
fi
ok broken_pipe
