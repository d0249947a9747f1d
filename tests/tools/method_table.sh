#!/bin/sh
# The generated table of methods: sorted, closed by NULL, each declared; a name given twice is refused.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'const ct_optimizer_method ct_optimizer_sgd = {\n};\n' >"$work/sgd.c"
printf 'static int x;\nconst ct_optimizer_method ct_optimizer_adamw = {\n};\n' >"$work/adamw.c"
tools/method-table.sh optimizer "$work/table.c" "$work/sgd.c" "$work/adamw.c"
mkdir -p "$work/carat"
printf '%s\n' 'typedef struct { const char *name; } ct_optimizer_method;' \
    'extern const ct_optimizer_method *const ct_optimizer_methods[];' >"$work/carat/optimizer.h"
cat >"$work/main.c" <<'C'
#include <stddef.h>
#include <carat/optimizer.h>
const ct_optimizer_method ct_optimizer_adamw = {"adamw"}, ct_optimizer_sgd = {"sgd"};
int main(void) {
    return !(ct_optimizer_methods[0] == &ct_optimizer_adamw &&
             ct_optimizer_methods[1] == &ct_optimizer_sgd && ct_optimizer_methods[2] == NULL);
}
C
gcc -Wall -Werror -I"$work" "$work/main.c" "$work/table.c" -o "$work/main"
"$work/main"
if tools/method-table.sh optimizer "$work/table.c" "$work/sgd.c" "$work/sgd.c" 2>"$work/error"; then
    echo "method_table: took one name twice" >&2
    exit 1
fi
grep -q ct_optimizer_sgd "$work/error"
