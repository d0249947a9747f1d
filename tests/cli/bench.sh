#!/usr/bin/env bash
# bench.sh - carat bench: what its report has, which methods it takes, what is refused. Nothing depends on how long
# anything takes.
. "$(dirname "$0")/common.sh"
quick="--rows 8 --columns 16 --stream 64K --seconds 0"

exits 0 bench norm $quick --json --threads 2
silent
json 'r["benchmark"] == "norm" and r["threads"] == 2 and r["timings"] == 7 and r["isa"] in ("plain", "avx2", "avx512")'
json 'r["setting"] == {"rows": 8, "columns": 16, "dtype": "f32"} and r["memory_gb_per_s"] > 0'
json '[m["method"] for m in r["methods"]] == sorted(m["method"] for m in r["methods"]) and len(r["methods"]) >= 7'
json '{"layernorm", "rmsnorm", "batchnorm", "powernorm"} <= {m["method"] for m in r["methods"] if "passes" in m}'
json '[m for m in r["methods"] if m["method"] == "none"][0]["refused"].startswith("none computes nothing")'
json 'all([p["pass"] for p in m["passes"]] == ["forward", "backward"] for m in r["methods"] if "passes" in m)'
json 'all(p["seconds_least"] <= p["seconds"] <= p["seconds_greatest"] for m in r["methods"] for p in m.get("passes", []))'
json 'all(abs(p["bytes"] / p["seconds"] * 1e-9 / p["gb_per_s"] - 1) < 1e-9 for m in r["methods"] for p in m.get("passes", []))'
json 'all(abs(p["gb_per_s"] / r["memory_gb_per_s"] / p["of_memory"] - 1) < 1e-9 for m in r["methods"] for p in m.get("passes", []))'
json 'all(abs(128 / p["seconds"] / p["elements_per_s"] - 1) < 1e-9 for m in r["methods"] for p in m.get("passes", []))'
CARAT_ISA=plain exits 0 bench norm rmsnorm layernorm $quick --dtype f16 --timings 5 --json
json 'r["isa"] == "plain" and r["timings"] == 5 and [m["method"] for m in r["methods"]] == ["rmsnorm", "layernorm"]'
json 'r["methods"][0]["passes"][0]["bytes"] == 2 * 128 * 2 and r["methods"][0]["passes"][1]["bytes"] == 3 * 128 * 2'
exits 0 bench norm rmsnorm $quick --quiet
silent
prints "memory moves" "GB/s" "of memory" "Melements/s" "rmsnorm" "forward" "backward"
ok norm

exits 0 bench optimizer --width 8 --blocks 1 --stream 64K --seconds 0 --json
json 'r["benchmark"] == "optimizer" and all("passes" in m for m in r["methods"]) and len(r["methods"]) >= 12'
json 'all([p["pass"] for p in m["passes"]] == ["step"] for m in r["methods"])'
exits 0 bench optimizer adamw --width 8 --stream 64K --seconds 0
prints "Mparameters/s" "adamw"
ok optimizer

exits 0 complete bench ""
[ "$(cat "$work/out")" = "norm
optimizer" ] || fail "completion of bench"
exits 0 complete bench norm layernorm rms
prints rmsnorm
exits 0 complete bench optimizer ada
prints adamw adafactor
exits 0 complete bench norm --ro
prints --rows
ok completion

exits 2 bench
says "expected: carat bench norm"
exits 2 bench norms
says 'there is no benchmark "norms", expected one of: norm, optimizer; did you mean "norm"?'
exits 2 bench norm $quick layernrm
says 'did you mean "layernorm"?'
exits 1 bench norm $quick none
says "none computes nothing that could be measured"
exits 2 bench norm --width 4
says "bench norm: width belongs to bench optimizer"
exits 2 bench optimizer --rows 4
says "bench optimizer: rows belongs to bench norm"
exits 2 bench norm --timings 4
says "timings" "from 5"
exits 2 bench norm --dtype f64
says "dtype" "f32"
exits 2 bench norm --rows 0
says "rows"
exits 2 bench norm --stream 1T
says "stream"
exits 2 bench norm rmsnorm --rows 1000000000 --columns 1000 --stream 64K --seconds 0
says "expected at most 2147483648 elements"
exits 2 bench norm --row 4
says 'did you mean "rows"?'
ok refused
