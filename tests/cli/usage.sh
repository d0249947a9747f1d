#!/usr/bin/env bash
# usage.sh - wrong usage exits with 2 and names what was meant; help exists for every verb.
. "$(dirname "$0")/common.sh"

exits 2
prints "carat VERB" "train" "generate"
exits 0 --help
prints "carat VERB" "Exit codes"
exits 0 -h
exits 0 --version
prints "carat 0."
ok top

exits 2 trian
says 'there is no verb "trian"; did you mean "train"?' "carat --help"
exits 2 qqqqqqqq
says 'there is no verb "qqqqqqqq"'
! grep -q "did you mean" "$work/err" || fail "a suggestion for qqqqqqqq"
ok verbs

for verb in train generate evaluate data plan inspect bench show; do
    exits 0 $verb --help
    silent
    prints "carat $verb " "--json" "--threads" "Examples:" "  carat $verb"
    exits 0 $verb -h
    exits 0 $verb x --no-json --help
done
exits 0 generate --help
prints "max_new_tokens" "top_p" "repetition_penalty" "stop_strings"
exits 0 evaluate --help
prints "stride" "choices"
ok help

exits 2 generate --max_new_token 3
says 'unknown option "max_new_token"; did you mean "max_new_tokens"?'
exits 2 generate model --max-new-token=3
says 'did you mean "max_new_tokens"?'
exits 2 generate model temprature=3
says 'unknown option "temprature"; did you mean "temperature"?'
exits 2 generate model --zzzzzzzzz 3
says 'unknown option "zzzzzzzzz"'
exits 2 generate model --top_k
says "--top_k needs a value"
exits 2 generate model --top_k many
says "top_k" "many"
exits 2 generate model --top_p 1.5
says "top_p" "1.5"
exits 2 generate model --top_k -1
says "top_k" "-1"
exits 2 generate model --top_k 2.5
says "top_k" "2.5"
exits 2 inspect model --threads 0.5
says "threads"
exits 2 evaluate model --batch 0 text
says "batch"
ok options

exits 2 generate
says "expected: carat generate MODEL"
exits 2 inspect
exits 2 inspect a b
says 'unexpected argument "b"'
exits 2 evaluate model
says "TEXT" "--choices"
exits 2 data encode
exits 2 data rot13 README.md
says 'there is no "data rot13"' "tokenizer, encode, decode, sft-check or pause"
exits 2 data encode README.md
says "--tokenizer"
exits 2 data tokenizer README.md
says "--out"
exits 2 data tokenizer README.md --out "$work/t" --kind word
says 'kind "word"' "bpe or characters"
exits 2 evaluate model text --choices q.jsonl
says "both a TEXT file and --choices"
exits 2 generate model prompt --prompt other
says "more than one of PROMPT"
exits 2 plan time x.yaml
says 'there is no plan "time"'
ok arguments

# What is not there.
exits 1 generate "$work/absent" --prompt a
says "$work/absent"
exits 1 inspect "$work/absent.safetensors"
says "$work/absent.safetensors"
exits 1 train "$work/absent.yaml"
says "$work/absent.yaml"
exits 1 data encode --tokenizer bytes "$work/absent.txt"
says "$work/absent.txt"
ok absent
