#!/bin/sh
# The main job, as `make run` does it: gather text, train a small language model on it, evaluate, sample, save.
#
#   tools/first-run.sh CARAT OUT [TEXT]
#
# CARAT is the built command, OUT the folder for the model, TEXT a text file of your own.
set -eu
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
carat=$1
out=$2
text=${3:-}
here=$(dirname "$0")
recipe=$here/../recipes/gpt-small.yaml

say() {
    printf '\n== %s\n' "$1"
}

if [ -n "$text" ]; then
    if [ ! -r "$text" ]; then
        echo "make run: $text: there is no such file, or it may not be read" >&2
        exit 2
    fi
    say "Text: $text, $(wc -c <"$text") bytes"
else
    text=$(dirname "$carat")/text.txt
    say "Text: what Debian has under /usr/share (make run TEXT=file.txt takes your own)"
    [ -s "$text" ] || "$here/gather-text.sh" "$text"
    echo "$text: $(wc -c <"$text") bytes"
fi

say "Train: recipes/gpt-small.yaml (Ctrl-C saves; the same command with --resume goes on)"
"$carat" train "$recipe" data.train="$text" output_dir="$out"

say "Sample: what the model goes on with"
"$carat" generate "$out" --prompt "The program" max_new_tokens=250 temperature=0.8 top_k=40

say "Saved in $out"
for name in model.safetensors config.json tokenizer.json loss.svg loss.png report.json; do
    [ ! -f "$out/$name" ] || printf '%-20s %9d bytes\n' "$name" "$(wc -c <"$out/$name")"
done
cat <<END

Next, try:
  $carat generate $out --prompt "This program " temperature=0.6 max_new_tokens=200
  $carat evaluate $out README.md
  $carat train recipes/gpt-small.yaml data.train=$text output_dir=$out-longer max_steps=2000
  $carat train recipes/gpt-small.yaml data.train=$text output_dir=$out-lean --memory 300M
  make run TEXT=your-own-text.txt
END
