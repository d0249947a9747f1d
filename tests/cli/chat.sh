#!/usr/bin/env bash
# chat.sh - carat generate --chat: lines of standard input are answered, commands, templates, what is refused.
. "$(dirname "$0")/common.sh"
cat >"$work/recipe.yaml" <<YAML
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
tokenizer: {kind: bytes}
data: {train: $source_root/README.md}
context: 160
per_device_train_batch_size: 2
max_steps: 2
eval_batches: 2
save_steps: 0
output_dir: $work/model
YAML
"$carat" train "$work/recipe.yaml" --json >"$work/out" 2>"$work/err" || fail "training the model for the test"
model=$work/model

# chats CODE INPUT ARGUMENTS...
chats() {
    local expected=$1 input=$2 code=0
    shift 2
    printf "$input" | "$carat" generate "$model" --chat "$@" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" = "$expected" ] || fail "carat generate --chat $*: exit code $code, expected $expected"
}
# answers EXPRESSION: of the lines of JSON, as `r`.
answers() {
    python3 - "$work/out" "$1" <<'PYTHON' || fail "not so: $1"
import json, sys
r = [json.loads(line) for line in open(sys.argv[1])]
sys.exit(not eval(sys.argv[2]))
PYTHON
}

chats 1 'hi\n'
says "the model has no chat template; --chat-template NAME|FILE gives one: chatml"
chats 1 'hi\n' --chat-template plane
says 'did you mean "plain"?'
chats 2 '' --prompt x
says "--chat reads standard input"
exits 2 generate "$model" --system x
says "--system is an option of --chat"
ok refused

greedy=(--do_sample=false --max_new_tokens 4 --json)
chats 0 'hi\n\nyou\n/exit\nmore\n' --chat-template plain "${greedy[@]}"
silent
answers 'len(r) == 2 and all(x["role"] == "assistant" and x["new_tokens"] == 4 and x["finish"] == "length" for x in r)'
# <user>hi</user><assistant> are 26 bytes; then what was answered, 12 for its end, 27 for the next question
answers 'r[0]["prompt_tokens"] == 26 and r[1]["prompt_tokens"] == 26 + 4 + 12 + 27'
chats 0 'hi\n/reset\nhi' --chat-template plain "${greedy[@]}"
answers 'len(r) == 2 and r[0] == r[1]'
chats 0 'hi\n/reset\nhi\n' --chat-template plain --system 'Be brief.' "${greedy[@]}"
answers 'r[0] == r[1] and r[0]["prompt_tokens"] == 26 + 26'
chats 0 '/rest\n/etc/x\n' --chat-template plain "${greedy[@]}"
says "/rest is not a command, expected /reset or /exit"
answers 'len(r) == 1'
chats 0 '' --chat-template plain
[ ! -s "$work/out" ] || fail "there was nothing to answer"
ok conversation

# Text as it comes, a line for each answer, the same as in JSON.
chats 0 'hi\nyou\n' --chat-template plain "${greedy[@]}"
mv "$work/out" "$work/expected"
chats 0 'hi\nyou\n' --chat-template plain --do_sample=false --max_new_tokens 4
python3 - "$work/out" "$work/expected" <<'PYTHON' || fail "not the answers that --json gives"
import json, sys
found = open(sys.argv[1], encoding="utf-8", errors="replace").read()
sys.exit(found != "".join(json.loads(line)["content"] + "\n" for line in open(sys.argv[2])))
PYTHON
ok text

# The model's own template, in both places; a file; an error that the template raises.
printf '{{ messages|length }}:{%% for m in messages %%}{{ m.content }};{%% endfor %%}' >"$model/chat_template.jinja"
chats 0 'hi\n' "${greedy[@]}"
answers 'r[0]["prompt_tokens"] == 5'
rm "$model/chat_template.jinja"
printf '{{ raise_exception("No " + messages[0].role) }}' >"$work/own.jinja"
chats 1 'hi\n' --chat-template "$work/own.jinja"
says "own.jinja:1: No user"
printf '\n{%% fro %%}' >"$work/own.jinja"
chats 1 'hi\n' --chat-template "$work/own.jinja"
says "own.jinja:2: Encountered unknown tag 'fro'. Did you mean 'for'?"
ok templates

# A conversation that grows beyond the context of 160 loses its beginning; a message that is too long is an error.
chats 0 'one\ntwo\nthree\nfour\nfive\n' --chat-template plain "${greedy[@]}"
says "its oldest question and answer are forgotten"
answers 'len(r) == 5 and all(x["prompt_tokens"] < 160 for x in r)'
chats 2 "$(printf '%0200d' 1)\n" --chat-template plain
says "the message has 224 tokens with its template, the model's context holds 160"
ok long

# One Ctrl-C ends the answer, the conversation goes on.
mkfifo "$work/in"
"$carat" generate "$model" --chat --chat-template plain --do_sample=false --max_new_tokens 40 --json <"$work/in" \
    >"$work/out" 2>"$work/err" &
process=$!
exec 3>"$work/in"
echo one >&3
for _ in $(seq 100); do [ -s "$work/out" ] && break; sleep 0.1; done
kill -INT $process
echo two >&3
exec 3>&-
code=0
wait $process || code=$?
[ "$code" = 0 ] || fail "after Ctrl-C between answers: exit code $code"
answers 'len(r) == 2'
ok interrupted
