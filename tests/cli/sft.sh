#!/usr/bin/env bash
# sft.sh - fine-tuning from the command: what would be learnt, two runs, and which of them to stop.
. "$(dirname "$0")/common.sh"
dialogues=$source_root/recipes/dialogues.jsonl

exits 0 data sft-check "$dialogues" --tokenizer bytes --chat_template plain --sample 2 --json
json 'r["records"] == 10 and r["samples"] == 9 and r["without_answer"] == 1 and r["answer_cut"] == 0'
json 'r["text"] == "<user>add: 12 30</user><assistant>\u27e642</assistant>\u27e7"'
json 'abs(r["masked_share"] - (1 - r["targets"] / r["tokens"])) < 1e-12 and r["shortest"] <= r["longest"]'
exits 0 data sft-check "$dialogues" --tokenizer bytes --max_length 40
prints "10 records" "cut off: "
exits 2 data sft-check "$dialogues"
says "--tokenizer FOLDER is needed"
exits 2 data sft-check "$dialogues" --tokenizer bytes --sample 9
says "the samples kept are 0 to 8"
exits 1 data sft-check "$dialogues" --tokenizer bytes --chat_template chatlm
says 'did you mean "chatml"?'
ok sft_check

tune() {
    exits 0 train "$source_root/recipes/sft.yaml" model.model_type=gpt2 model.n_embd=16 model.n_layer=1 model.n_head=2 \
        "data.train=$dialogues" max_length=256 save_steps=-1 --json "$@"
}
tune max_steps=10 max_batch_share=1 out="$work/runs/large"
tune max_steps=20 learning_rate=1e-3 out="$work/runs/small"
exits 0 plan runs-judge "$work/runs" --json
json '[x["run"] for x in r["runs"]] == ["large", "small"] and r["at"] == 3'
exits 0 plan runs-judge "$work/runs"
prints "arXiv:2412.13337" "small"
tune max_steps=5 loss_normalization=sample out="$work/runs/other"
exits 2 plan runs-judge "$work/runs"
says "differ in loss_normalization"
ok runs_judge
