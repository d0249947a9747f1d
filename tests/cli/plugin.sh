#!/usr/bin/env bash
# plugin.sh - methods of users: the example of docs/plugins.md, compiled through pkg-config against an installed copy, is
# listed, trained with, planned and resumed; plug-ins that do not fit are refused with the reason.
. "$(dirname "$0")/common.sh"
install_copy
export CPATH=

# plugin NAME SOURCE: compiles $work/NAME.so.
plugin() {
    # shellcheck disable=SC2046
    cc -O2 -Wall -Wextra -Werror -shared -fPIC $(pkg-config --cflags carat) "$2" -o "$work/$1.so" $(pkg-config --libs carat) \
        >"$work/out" 2>"$work/err" || fail "compiling $2"
}
example=$source_root/docs/examples/plugin_optimizer.c
plugin signum "$example"
cd "$work"

exits 0 show --plugin signum.so
prints " signum "
exits 0 show signum --plugin signum.so
prints "Signum (optimizer, from plug-in signum.so)" "arXiv:1802.04434" "beta" "range 0..0.999999"
exits 0 show optimizer --plugin "$work/signum.so" --json
json '[m["plugin"] for m in r if m["name"] == "signum"] == ["'"$work/signum.so"'"] and r[0]["name"] == "signum"'
exits 2 show signum
says 'there is no kind, method or architecture "signum"'
ok listed

cat >recipe.yaml <<YAML
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
tokenizer: {kind: characters}
data: {train: $source_root/README.md}
context: 32
per_device_train_batch_size: 2
learning_rate: 3e-3
lr_scheduler_type: constant
eval_batches: 2
save_steps: 10
seed: 3
YAML
exits 0 train recipe.yaml max_steps=20 out=whole optim=signum optimizer.beta=0.8 --plugin signum.so --json
json 'r["bits_per_byte_after"] < r["bits_per_byte_before"] - 0.2'
cp out whole.json
exits 0 plan memory recipe.yaml max_steps=20 out=whole optim=signum --plugin signum.so --json
json 'r["peak"] > 0'
# Its state is saved and resumed like that of any other: same bits as without a break, for other threads too.
exits 0 train recipe.yaml max_steps=10 out=half optim=signum optimizer.beta=0.8 --plugin signum.so --json --threads 1
exits 0 train recipe.yaml max_steps=20 out=half optim=signum optimizer.beta=0.8 --plugin signum.so --json --resume
python3 - whole.json out <<'PYTHON' || fail "resuming gives other weights"
import json, sys
a, b = (json.load(open(path)) for path in sys.argv[1:])
sys.exit(a["weights_hash"] != b["weights_hash"])
PYTHON
exits 0 inspect half/checkpoint-20/optimizer.safetensors
prints "exp_avg."
exits 2 train recipe.yaml max_steps=1 out=x optim=signum optimizer.beta=2 --plugin signum.so
says "optimizer.beta: 2 is out of range"
exits 2 train recipe.yaml max_steps=1 out=x optim=signum optimizer.bta=0.5 --plugin signum.so
says 'did you mean "optimizer.beta"?'
exits 2 train recipe.yaml max_steps=1 out=x optim=signum
says 'there is no optimizer "signum"'
ok trained

# A norm: built, trained, planned for, saved by name, and asked for again where it is missing.
plugin l1norm "$source_root/docs/examples/plugin_norm.c"
exits 0 train recipe.yaml max_steps=20 out=normed model.norm.name=l1norm model.norm.eps=1e-5 --plugin l1norm.so --json
json 'r["bits_per_byte_after"] < r["bits_per_byte_before"] - 0.2'
exits 0 generate normed --prompt a max_new_tokens=4 --plugin l1norm.so
exits 0 evaluate normed "$source_root/README.md" --max_tokens 100 --plugin l1norm.so
exits 2 generate normed --prompt a
says 'there is no norm "l1norm"'
ok norm

# ---------------------------------------------------------------------------- plug-ins that do not fit -----
sed 's/\.abi = CT_METHOD_ABI/.abi = CT_METHOD_ABI + 1/' "$example" >abi.c && plugin abi abi.c
exits 1 show --plugin abi.so
says "plug-in abi.so: built for method ABI 2, this Carat has 1"
sed 's/\.size = sizeof(ct_optimizer_method)/.size = sizeof(ct_optimizer_method) + 8/' "$example" >size.c && plugin size size.c
exits 1 show --plugin size.so
says "plug-in size.so: a struct of kind optimizer has"
sed 's/\.name = "signum"/.name = "adamw"/' "$example" >taken.c && plugin taken taken.c
exits 2 show --plugin taken.so
says 'plug-in taken.so: there is already an optimizer "adamw"'
exits 2 show --plugin signum.so --plugin ./signum.so
says 'there is already an optimizer "signum", from plug-in signum.so'
sed 's/\.direction = /.fused = /' "$example" >direction.c && plugin direction direction.c
exits 2 train recipe.yaml max_steps=1 out=x optim=signum --plugin direction.so
says 'plug-in direction.so: optimizer "signum" has no direction'
sed 's/"optimizer", &signum/"optimiser", \&signum/' "$example" >kind.c && plugin kind kind.c
exits 2 show --plugin kind.so
says 'did you mean "optimizer"?'
printf '#include <carat.h>\nct_status carat_plugin(ct_context *c) { (void)c; return CT_ERROR_STATE; }\n' >silent.c
plugin silent silent.c
exits 1 show --plugin silent.so
says "plug-in silent.so: carat_plugin failed (state) and gave no reason"
printf 'int nothing(void);\nint nothing(void) { return 1; }\n' >none.c && plugin none none.c
exits 1 show --plugin none.so
says "plug-in none.so: has no function carat_plugin(ct_context *)"
printf '#include <carat.h>\nct_status ct_nowhere(ct_context *);\nct_status carat_plugin(ct_context *c) { return ct_nowhere(c); }\n' >undefined.c
plugin undefined undefined.c
exits 1 show --plugin undefined.so
says "plug-in undefined.so: cannot be loaded" "ct_nowhere"
exits 1 train recipe.yaml --plugin absent.so
says "plug-in absent.so: there is no such file"
exits 1 show --plugin recipe.yaml
says "plug-in recipe.yaml: cannot be loaded"
exits 2 inspect whole --plugin signum.so
says 'unknown option "plugin"'
exits 2 train recipe.yaml --plugin
says "--plugin needs a value"
ok refused

# A combination that a method excludes is refused before anything is read.
sed 's/\.options = options,/.conflicts = (const ct_method_conflict[]){{"schedule\/cosine", "it sets its own rate"}, {NULL, NULL}}, &/' \
    "$example" >alone.c && plugin alone alone.c
exits 1 train recipe.yaml max_steps=1 out=x optim=signum lr_scheduler_type=cosine --plugin alone.so
says 'optimizer "signum" and schedule "cosine" cannot be used together: it sets its own rate'
exits 0 train recipe.yaml max_steps=1 out=x optim=signum --plugin alone.so
ok composition

# Two at once, in either form of the flag.
sed 's/"signum"/"signum2"/' "$example" >two.c && plugin two two.c
exits 0 show optimizer --plugin signum.so --plugin=two.so --json
json '[m["name"] for m in r][:2] == ["signum", "signum2"]'
ok two
