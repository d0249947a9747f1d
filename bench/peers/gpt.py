"""The GPT that the figures are measured on, in PyTorch as a careful user would write it: fused attention, one matrix for
queries, keys and values, biases, tanh GELU, an output head of its own. Width 384, 6 layers and vocabulary 65 give
10,795,776 parameters."""
import torch
from torch import nn
from torch.nn import functional as F

SIZES = {
    "gpt": dict(width=384, layers=6, heads=6, context=256, batch=16, vocabulary=65),
    "small": dict(width=64, layers=2, heads=4, context=64, batch=4, vocabulary=65),
}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def split(self, x):  # [batch, time, width] -> three of [batch, heads, time, channels]
        batch, time, width = x.shape
        parts = self.attention(self.ln_1(x)).split(width, dim=2)
        return [part.view(batch, time, self.heads, width // self.heads).transpose(1, 2) for part in parts]

    def join(self, x, y):
        batch, time, width = x.shape
        x = x + self.projection(y.transpose(1, 2).reshape(batch, time, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))

    def forward(self, x):
        q, k, v = self.split(x)
        return self.join(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))


class GPT(nn.Module):
    def __init__(self, width, layers, heads, context, vocabulary, **_):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))

    def loss(self, ids, targets):
        return F.cross_entropy(self(ids).flatten(0, 1).float(), targets.flatten())
