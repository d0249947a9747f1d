#!/bin/sh
# The check of includes: the tree passes, each kind of forbidden include fails and is named.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools/check-includes.py . >/dev/null

refused() { # file, line of C, what the message must say
    rm -rf "$work/tree"
    mkdir -p "$work/tree/src" "$work/tree/include/carat" "$work/tree/$(dirname "$1")"
    printf '/* a file */\n%s\n' "$2" >"$work/tree/$1"
    if tools/check-includes.py "$work/tree" 2>"$work/error"; then
        echo "check_includes: $1 may hold: $2" >&2
        exit 1
    fi
    grep -qF "$3" "$work/error" || {
        cat "$work/error" >&2
        echo "check_includes: expected the message to say: $3" >&2
        exit 1
    }
}
refused src/base/a.c '#include "tensor/tensor.h"' 'src/base/a.c:2: room base may not include "tensor/tensor.h"'
refused src/base/a.c '#include <carat/tensor.h>' 'may not include <carat/tensor.h>'
refused src/tensor/cpu/a.h '  #  include "autograd/graph.h"' 'autograd stands below it'
refused src/format/a.c '#include "nn/layers.h"' 'nn stands beside it'
refused src/model/a.c '#include <carat/optimizer.h>' 'a kind'
refused src/generate/a.c '#include "evaluate/a.h"' 'stands beside it'
refused src/train/a.c '#include "cli/a.h"' 'cli stands below it'
refused src/train/a.c '#include <carat.h>' 'which is for users'
refused src/kitchen/a.c '#include <stdio.h>' 'src/kitchen is not a room'
refused include/carat/tensor.h '#include "autograd.h"' 'carat/autograd.h'
refused include/carat/tensor.h '#include "tensor/raw.h"' 'a public header may not include the internal'

rm -rf "$work/tree"
mkdir -p "$work/tree/src/train" "$work/tree/include/carat"
printf '#include <carat/optimizer.h>\n#include "model/model.h"\n#include "train/a.h"\n' >"$work/tree/src/train/a.c"
tools/check-includes.py "$work/tree" >/dev/null
