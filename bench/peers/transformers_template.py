"""Peer: conversations through a chat template with transformers' apply_chat_template, conversations a second; the first
round writes all of them to a file, with a NUL behind each."""
import json
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from serve import serve, timed

template, data, out = sys.argv[1:4]
with open(data, encoding="utf-8") as file:
    conversations = [json.loads(line)["messages"] for line in file]
with open(template, encoding="utf-8") as file:
    text = file.read()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = text


def once():
    return [tokenizer.apply_chat_template(c, tokenize=False, date_string="26 Jul 2024") for c in conversations]


with open(out, "w", encoding="utf-8", newline="") as file:
    file.write("".join(rendered + "\0" for rendered in once()))
serve(lambda: timed(once, 0.5) * len(conversations))
