"""A Llama of about 100 M random parameters in bf16 with GPT-2's tokenizer, for the figures that generate.

    make_llama.py FOLDER TOKENIZER_FOLDER"""
import os
import sys

import torch
from transformers import GPT2TokenizerFast, LlamaConfig, LlamaForCausalLM


def main():
    folder, tokenizer = sys.argv[1:3]
    torch.manual_seed(1)
    config = LlamaConfig(hidden_size=640, intermediate_size=1792, num_hidden_layers=12, num_attention_heads=10,
                         num_key_value_heads=10, vocab_size=50257, max_position_embeddings=1024,
                         tie_word_embeddings=True, bos_token_id=50256, eos_token_id=50256)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    GPT2TokenizerFast(os.path.join(tokenizer, "vocab.json"), os.path.join(tokenizer, "merges.txt")).save_pretrained(folder)


main()
