#!/usr/bin/env python3
"""What Carat writes, transformers reads: `make peers-check`. Needs the peers (`make peers`), no part of `make test`.

    build/peers/bin/python tests/golden/check_peers.py [BUILD]

For every folder of tests/golden/models: loaded and saved again by libcarat in f32, bf16, f16 and its own types. For every
family: trained from nothing for a few steps by the command. transformers must load each without a missing, unexpected or
misshapen tensor, and its logits (f32, eager attention) must be libcarat's to 1e-4. Ends with 1 if one is not.
"""
import ctypes
import os
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build")
F32, BF16, F16, I32, KEEP = 0, 2, 3, 5, 8  # ct_dtype
ROWS, TIME, TOLERANCE = 2, 24, 1e-4

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2}
TRAINED = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "llama": {**SMALL, "rope_theta": 500.0, "attention_bias": "true"},
    "mistral": {**SMALL, "sliding_window": 5},
    "qwen2": {**SMALL, "use_sliding_window": "true", "sliding_window": 5, "max_window_layers": 1},
    "qwen3": {**SMALL, "head_dim": 16, "tie_word_embeddings": "true"},
    "gemma2": {**SMALL, "head_dim": 16, "sliding_window": 5},
}


class Library:
    """The few calls of libcarat that are needed."""

    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        for name in ("ct_context_create", "ct_model_load", "ct_run_create", "ct_from_data", "ct_model_forward"):
            getattr(self.c, name).restype = ctypes.c_void_p
        self.c.ct_context_message.restype = ctypes.c_char_p
        self.c.ct_model_vocabulary.restype = ctypes.c_int64
        self.context = ctypes.c_void_p(self.c.ct_context_create(1))
        self.c.ct_grad_mode_set(self.context, False)

    def check(self):
        if self.c.ct_context_status(self.context):
            raise RuntimeError(self.c.ct_context_message(self.context).decode())

    def load(self, folder, dtype):
        model = ctypes.c_void_p(self.c.ct_model_load(self.context, folder.encode(), dtype))
        self.check()
        return model

    def save(self, model, folder, dtype):
        self.c.ct_model_save(model, folder.encode(), dtype)
        self.check()

    def logits(self, model, ids):
        shape = (ctypes.c_int64 * 2)(*ids.shape)
        data = (ctypes.c_int32 * ids.numel())(*ids.flatten().tolist())
        run = ctypes.c_void_p(self.c.ct_run_create(self.context, None))
        tensor = ctypes.c_void_p(self.c.ct_from_data(self.context, I32, 2, shape, data))
        result = ctypes.c_void_p(self.c.ct_model_forward(model, run, tensor))
        self.check()
        vocabulary = self.c.ct_model_vocabulary(model)
        buffer = (ctypes.c_float * (ids.numel() * vocabulary))()
        self.c.ct_read(result, F32, buffer)
        self.check()
        self.c.ct_run_destroy(run)
        return torch.tensor(buffer[:]).reshape(*ids.shape, vocabulary)


def compare(carat, folder, what):
    """0 if transformers computes from `folder` what libcarat does, else 1."""
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                         output_loading_info=True)
    wrong = {key: value for key, value in report.items() if value}
    ours = carat.load(folder, F32)
    vocabulary = carat.c.ct_model_vocabulary(ours)
    ids = torch.randint(vocabulary, (ROWS, TIME), generator=torch.Generator().manual_seed(5))
    expected = model.eval()(ids, use_cache=False).logits
    found = carat.logits(ours, ids)
    carat.c.ct_model_destroy(ours)
    difference = float(((found - expected).abs() / (expected.abs() + 0.1 * expected.abs().max())).max())
    right = not wrong and difference < TOLERANCE
    print(f"{'ok   ' if right else 'WRONG'} {what:32} relative difference of logits {difference:.1e}"
          f"{'' if not wrong else f', loading: {wrong}'}", flush=True)
    return 0 if right else 1


def saved_again(carat, scratch):
    failures = 0
    models = os.path.join(ROOT, "tests", "golden", "models")
    for name in sorted(os.listdir(models)):
        for dtype, title in ((KEEP, "as it is"), (F32, "f32"), (BF16, "bf16"), (F16, "f16")):
            folder = os.path.join(scratch, f"{name}-{dtype}")
            model = carat.load(os.path.join(models, name), KEEP)
            carat.save(model, folder, dtype)
            carat.c.ct_model_destroy(model)
            failures += compare(carat, folder, f"{name} saved {title}")
    return failures


def trained(carat, scratch):
    failures = 0
    for family, keys in TRAINED.items():
        folder = os.path.join(scratch, "trained-" + family)
        recipe = os.path.join(scratch, "recipe.yaml")
        with open(recipe, "w", encoding="utf-8") as file:
            file.write(f"model: {{model_type: {family}}}\n")
        subprocess.run([os.path.join(BUILD, "carat"), "train", recipe,
                        *(f"model.{key}={value}" for key, value in keys.items()),
                        f"data.train={os.path.join(ROOT, 'LICENSE')}", "tokenizer.kind=bytes", "context=32",
                        "per_device_train_batch_size=4", "learning_rate=1e-2", "max_steps=30", f"out={folder}",
                        "--quiet"], check=True)
        failures += compare(carat, folder, f"{family} trained")
    return failures


def main():
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    carat = Library(os.path.join(BUILD, "libcarat.so"))
    with tempfile.TemporaryDirectory() as scratch:
        failures = saved_again(carat, scratch) + trained(carat, scratch)
    print(f"{failures} differ" if failures else "all agree")
    return 1 if failures else 0


sys.exit(main())
