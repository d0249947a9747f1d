#!/bin/sh
# The generated table of methods: sorted, closed by NULL, each declared; empty where a kind has no method yet; a name
# given twice is refused; every kind of a header is in the registry's list and the other way round.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'const ct_optimizer_method ct_optimizer_sgd = {\n};\n' >"$work/sgd.c"
printf 'static int x;\nconst ct_optimizer_method ct_optimizer_adamw = {\n};\n' >"$work/adamw.c"
mkdir -p "$work/carat"
printf '%s\n' 'typedef struct { const char *name; } ct_method;' \
    'typedef struct { ct_method method; int more; } ct_optimizer_method;' \
    'extern const ct_optimizer_method *const ct_optimizer_methods[];' >"$work/carat/optimizer.h"
cat >"$work/main.c" <<'C'
#include <stddef.h>
#include <carat/optimizer.h>
extern const ct_method *const ct_optimizer_method_list[];
const ct_optimizer_method ct_optimizer_adamw = {{"adamw"}, 1}, ct_optimizer_sgd = {{"sgd"}, 2};
int main(void) {
    if (!FULL) return ct_optimizer_methods[0] || ct_optimizer_method_list[0];
    return !(ct_optimizer_methods[0] == &ct_optimizer_adamw && ct_optimizer_methods[1] == &ct_optimizer_sgd &&
             ct_optimizer_methods[2] == NULL && ct_optimizer_method_list[0] == &ct_optimizer_adamw.method &&
             ct_optimizer_method_list[1] == &ct_optimizer_sgd.method && ct_optimizer_method_list[2] == NULL);
}
C
tools/method-table.sh optimizer "$work/table.c" "$work/sgd.c" "$work/adamw.c"
gcc -Wall -Werror -DFULL=1 -I"$work" "$work/main.c" "$work/table.c" -o "$work/main"
"$work/main"
tools/method-table.sh optimizer "$work/table.c" </dev/null
gcc -Wall -Werror -DFULL=0 -I"$work" "$work/main.c" "$work/table.c" -o "$work/main"
"$work/main"
if tools/method-table.sh optimizer "$work/table.c" "$work/sgd.c" "$work/sgd.c" 2>"$work/error"; then
    echo "method_table: took one name twice" >&2
    exit 1
fi
grep -q ct_optimizer_sgd "$work/error"

tools/list-sources.sh kinds | sort >"$work/headers"
sed -nE 's/^CT_KIND\(([a-z_]+),.*/\1/p' src/method/kinds.inc.h | sort >"$work/listed"
diff "$work/headers" "$work/listed" || {
    echo "method_table: the kinds with a header (<) are not those of src/method/kinds.inc.h (>)" >&2
    exit 1
}
[ -s "$work/listed" ]
