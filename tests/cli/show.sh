#!/usr/bin/env bash
# show.sh - carat show: kinds, methods, architectures.
. "$(dirname "$0")/common.sh"

exits 0 show
silent
prints "optimizer" "adamw" "sgd" "schedule" "cosine" "warmup_stable_decay" "architecture" "gpt2"
exits 0 show --json
json '"adamw" in r["optimizer"] and "linear" in r["schedule"] and "gpt2" in r["architecture"]'
ok kinds

exits 0 show optimizer
prints "adamw" "sgd"
! grep -q cosine "$work/out" || fail "a schedule among the optimizers"
exits 0 show schedule --json
json 'sorted(m["name"] for m in r) == [m["name"] for m in r] and all(m["kind"] == "schedule" and m["summary"] for m in r)'
ok kind

exits 0 show adamw
prints "AdamW" "arXiv:1711.05101" "beta1" "beta2" "epsilon"
exits 0 show adamw --json
json 'r["name"] == "adamw" and r["options"]["beta2"] == 0.999 and r["paper"] == "arXiv:1711.05101"'
exits 0 show warmup_stable_decay --json
json 'r["options"] == {"decay_ratio": 0.1, "min_ratio": 0, "decay_type": "linear"}'
ok method

exits 0 show gpt2
prints "gpt2 (architecture)" "n_embd" "tie_word_embeddings"
exits 0 show gpt2 --json
json 'r["kind"] == "architecture" and r["name"] == "gpt2"'
ok architecture

exits 2 show adamm
says 'there is no kind, method or architecture "adamm"; did you mean "adamw"?'
exits 2 show optimiser
says 'did you mean "optimizer"?'
exits 2 show gpt3
says 'did you mean "gpt2"?'
ok unknown
