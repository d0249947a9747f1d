"""Peer: optimizer steps in PyTorch, parameters a second.

    torch_optimizer.py --method adamw|muon --threads N [--how fused|foreach|single] [--gpt]

The same parameters as bench/kernels/bench_optimizer.c: the matrices of 14 blocks of GPT-2, or with --gpt those of the GPT
of the training figures."""
import argparse

import torch

from serve import serve, timed

parser = argparse.ArgumentParser()
parser.add_argument("--method", default="adamw")
parser.add_argument("--how", default="fused")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--gpt", action="store_true")
options = parser.parse_args()
torch.set_num_threads(options.threads)

blocks, width = (6, 384) if options.gpt else (14, 768)
shapes = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)] * blocks
torch.manual_seed(1)
parameters = [torch.nn.Parameter(0.02 * torch.randn(shape)) for shape in shapes]
for parameter in parameters:
    parameter.grad = 1e-3 * torch.randn(parameter.shape)
if options.method == "muon":
    optimizer = torch.optim.Muon(parameters, lr=1e-4, weight_decay=0.1)
else:
    how = {} if options.how == "single" else {options.how: True}
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1, **how)
optimizer.step()
elements = sum(parameter.numel() for parameter in parameters)
serve(lambda: timed(optimizer.step, 0.5, 2) * elements)
