#!/bin/bash
# carat train with every optimizer of the table: a run in one piece and one that is resumed half way end with the same
# bits, with links, states in 8 bits and the optimizer's log.
. "$(dirname "$0")/common.sh"

cat >"$work/tiny.yaml" <<YAML
model: {model_type: gpt2, n_embd: 32, n_layer: 2, n_head: 2}
tokenizer: {kind: characters}
data: {train: $source_root/LICENSE, validation_fraction: 0}
context: 16
per_device_train_batch_size: 2
lr_scheduler_type: constant
learning_rate: 0.001
weight_decay: 0.1
logging_steps: 1
YAML

hash_of() { sed -E 's/.*"weights_hash":"([0-9a-f]*)".*/\1/' "$work/out"; }

# both NAME SETTINGS...: six steps at once, and three and three.
both() {
    local name=$1
    shift
    exits 0 train "$work/tiny.yaml" max_steps=6 save_steps=-1 out="$work/$name-one" "$@" --json
    local one
    one=$(hash_of)
    exits 0 train "$work/tiny.yaml" max_steps=3 save_steps=3 out="$work/$name-two" "$@" --json
    exits 0 train "$work/tiny.yaml" max_steps=6 save_steps=3 out="$work/$name-two" "$@" --resume --json
    json 'r["resumed"] and r["steps"] == 6'
    [ "$(hash_of)" = "$one" ] || fail "$name: a resumed run ends with other bits"
}

exits 0 show optimizer
cp "$work/out" "$work/list"
count=0
for name in $(sed -n "s/^const ct_optimizer_method ct_optimizer_\([a-z0-9_]*\) = {.*/\1/p" "$source_root"/src/optimizer/*.c); do
    grep -qw "$name" "$work/list" || fail "carat show optimizer does not list $name"
    both "$name" "optim=$name"
    count=$((count + 1))
done
[ $count -ge 13 ] || fail "only $count optimizers"
ok "resume of $count optimizers"

both narrow optim=adam optimizer.state_bits=8 optimizer.state_min_size=0
both links optim=sgd optimizer.momentum=0.9 'optimizer_links=[nap]' log_optimizer=true
ok "resume with states in 8 bits and with a link"

# The log of the resumed run is that of the other, row by row, and has what optimizer and link tell.
same "$work/links-one/optimizer.csv" "$work/links-two/optimizer.csv"
head -1 "$work/links-one/optimizer.csv" | grep -qx 'step,tensor,norm,relative_update,norm_ratio' || fail "header of optimizer.csv"
[ "$(grep -c '^6,' "$work/links-one/optimizer.csv")" -gt 20 ] || fail "too few rows in optimizer.csv"
grep -q '^6,\*,' "$work/links-one/optimizer.csv" || fail "no means in optimizer.csv"
exits 0 train "$work/tiny.yaml" max_steps=2 save_steps=-1 out="$work/xi" optim=diffgrad log_optimizer=true --json
head -1 "$work/xi/optimizer.csv" | grep -q ',xi_mean$' || fail "no xi_mean"
awk -F, '$2 == "*" && $1 == 2 && !($5 > 0.5 && $5 < 1) { exit 1 }' "$work/xi/optimizer.csv" || fail "mean of xi"
exits 0 train "$work/tiny.yaml" max_steps=1 save_steps=-1 out="$work/radial" optim=adamp log_optimizer=true --json
head -1 "$work/radial/optimizer.csv" | grep -qx 'step,tensor,norm,relative_update,mode,max_cos,threshold' || fail "log of adamp"
awk -F, 'NR > 1 && $2 != "*" && $5 !~ /^(none|rows|whole)$/ || $2 == "*" && $5 != "" { exit 1 }' "$work/radial/optimizer.csv" ||
    fail "words of mode"
ok "optimizer.csv"

# A plan for a budget counts what an optimizer needs, and holds.
for name in muon adafactor adamp; do
    exits 0 train "$work/tiny.yaml" max_steps=2 save_steps=-1 out="$work/plan-$name" "optim=$name" --json
    json 'r["measured_peak"] <= r["plan"]["peak"] + (1 << 20)'
done
ok "memory plans"

exits 2 train "$work/tiny.yaml" max_steps=1 out="$work/bad" optim=adamp optimizer.delta=-1
says optimizer.delta
exits 2 train "$work/tiny.yaml" max_steps=1 out="$work/bad" 'optimizer_links=[nop]'
says 'there is no link "nop"'
{
    cat "$work/tiny.yaml"
    echo 'optimizer_links: [{name: nap, norm_params: drop}]'
} >"$work/drop.yaml"
exits 0 train "$work/drop.yaml" max_steps=2 save_steps=-1 model.norm.affine=false out="$work/drop" lr_scheduler_type=cosine_with_restarts \
    lr_scheduler_kwargs.num_cycles=2 --json
exits 1 train "$work/drop.yaml" max_steps=1 out="$work/bad"
says 'nap.norm_params' 'ln_1.weight'
ok "refusals"
