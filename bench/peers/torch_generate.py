"""Peer: greedy generation with a static key-value cache in PyTorch, batch 1, tokens a second.

    torch_generate.py --threads N [--bf16] [--compile] [--tokens T]

Eager attends over the part of the cache that is filled; torch.compile wants one shape and masks the rest.
"""
import argparse
import time

import torch
from torch.nn import functional as F

from gpt import GPT, SIZES
from serve import serve


class Generator(torch.nn.Module):
    def __init__(self, size, dtype, static):
        super().__init__()
        self.model = GPT(**size).to(dtype).eval()
        self.static = static
        shape = (1, size["heads"], size["context"], size["width"] // size["heads"])
        self.keys = [torch.zeros(shape, dtype=dtype) for _ in range(size["layers"])]
        self.values = [torch.zeros(shape, dtype=dtype) for _ in range(size["layers"])]
        self.seen = torch.ones(size["context"], size["context"], dtype=torch.bool).tril()

    def forward(self, ids, positions, end):
        """ids [1, time] at `positions` [time], the last of which is end - 1 -> the next id [1, 1]."""
        model = self.model
        x = model.wte(ids) + model.wpe(positions)
        for i, block in enumerate(model.blocks):
            q, k, v = block.split(x)
            keys, values = self.keys[i], self.values[i]
            keys.index_copy_(2, positions, k)
            values.index_copy_(2, positions, v)
            if self.static:
                y = F.scaled_dot_product_attention(q, keys, values, attn_mask=self.seen[positions])
            elif ids.shape[1] == 1:
                y = F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end])
            else:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = block.join(x, y)
        return model.head(model.ln_f(x[:, -1:])).argmax(-1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--bf16", action="store_true")
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--prompt", type=int, default=16)
    arguments.add_argument("--tokens", type=int, default=200)
    options = arguments.parse_args()

    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    size = SIZES["gpt"]
    generator = Generator(size, torch.bfloat16 if options.bf16 else torch.float32, options.compile)
    decode = torch.compile(generator, fullgraph=True, mode="max-autotune-no-cudagraphs") if options.compile else generator
    prompt = torch.randint(size["vocabulary"], (1, options.prompt))
    places = [torch.tensor([i]) for i in range(size["context"])]

    @torch.inference_mode()
    def measure():
        """Tokens a second of decoding; the prompt is not counted."""
        token = generator(prompt, torch.arange(options.prompt), options.prompt)
        start = time.perf_counter()
        for i in range(options.prompt, options.prompt + options.tokens - 1):
            token = decode(token, places[i], i + 1 if not options.compile else 0)
        return (options.tokens - 1) / (time.perf_counter() - start)

    measure()
    measure()
    serve(measure)


main()
