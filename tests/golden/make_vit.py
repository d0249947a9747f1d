#!/usr/bin/env python3
"""Makes tests/golden/vit: tiny random vision transformers as transformers writes them, and what transformers computes.

    build/peers/bin/python tests/golden/make_vit.py

Each NAME/ is a model folder; NAME.safetensors holds pixels [3, channels, height, width], hidden and, where the model
has them, pooled and logits, of models that transformers read back from the folder. Only this script needs Python.
"""
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import ViTConfig, ViTForImageClassification, ViTModel

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vit")


def config(**changes):
    base = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=12,
                patch_size=4, num_channels=3)
    base.update(changes)
    return ViTConfig(**base)


def make(name, model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else 0.2
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    folder = os.path.join(FOLDER, name)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    extra = {"add_pooling_layer": False} if getattr(model, "pooler", True) is None else {}
    model = type(model).from_pretrained(folder, **extra).eval()
    sides = model.config.image_size
    sides = (sides, sides) if isinstance(sides, int) else tuple(sides)
    pixels = torch.randn((3, model.config.num_channels, *sides), generator=generator)
    with torch.no_grad():
        base = model.vit if hasattr(model, "vit") else model
        out = base(pixels)
        golden = {"pixels": pixels, "hidden": out.last_hidden_state}
        if out.pooler_output is not None:
            golden["pooled"] = out.pooler_output
        if base is not model:
            golden["logits"] = model(pixels).logits
    save_file({key: value.contiguous() for key, value in golden.items()},
              os.path.join(FOLDER, name + ".safetensors"))
    print(f"{name}: {sorted(golden)}")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    torch.manual_seed(1)
    make("classifier", ViTForImageClassification(config(num_labels=5)), 1)
    make("model", ViTModel(config(num_channels=1, layer_norm_eps=1e-6)), 2)
    make("no-pooler", ViTModel(config(hidden_act="gelu_new", num_hidden_layers=1), add_pooling_layer=False), 3)
    make("oblong", ViTForImageClassification(config(image_size=[13, 22], patch_size=[3, 5], qkv_bias=False,
                                                    num_labels=2, num_hidden_layers=1)), 4)


main()
