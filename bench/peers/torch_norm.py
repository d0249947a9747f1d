"""Peer: forward and backward of layer norm or RMS norm on [8192, 1024] f32 in PyTorch, elements a second."""
import sys

import torch

from serve import serve, timed

ROWS, COLUMNS = 8192, 1024
name, threads = sys.argv[1], int(sys.argv[2])

torch.set_num_threads(threads)
torch.manual_seed(1)
x = torch.randn(ROWS, COLUMNS, requires_grad=True)
gradient = torch.randn(ROWS, COLUMNS)
gain = torch.ones(COLUMNS, requires_grad=True)
bias = torch.zeros(COLUMNS, requires_grad=True)


def once():
    if name == "layernorm":
        y = torch.nn.functional.layer_norm(x, (COLUMNS,), gain, bias, 1e-5)
        return torch.autograd.grad(y, (x, gain, bias), gradient)
    y = torch.nn.functional.rms_norm(x, (COLUMNS,), gain, 1e-5)
    return torch.autograd.grad(y, (x, gain), gradient)


once()
serve(lambda: timed(once, 0.5, 2) * ROWS * COLUMNS)
