#!/bin/sh
# The documents say what is so: every `carat` command in README.md, docs/ and `carat VERB --help` runs, every quotation of
# docs/examples/ is verbatim, every key of `carat train --help` has its place in docs/recipes.md, every link leads to
# a file, and the library's example compiles as the README says.
#
# CARAT is the command, CARAT_BUILD the build folder, CARAT_SOURCE the repository.
set -eu
export LC_ALL=C.UTF-8
source=${CARAT_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}
CARAT=${CARAT:-$source/build/carat}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "docs: $*" >&2
    exit 1
}

# ------------------------------------------------------------------------- quotations, keys, links -----
"$CARAT" train --help >"$work/train-help"
python3 - "$source" "$work/train-help" <<'PYTHON'
import os, re, sys
source, help_file = sys.argv[1:]
documents = [os.path.join(source, "README.md"), os.path.join(source, "CHANGELOG.md")]
documents += sorted(os.path.join(source, "docs", n) for n in os.listdir(os.path.join(source, "docs")) if n.endswith(".md"))
problems, quotations = [], 0
for path in documents:
    text, name = open(path, encoding="utf-8").read(), os.path.relpath(path, source)
    for match in re.finditer(r"^```c\n(.*?)^```$", text, re.M | re.S):
        before = text[:match.start()].rstrip().rsplit("\n\n", 1)[-1]
        quoted = re.findall(r"`(docs/examples/[a-z_]+\.c)`", before)
        if not quoted:
            problems.append(f"{name}: a block of C does not say which file it is from")
        elif match.group(1) not in open(os.path.join(source, quoted[-1]), encoding="utf-8").read():
            problems.append(f"{name}: a block is no longer what {quoted[-1]} says")
        quotations += 1
    for link in re.findall(r"\]\(([^)#:\s]+)\)", text):
        if not os.path.exists(os.path.join(os.path.dirname(path), link)):
            problems.append(f"{name}: a link leads to {link}, which is not there")
tiny = open(os.path.join(source, "recipes/gpt-tiny.yaml"), encoding="utf-8").read().splitlines()
for block in re.findall(r"^```yaml\n(.*?)^```$", open(documents[0], encoding="utf-8").read(), re.M | re.S):
    problems += [f"README.md: recipes/gpt-tiny.yaml has no line {line!r}" for line in block.splitlines() if line not in tiny]
recipes = open(os.path.join(source, "docs/recipes.md"), encoding="utf-8").read()
flags = {"resume", "insert_norm", "json", "quiet", "verbose", "help", "plugin"}
keys = set(re.findall(r"^  --([a-z_.0-9]+) ", open(help_file, encoding="utf-8").read(), re.M)) - flags
for key in sorted(keys):
    if not re.search(r"^\| `%s`" % re.escape(key), recipes, re.M):
        problems.append(f"docs/recipes.md: there is no row for {key}")
for key in re.findall(r"^\| `([a-z_.0-9]+)`", recipes, re.M):
    if key not in keys:
        problems.append(f"docs/recipes.md: {key} is not a key of carat train")
if quotations < 10 or len(keys) < 30:
    problems.append(f"found only {quotations} quotations and {len(keys)} keys: this test looks in the wrong place")
for problem in problems:
    print(f"docs: {problem}", file=sys.stderr)
sys.exit(bool(problems))
PYTHON

# ----------------------------------------------------------------------------------------- commands -----
# Lines of ```sh blocks that begin with carat, then the examples of every verb; each distinct line once, in order.
cd "$work"
mkdir bin build
ln -s "$CARAT" bin/carat
PATH=$work/bin:$PATH
cp -r "$source/README.md" "$source/recipes" .
mkdir -p tests/golden
cp -r "$source/tests/golden/encoders" tests/golden
cat "$source/README.md" "$source/LICENSE" "$source"/docs/*.md "$source"/src/train/*.c "$source"/src/nn/*.c >build/text.txt
{
    for document in "$source/README.md" "$source"/docs/*.md; do
        awk '/^```/ { inside = ($0 == "```sh") } inside && /^carat / { print }' "$document"
    done
    for verb in $(carat --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'); do
        carat "$verb" --help | sed -n '/^Examples:/,$s/^  \(carat .*\)/\1/p'
    done
} | awk '!seen[$0]++' >commands
[ "$(wc -l <commands)" -ge 15 ] || fail "found only $(wc -l <commands) commands: this test looks in the wrong place"
while IFS= read -r command; do
    echo "+ $command"
    # The user's own cache and instruction set stay as they are; nothing is read from the list of commands.
    sh -c "$command" >output 2>errors </dev/null || {
        cat output errors >&2
        fail "this command does not run: $command"
    }
    case $command in
    *--json*)
        case $command in
        *--out*) ;;
        *) python3 -c 'import json, sys; json.loads(sys.stdin.read())' <output || fail "no JSON comes from: $command" ;;
        esac
        ;;
    esac
done <commands
cmp README.md out/text.txt || fail "encoding and decoding README.md does not give README.md"
[ -s out/tiny/loss.svg ] && [ -s out/tiny/report.json ] && [ -d out/tiny/checkpoint-40 ] ||
    fail "the run of the README did not leave what docs/files.md names"

# ------------------------------------------------------------------------------- the library's example -----
# As the README compiles it; a library built for the sanitizers would need their flags here too.
if [ -n "${CARAT_BUILD:-}" ] && [ -e "$CARAT_BUILD/libcarat.so" ] &&
    ! ldd "$CARAT_BUILD/libcarat.so" | grep -q libasan; then
    cc -Wall -Wextra -Werror -I"$source/include" "$source/docs/examples/first.c" -o first -L"$CARAT_BUILD" -lcarat \
        -Wl,-rpath,"$CARAT_BUILD"
    ./first >output || fail "docs/examples/first.c does not run"
    [ "$(tail -n 1 output)" != "" ] && [ -s out/xor/model.safetensors ] || fail "docs/examples/first.c left nothing"
fi
echo "docs: $(wc -l <commands) commands run"
