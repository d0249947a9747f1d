"""Peer: softmax over 64 M f32 in one row in PyTorch, one thread, elements a second."""
import torch

from serve import serve, timed

COUNT = 64 * 1024 * 1024

torch.set_num_threads(1)
x = torch.randn(COUNT)
y = torch.empty(COUNT)
with torch.inference_mode():
    torch.softmax(x, dim=-1, out=y)
    serve(lambda: timed(lambda: torch.softmax(x, dim=-1, out=y), 0.5, 2) * COUNT)
