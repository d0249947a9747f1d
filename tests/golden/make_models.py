#!/usr/bin/env python3
"""Makes tests/golden/models/: tiny random decoders of every family, and what transformers computes with them.

    build/peers/bin/python tests/golden/make_models.py [NAME...]

Each folder is one that transformers wrote (config.json, weights, generation_config.json; some configurations are put into
the form that older releases wrote) with
    golden.safetensors  input_ids [rows, time], logits f32 [rows, time, vocabulary]
    golden.json         prompts of different lengths and their greedy continuations
computed from the folder in f32 with eager attention. Seeds are fixed; greedy steps whose best two logits are closer than
MARGIN are refused, so that rounding cannot change a continuation. Not part of the tests: those read what is committed.
"""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import (AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config,
                          Qwen3Config)

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")
ROWS, TIME, NEW, MARGIN = 2, 20, 16, 2e-3
PROMPTS = (5, 1, 11)
SMALL = dict(vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             bos_token_id=None, eos_token_id=None, pad_token_id=None)


def small(**changes):
    return {**SMALL, **changes}


def old_llama(config):
    """rope_theta and rope_scaling beside each other, torch_dtype: as before transformers 5."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")


def older_llama(config):
    """As the first files had it: "type" for "rope_type", no head_dim, no num_key_value_heads."""
    old_llama(config)
    for key in ("head_dim", "num_key_value_heads", "attention_bias", "mlp_bias"):
        config.pop(key, None)


LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)

# name: (configuration, type of the file, how config.json is rewritten, largest shard)
MODELS = {
    "gpt2": (GPT2Config(vocab_size=256, n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=64, bos_token_id=None,
                        eos_token_id=None), torch.float32, None, None),
    "llama2": (LlamaConfig(**small(max_position_embeddings=64)), torch.float32, older_llama, None),
    "llama3": (LlamaConfig(**small(num_hidden_layers=3, num_key_value_heads=2, max_position_embeddings=128,
                                   tie_word_embeddings=True, rope_parameters=LLAMA3)), torch.float32, old_llama, "60KB"),
    "llama-yarn": (LlamaConfig(**small(num_key_value_heads=1, head_dim=12, max_position_embeddings=64,
                                       attention_bias=True, mlp_bias=True, rope_parameters=YARN)),
                   torch.bfloat16, None, None),
    "llama-linear": (LlamaConfig(**small(max_position_embeddings=64, rope_parameters=dict(
        rope_type="linear", rope_theta=10000.0, factor=2.5))), torch.float16, old_llama, None),
    "mistral": (MistralConfig(**small(num_key_value_heads=2, sliding_window=7, max_position_embeddings=64)),
                torch.float16, old_llama, None),
    "qwen2": (Qwen2Config(**small(num_hidden_layers=3, num_key_value_heads=2, max_position_embeddings=64,
                                  use_sliding_window=True, sliding_window=6, max_window_layers=1)),
              torch.float32, None, None),
    "qwen3": (Qwen3Config(**small(num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
                                  tie_word_embeddings=True)), torch.bfloat16, None, None),
    "gemma2": (Gemma2Config(**small(num_hidden_layers=3, num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
                                    sliding_window=5, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
                                    final_logit_softcapping=4.0)), torch.float32, None, None),
}


def fill(model, seed):
    """Weights of a size at which every part of the network matters."""
    generator = torch.Generator().manual_seed(seed)
    offset = model.config.model_type == "gemma2"  # gains are stored less 1
    for name, weight in model.named_parameters():
        draw = torch.randn(weight.shape, generator=generator)
        if weight.dim() == 1:
            gain = ("norm" in name or "ln_" in name) and name.endswith("weight") and not offset
            value = (1 if gain else 0) + 0.2 * draw
        else:
            value = draw * (0.8 if "embed" in name or "wte" in name or "wpe" in name else 1.4 / weight.shape[-1] ** 0.5)
        weight.data.copy_(value)


def greedy(model, prompt):
    ids, closest = list(prompt), float("inf")
    for _ in range(NEW):
        best = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2).values
        closest = min(closest, float(best[0] - best[1]))
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    cached = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False,
                            max_new_tokens=NEW)[0].tolist()
    assert cached == ids, "generate() gives other tokens than a forward pass"
    return ids[len(prompt):], closest


def golden(folder, seed):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed + 1)
    vocabulary = model.config.vocab_size
    ids = torch.randint(vocabulary, (ROWS, TIME), generator=generator)
    logits = model(ids, use_cache=False).logits
    prompts = [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in PROMPTS]
    continuations, margins = zip(*(greedy(model, p) for p in prompts))
    assert min(margins) > MARGIN, f"best two logits only {min(margins)} apart: take another seed"
    save_file({"input_ids": ids.to(torch.int32), "logits": logits.contiguous()},
              os.path.join(folder, "golden.safetensors.tmp"))
    os.replace(os.path.join(folder, "golden.safetensors.tmp"), os.path.join(folder, "golden.safetensors"))
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf-8") as file:
        json.dump({"prompts": prompts, "continuations": continuations, "margin": min(margins)}, file, indent=1)
    return min(margins), float(logits.std())


def make(name, seed):
    config, dtype, rewrite, shard = MODELS[name]
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fill(model, seed)
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    path = os.path.join(folder, "config.json")
    with open(path, encoding="utf-8") as file:
        written = json.load(file)
    if rewrite:
        rewrite(written)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(written, file, indent=2)
    margin, deviation = golden(folder, seed)
    weights = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder) if f.startswith("model"))
    assert weights < 200_000, f"{name}: {weights} bytes"
    print(f"{name:13} {weights:7} bytes, logits of deviation {deviation:.2f}, margin {margin:.4f}")


def main():
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        for seed in range(100, 140):  # the first whose greedy steps are clear
            try:
                make(name, seed)
                break
            except AssertionError as error:
                if "apart" not in str(error):
                    raise
        else:
            raise SystemExit(f"{name}: no seed gives clear greedy steps")


main()
