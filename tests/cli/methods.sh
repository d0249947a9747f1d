#!/usr/bin/env bash
# methods.sh - docs/methods is what the source says, and the example of every method runs. An example that needs the shared
# data is skipped, visibly, where there is none.
. "$(dirname "$0")/common.sh"

exits 0 show --markdown "$work/methods" --quiet
silent
diff -r "$source_root/docs/methods" "$work/methods" >"$work/out" 2>"$work/err" ||
    fail "docs/methods is not what the source says: run make docs"
python3 - "$work/methods" <<'PYTHON' || fail "links of docs/methods"
import os, re, sys
top, pages, links = sys.argv[1], 0, 0
for folder, _, names in os.walk(top):
    for name in names:
        path, pages = os.path.join(folder, name), pages + 1
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", open(path, encoding="utf-8").read()):
            links += 1
            if not os.path.exists(os.path.join(folder, link)):
                sys.exit(f"{path}: a link leads to {link}, which is not there")
assert pages > 6 and links > 2 * (pages - 1), (pages, links)
PYTHON
# Pages of methods that are no more go away; what a person wrote there stays.
mkdir -p "$work/old/optimizer"
cp "$work/methods/optimizer/adamw.md" "$work/old/optimizer/gone.md"
echo "notes" >"$work/old/optimizer/notes.md"
exits 0 show --markdown "$work/old" --quiet
[ ! -e "$work/old/optimizer/gone.md" ] && [ -e "$work/old/optimizer/notes.md" ] || fail "what is removed from docs/methods"
ok pages

cd "$work"
mkdir -p bin repository/build
ln -s "$carat" bin/carat
PATH=$work/bin:$PATH
cp -r "$source_root/README.md" "$source_root/recipes" repository
[ ! -d "${CARAT_SHARED:-/nowhere}" ] || ln -s "$CARAT_SHARED" shared
cd repository
exits 0 show --json
python3 - "$work/out" >"$work/examples" <<'PYTHON'
import json, sys
everything = json.load(open(sys.argv[1], encoding="utf-8"))
seen = set()
for kind in everything["kinds"]:
    for method in kind["methods"]:
        name = kind["name"] + "/" + method["name"]
        if not method["available"]:
            print(f"{name}\t-\t{method['unavailable']}")
            continue
        assert method["example"], f"{name} has no example"
        if method["example"] not in seen:
            seen.add(method["example"])
            print(f"{name}\t+\t{method['example']}")
PYTHON
ran=0
while IFS=$'\t' read -r name state words; do
    if [ "$state" = - ]; then
        echo "SKIPPED $name: not available: $words"
    elif [[ $words == *../shared/* && ! -d ../shared ]]; then
        echo "SKIPPED $name: its example needs ../shared: $words"
    else
        bash -c "$words" >"$work/out" 2>"$work/err" </dev/null || fail "the example of $name does not run: $words"
        ran=$((ran + 1))
    fi
done <"$work/examples"
[ $ran -ge 5 ] || fail "only $ran examples were run"
ok "$ran examples"
