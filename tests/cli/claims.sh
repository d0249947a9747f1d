#!/usr/bin/env bash
# claims.sh - carat claims, with the claims of tests/claims/fixtures in place of the real ones.
. "$(dirname "$0")/common.sh"
[ "$("$carat" claims --list --json | head -c 1)" = "[" ] || fail "the real command lists its claims"
carat=${CARAT_CLAIM_FIXTURES:-build/tests/carat_claim_fixtures}
unset CARAT_TEST_QUICK

exits 0 claims --list
prints "good" "refuted" "(fast)"
exits 0 claims --list --fast --json
json '[c["name"] for c in r] == ["good", "refuted"] and r[0]["fast"]'
ok list

exits 0 claims good
prints "good HOLDS" "[ok] draws" "1 hold, 0 do not hold, 0 skipped, 0 failed"
exits 0 claims refuted
prints "refuted DOES NOT HOLD" "[NO] one: 1, expected > 2 (margin -1)"
exits 1 claims refuted --strict
exits 0 claims needy --data "$work"
prints "needy SKIPPED: there is no no/such/file in $work" "0 hold, 0 do not hold, 1 skipped, 0 failed"
exits 1 claims wrong
prints "wrong FAILED: the matrix is singular"
exits 1 claims crash good
prints "crash FAILED: its process was ended by signal 9" "good HOLDS"
exits 1 claims endless --limit 0.002
prints "endless FAILED: it was stopped after 0.002 minutes"
ok verdicts

exits 2 claims goood
says 'there is no claim "goood"; did you mean "good"?'
exits 2 claims good --resume
says "--out DIR"
exits 2 claims --jobs 0
exits 1 claims good --out /proc/nowhere
ok usage

exits 0 claims good --seeds 5 --first-seed 7 --json
json 'r["claims"][0]["seeds"] == [7, 8, 9, 10, 11] and r["counts"] == {"holds": 1, "does_not_hold": 0, "skipped": 0, "failed": 0}'
silent
ok seeds

# Any number of jobs gives the same file, but for times and the like.
compare() {
    python3 - "$1" "$2" <<'PYTHON' || fail "$1 and $2 differ in more than their circumstances"
import json, sys
a, b = (json.load(open(path)) for path in sys.argv[1:])
for summary in a, b:
    for claim in summary["claims"]: assert set(claim.pop("run")) == {"build", "date", "seconds", "machine", "isa", "threads"}
sys.exit(a != b or [c["name"] for c in a["claims"]] != sorted(c["name"] for c in a["claims"]))
PYTHON
}
exits 1 claims good refuted needy wrong crash --jobs 1 --out "$work/one"
exits 1 claims good refuted needy wrong crash --jobs 4 --out "$work/four"
compare "$work/one/claims.json" "$work/four/claims.json"
python3 - "$work/one/claims.html" <<'PYTHON' || fail "the page is not well-formed"
import sys, xml.etree.ElementTree as tree
text = open(sys.argv[1], encoding="utf-8").read()
assert text.startswith("<!DOCTYPE html>\n")
page = tree.fromstring(text.split("\n", 1)[1])
words = "".join(page.itertext())
for name in ("good", "refuted", "needy", "wrong", "crash", '1 > 2 & "more".', "DOES NOT HOLD"): assert name in words, name
assert len(page.findall(".//{http://www.w3.org/2000/svg}svg")) == 1
PYTHON
[ -z "$(find "$work/one" "$work/four" -type f ! -name claims.json ! -name claims.html)" ] || fail "files are left behind"
ok jobs

# Interrupted: what is done is kept, nothing is left running, and --resume does the rest.
for jobs in 1 3; do
    rm -rf "$work/long"
    "$carat" claims good endless refuted --jobs $jobs --out "$work/long" >"$work/out" 2>"$work/err" </dev/null &
    process=$!
    expected='"refuted"'
    [ $jobs = 3 ] || expected='"good"' # one after the other, by name: endless goes first
    if [ $jobs = 3 ]; then
        for _ in $(seq 200); do
            grep -q "$expected" "$work/long/claims.json" 2>/dev/null && grep -q '"good"' "$work/long/claims.json" && break
            sleep 0.05
        done
    else
        sleep 0.5
    fi
    kill -INT $process
    code=0
    wait $process || code=$?
    [ $code = 1 ] || fail "interrupted with --jobs $jobs: exit code $code, expected 1"
    says "interrupted"
    ! pgrep -P $process >/dev/null || fail "a process is left"
    if [ $jobs = 3 ]; then
        grep -q '"good"' "$work/long/claims.json" || fail "what was done is lost"
        ! grep -q '"endless"' "$work/long/claims.json" || fail "a claim that was stopped has a result"
    fi
    CARAT_TEST_QUICK=1 exits 0 claims good endless refuted --resume --out "$work/long"
    [ $jobs = 1 ] || prints "2 of 3 claims are done already"
    prints "endless HOLDS" "2 hold, 1 do not hold"
done
before=$(cat "$work/long/claims.json")
CARAT_TEST_QUICK=1 exits 0 claims good endless refuted --resume --out "$work/long"
prints "3 of 3 claims are done already" "2 hold, 1 do not hold"
[ "$before" = "$(cat "$work/long/claims.json")" ] || fail "results changed though nothing was run"
CARAT_TEST_QUICK=1 exits 0 claims good endless refuted --resume --out "$work/long" --seeds 2
prints "0 of 3 claims are done already"
sed -i 's/"build": "[0-9a-f]*"/"build": "0123456789abcdef"/' "$work/long/claims.json"
CARAT_TEST_QUICK=1 exits 0 claims good endless refuted --resume --out "$work/long" --seeds 2
prints "0 of 3 claims are done already"
ok "interrupted and resumed"
