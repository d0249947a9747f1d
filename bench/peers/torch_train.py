"""Peer: training steps of the GPT in PyTorch, tokens a second.

    torch_train.py --size gpt|small --threads N [--bf16] [--compile] [--seconds S]
"""
import argparse
import time

import torch

from gpt import GPT, SIZES
from serve import serve, timed


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", choices=SIZES, default="gpt")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--bf16", action="store_true")
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--seconds", type=float, default=5)
    options = arguments.parse_args()

    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    size = SIZES[options.size]
    model = GPT(**size)
    if options.size == "gpt":
        assert sum(p.numel() for p in model.parameters()) == 10_795_776
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    loss = torch.compile(model.loss) if options.compile else model.loss
    data = torch.randint(size["vocabulary"], (100_000,))
    rows = torch.arange(size["context"])

    def step():
        starts = torch.randint(len(data) - size["context"] - 1, (size["batch"], 1))
        ids, targets = data[starts + rows], data[starts + rows + 1]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bf16):
            value = loss(ids, targets)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    # bf16 takes minutes a step where the processor has no instructions for it; then the first step is warm-up enough.
    start = time.perf_counter()
    for _ in range(2 if options.size == "gpt" else 50):
        step()
        if time.perf_counter() - start > 60:
            break
    serve(lambda: timed(step, options.seconds) * size["batch"] * size["context"])


main()
