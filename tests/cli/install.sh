#!/usr/bin/env bash
# install.sh - what `make install` installs is complete and works from another place: command, library, headers, pkg-config
# file, recipes, manual pages without warnings, completion that knows verbs, options and methods.
. "$(dirname "$0")/common.sh"
unset LD_LIBRARY_PATH # Meson points it at the build folder
install_copy

for name in bin/carat include/carat.h include/carat/base.h include/carat/method.h include/carat/optimizer.h \
    share/carat/recipes/gpt-tiny.yaml share/bash-completion/completions/carat share/man/man1/carat.1 \
    share/man/man1/carat-train.1; do
    [ -n "$(find "$dest" -path "*/$name")" ] || fail "$name is not installed"
done
for header in "$source_root"/include/carat/*.h; do
    [ -n "$(find "$dest" -path "*/include/carat/${header##*/}")" ] || fail "${header##*/} is not installed"
done
[ -n "$(find "$dest" -name 'libcarat.so.*')" ] && [ -n "$(find "$dest" -name libcarat.a)" ] || fail "a library is missing"
ok files

# The command finds the library that was installed with it, wherever both were put.
exits 0 --version
ldd "$carat" | grep -q "libcarat.so.0 => $dest" || fail "the command does not use the library beside it"
mv "$dest" "$work/elsewhere"
"$work/elsewhere${carat#"$dest"}" --version >"$work/out" || fail "the command does not run after being moved"
mv "$work/elsewhere" "$dest"
ok command

# A manual page for every verb; each names the options of --help, aliases too.
man1=$(find "$dest" -path '*/man/man1')
for verb in $("$carat" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'); do
    [ -s "$man1/carat-$verb.1" ] || fail "there is no manual page of carat $verb"
    grep -q "carat\\\\-$verb" "$man1/carat.1" || fail "carat.1 does not name $verb"
    "$carat" "$verb" --help | sed -nE 's/^  --([a-z_.0-9]+) .*/\1/p' >"$work/options"
    while read -r option; do
        grep -qF "\\fB\\-\\-$option\\fR" "$man1/carat-$verb.1" || fail "carat-$verb.1 does not have --$option"
    done <"$work/options"
done
grep -qF '\fB\-\-output_dir\fR, \fB\-\-out\fR' "$man1/carat-train.1" || fail "carat-train.1 does not have --out"
exits 0 train --help
prints "also --out)" "also --lr)"
ok "manual pages"

checked=0
for page in "$man1"/*.1; do
    if command -v man >/dev/null; then
        LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -l "$page" >"$work/out" 2>"$work/err" || fail "man: ${page##*/}"
    elif command -v groff >/dev/null; then
        groff -man -Tutf8 -ww "$page" >"$work/out" 2>"$work/err" || fail "groff: ${page##*/}"
    else
        echo "SKIPPED: neither man nor groff is there to read the manual pages"
        break
    fi
    silent
    grep -q "EXIT STATUS" "$work/out" || fail "${page##*/} is not shown whole"
    checked=$((checked + 1))
done
[ $checked = 0 ] || ok "$checked manual pages without warnings"

# completes WORDS... EXPECTED: the last word of WORDS can become EXPECTED. The shell splits words at "=".
# shellcheck disable=SC1090
. "$(find "$dest" -path '*/completions/carat')"
completes() {
    local expected=${*: -1}
    COMP_WORDS=("$carat" "${@:1:$#-1}")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _carat
    printf '%s\n' "${COMPREPLY[@]}" | grep -qxF -- "$expected" || fail "completion of '${COMP_WORDS[*]:1}' lacks $expected"
}
completes_nothing() {
    COMP_WORDS=("$carat" "$@")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _carat
    [ ${#COMPREPLY[@]} = 0 ] || fail "completion of '$*' offers ${COMPREPLY[*]}"
}
for verb in $("$carat" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'); do completes "${verb:0:2}" "$verb"; done
"$carat" show optimizer --json >"$work/out"
for name in $(python3 -c 'import json, sys; print(*[m["name"] for m in json.load(open(sys.argv[1])) if m["available"]])' "$work/out"); do
    completes train r.yaml optim = "${name:0:1}" "$name"
    completes train r.yaml optim=${name:0:1} "optim=$name"
    completes train r.yaml --optim "" "$name"
    completes show "${name:0:2}" "$name"
done
completes train r.yaml optim = sgd
completes train --learning "--learning_rate"
completes train --l "--lr"
completes train --data.t "--data.train"
completes train r.yaml lr_sch "lr_scheduler_type="
completes train r.yaml --lr_scheduler_type "w" warmup_stable_decay
completes train --bf16 = t "true"
completes show optimizer a adamw
completes show optimizer/a optimizer/adamw
completes show gp gpt2
completes "" train
completes train model.norm.name = rms rmsnorm
completes train r.yaml model.norm.name=l model.norm.name=layernorm
completes --v --version
completes_nothing inspect some
completes_nothing nosuchverb --lear
completes_nothing train optim=zzz
ok completion

if ldd "$library" | grep -q libasan; then
    echo "SKIPPED: a program for a library with the address sanitizer would need its flags"
    exit 0
fi
cat >"$work/program.c" <<'C'
#include <carat.h>
int main(void) {
    ct_context *context = ct_context_create(1);
    const ct_method *method = ct_method_find(context, "optimizer", "adamw");
    if (method) printf("%s, %s\n", method->title, method->paper.citation);
    ct_context_destroy(context);
    return method ? 0 : 1;
}
C
# shellcheck disable=SC2046
cc -Wall -Wextra -Werror $(pkg-config --cflags carat) "$work/program.c" -o "$work/program" $(pkg-config --libs carat) \
    2>"$work/err" || fail "compiling a program through pkg-config"
LD_LIBRARY_PATH=${library%/*} "$work/program" >"$work/out" || fail "the program does not run"
prints "AdamW, Loshchilov"
ok "program through pkg-config"
