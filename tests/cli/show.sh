#!/usr/bin/env bash
# show.sh - carat show: kinds, methods, architectures.
. "$(dirname "$0")/common.sh"

exits 0 show
silent
prints "optimizer: how gradients change parameters" " adamw" " sgd" "schedule" " cosine" " warmup_stable_decay" \
    "architecture" " gpt2"
exits 0 show --json
json 'r["carat"] and {"optimizer", "schedule"} <= {k["name"] for k in r["kinds"]}'
json '"gpt2" in [a["name"] for a in r["architectures"]]'
json 'all(m["title"] and m["summary"] and "citation" in m and m["task"] and m["available"] in (True, False) and
    (m["example"] or not m["available"]) and "claims" in m and "uses" in m for k in r["kinds"] for m in k["methods"])'
json 'all(o["help"] and o["type"] for k in r["kinds"] for m in k["methods"] for o in m["options"].values())'
json '[m["uses"] for k in r["kinds"] for m in k["methods"] if m["name"] == "sgd"] == [["direction"]]'
ok kinds

exits 0 show optimizer
prints "adamw" "sgd"
! grep -q cosine "$work/out" || fail "a schedule among the optimizers"
exits 0 show schedule --json
json 'sorted(m["name"] for m in r) == [m["name"] for m in r] and all(m["kind"] == "schedule" and m["summary"] for m in r)'
ok kind

exits 0 show adamw
prints "AdamW (optimizer)" "arXiv:1711.05101" "beta1" "beta2" "epsilon" 'under "optimizer"' "default 0.999" \
    "Hooks: direction" "Claim" "Example:" "  carat train " "optim=adamw"
exits 0 show adamw --json
json 'r["name"] == "adamw" and r["options"]["beta2"]["default"] == 0.999 and r["paper"] == "arXiv:1711.05101"'
json 'r["options"]["beta1"]["minimum"] == 0 and r["options"]["beta1"]["maximum"] < 1 and r["plugin"] is None'
exits 0 show warmup_stable_decay --json
json '{k: v["default"] for k, v in r["options"].items()} == {"decay_ratio": 0.1, "min_ratio": 0, "decay_type": "linear"}'
json 'r["options"]["decay_type"]["choices"] == ["linear", "cosine", "1-sqrt"]'
cp "$work/out" "$work/one"
for words in "schedule warmup_stable_decay" "schedule/warmup_stable_decay"; do
    # shellcheck disable=SC2086
    exits 0 show $words --json
    same "$work/out" "$work/one"
done
ok method

# What the claims of a method measured last, from the recorded results.
cat >"$work/claims.json" <<'JSON'
{"carat": "0.1.0", "counts": {"holds": 0}, "claims": [
  {"name": "slow", "verdict": "DOES NOT HOLD", "claim": "It is slower.", "reported": "half the speed",
   "methods": ["schedule/cosine"], "seeds": [1, 2, 3], "checks": [
     {"what": "loss, A - B", "measured": -0.43, "relation": "<=", "bound": -0.3, "margin": 0.13, "holds": true,
      "interval": {"count": 3, "low": -0.5, "high": -0.36, "confidence": 0.95}},
     {"what": "accuracy, %", "measured": 90.25, "relation": ">=", "bound": 91, "margin": -0.75, "holds": false}],
   "plots": [{"x": []}]},
  {"name": "away", "verdict": "SKIPPED", "reason": "there is no mnist", "claim": "Another.",
   "methods": ["optimizer/adamw", "schedule/cosine"]}]}
JSON
export CARAT_CLAIMS=$work/claims.json
exits 0 show cosine
prints "Claim slow: It is slower." "reported: half the speed" "  DOES NOT HOLD, 3 seeds" \
    "holds: loss, A - B: -0.43 (<= -0.3, margin 0.13, 95 % interval -0.5 to -0.36)" \
    "DOES NOT HOLD: accuracy, %: 90.25 (>= 91, margin -0.75)" "Claim away: Another." "SKIPPED: there is no mnist"
exits 0 show cosine --json
json '[c["verdict"] for c in r["claims"]] == ["DOES NOT HOLD", "SKIPPED"] and "plots" not in r["claims"][0]'
exits 0 show adamw --json
json '[c["name"] for c in r["claims"]] == ["away"]'
exits 0 show linear
prints "Claim: none recorded"
exits 0 show --markdown "$work/claimed" --quiet
grep -q '^\*\*DOES NOT HOLD\*\* (3 seeds)$' "$work/claimed/schedule/cosine.md" || fail "the claim is not on its page"
echo '{"claims": [' >"$work/claims.json"
exits 1 show cosine
says "$work/claims.json"
unset CARAT_CLAIMS
ok claims

exits 0 show gpt2
prints "gpt2 (architecture)" "n_embd" "tie_word_embeddings"
exits 0 show gpt2 --json
json 'r["kind"] == "architecture" and r["name"] == "gpt2" and r["options"]["n_embd"] == 768'
ok architecture

exits 2 show adamm
says 'there is no kind, method or architecture "adamm"; did you mean "adam"?'
exits 2 show optimiser
says 'did you mean "optimizer"?'
exits 2 show gpt3
says 'did you mean "gpt2"?'
exits 2 show optimizer adamm
says 'there is no optimizer "adamm"; did you mean "adam"?'
exits 2 show optimizer/cosine
says 'there is no optimizer "cosine"'
exits 2 show shedule/cosine
says 'there is no kind "shedule"; did you mean "schedule"?'
exits 2 show adamw --markdown "$work/pages"
says "--markdown and --man write all pages"
exits 1 show --markdown "$work/one/pages"
says "$work/one"
exits 1 show --man "$work/one/pages"
says "$work/one"
ok unknown

# A name of two kinds must be said with its kind; made here by a plug-in that is compiled against the build.
if [ -n "${CARAT_BUILD:-}" ] && [ -e "$CARAT_BUILD/libcarat.so" ]; then
    sed 's/"signum"/"cosine"/' "$source_root/docs/examples/plugin_optimizer.c" >"$work/cosine.c"
    cc -shared -fPIC -I"$source_root/include" "$work/cosine.c" -o "$work/cosine.so" 2>"$work/err" || fail "compiling a plug-in"
    exits 2 show cosine --plugin "$work/cosine.so"
    says '"cosine" is more than one method: optimizer/cosine, schedule/cosine; say which of them'
    exits 0 show schedule/cosine --plugin "$work/cosine.so"
    prints "Cosine decay (schedule)"
    exits 0 show optimizer cosine --plugin "$work/cosine.so"
    prints "Signum (optimizer, from plug-in"
    ok ambiguous
else
    echo "SKIPPED: no build folder to compile a plug-in against"
fi
