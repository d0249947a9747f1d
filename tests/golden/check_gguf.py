#!/usr/bin/env python3
"""Checks carat's GGUF against llama.cpp's: its Python package `gguf`, its converter and the library itself.

    check_gguf.py --carat build/carat --models tests/golden/models --tokenizers tests/golden/tokenizers
                  [--converter llama.cpp/convert_hf_to_gguf.py] [--work FOLDER] [--only blocks,converter,library,back]

blocks     Q8_0 and Q4_0 written by carat are the bytes that `gguf` makes; Q4_K, Q6_K, Q8_0, Q4_0 read by carat are its values
converter  the same folder through carat and llama.cpp's converter: same keys, names, shapes, types and bytes
library    llama.cpp loads what carat wrote: same token ids as transformers, logits equal within llama.cpp's arithmetic
back       what llama.cpp wrote (converter and llama_model_quantize) reads back: same tensors as in the folder

Needs numpy, safetensors, torch, transformers, gguf, and for `library` llama-cpp-python. Not part of `make test`.
"""
import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys

import numpy

TEXTS = ["Hello, world!", "The quick brown fox jumps over the lazy dog.", "  two  spaces", "don't I'LL we've 1234567 3.14",
         "été naïve Straße", "日本語のテキスト", "🦙🚀", "line\nbreak\n\n\ttab", "", " ", "a" * 40, "<s> </s>",
         "def f(x):\n    return x**2  # comment\n"]
FAMILIES = ["llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gpt2", "llama-linear", "llama-yarn", "bert"]
TOKENIZERS = {"llama2": "llama2", "mistral": "mistral", "gemma2": "gemma2", "llama3": "llama3", "qwen2": "qwen2", "qwen3": "qwen2",
              "gpt2": "gpt2", "bert": "bert-uncased"}
problems = []


def check(holds, what):
    print(("ok    " if holds else "WRONG ") + what, flush=True)
    if not holds:
        problems.append(what)


def convert(options, source, target, *arguments):
    run = subprocess.run([options.carat, "convert", source, target, "--quiet", *arguments], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"carat convert {source} {target}: {run.stderr.strip()}")


def tensors_of(folder):
    from safetensors import safe_open
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors") and name.startswith("model"):
            with safe_open(os.path.join(folder, name), "pt") as file:
                for key in file.keys():
                    found[key] = file.get_tensor(key)
    return found


def prepare(options, family):
    """A copy of the golden model, with a tokenizer; the embedding grows to the tokenizer's size."""
    import torch
    from safetensors.torch import save_file
    source, target = os.path.join(options.models, family), os.path.join(options.work, family)
    if family == "bert":
        source = os.path.join(options.models, "..", "encoders", "bert")
    if not os.path.isdir(source):
        return None
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    config = json.load(open(os.path.join(source, "config.json")))
    if "query_pre_attn_scalar" in config:  # llama.cpp knows no other
        config["query_pre_attn_scalar"] = config["head_dim"]
    tensors = tensors_of(source)
    tokenizer = os.path.join(options.tokenizers, TOKENIZERS.get(family, "-"))
    if os.path.exists(os.path.join(source, "tokenizer.json")):
        for name in os.listdir(source):
            if "token" in name or name.endswith(".jinja"):
                shutil.copy(os.path.join(source, name), target)
    elif os.path.isdir(tokenizer):
        for name in os.listdir(tokenizer):
            if name.startswith("tokenizer"):
                shutil.copy(os.path.join(tokenizer, name), target)
        size = 1 + max([t["id"] for t in json.load(open(os.path.join(target, "tokenizer.json")))["added_tokens"]]
                       + list(json.load(open(os.path.join(target, "tokenizer.json")))["model"]["vocab"].values()))
        torch.manual_seed(7)
        for name, tensor in tensors.items():
            if tensor.ndim == 2 and tensor.shape[0] == config["vocab_size"] and \
                    any(part in name for part in ("embed_tokens", "wte", "lm_head", "word_embeddings")):
                extra = torch.randn(max(size - tensor.shape[0], 0), tensor.shape[1]) * tensor.float().std()
                tensors[name] = torch.cat([tensor[:size], extra.to(tensor.dtype)]).contiguous()
        config["vocab_size"] = size
        if not os.path.exists(os.path.join(target, "tokenizer_config.json")):
            added = [t["content"] for t in json.load(open(os.path.join(target, "tokenizer.json")))["added_tokens"]]
            guess = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
            for key, names in {"bos_token": ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
                               "eos_token": ("</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"),
                               "unk_token": ("<unk>", "[UNK]"), "pad_token": ("<pad>", "[PAD]"),
                               "cls_token": ("[CLS]",), "sep_token": ("[SEP]",), "mask_token": ("[MASK]",)}.items():
                for name in names:
                    if name in added:
                        guess.setdefault(key, name)
            json.dump(guess, open(os.path.join(target, "tokenizer_config.json"), "w"))
    json.dump(config, open(os.path.join(target, "config.json"), "w"), indent=2)
    save_file(tensors, os.path.join(target, "model.safetensors"), {"format": "pt"})
    return target


def check_blocks(options):
    import gguf
    from safetensors.numpy import save_file
    folder = os.path.join(options.work, "blocks")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    random = numpy.random.default_rng(5)
    x = (random.standard_normal((64, 1024)) * random.choice([1e-6, 1e-3, 1, 300], (64, 1))).astype(numpy.float32)
    x[3] = 0
    x[4] = numpy.round(x[4] * 4) / 8  # ties
    config = {"model_type": "llama", "hidden_size": 1024, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
              "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "vocab_size": 64}
    json.dump(config, open(os.path.join(folder, "config.json"), "w"))
    save_file({"model.layers.0.mlp.up_proj.weight": x}, os.path.join(folder, "model.safetensors"))
    kinds = gguf.GGMLQuantizationType
    for name, kind in {"q8_0": kinds.Q8_0, "q4_0": kinds.Q4_0, "bf16": kinds.BF16, "f16": kinds.F16}.items():
        path = os.path.join(folder, name + ".gguf")
        convert(options, folder, path, "--dtype", name)
        tensor = {t.name: t for t in gguf.GGUFReader(path).tensors}["blk.0.ffn_up.weight"]
        with numpy.errstate(all="ignore"):
            expected = gguf.quants.quantize(x, kind)
        check(tensor.tensor_type == kind and tensor.data.tobytes() == expected.tobytes(), f"blocks: {name} is written as gguf writes it")
    for kind in (kinds.Q8_0, kinds.Q4_0, kinds.Q4_K, kinds.Q6_K):
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = random.integers(0, 256, (16, 1024 // block, size), dtype=numpy.uint8)
        halves = {kinds.Q8_0: [0], kinds.Q4_0: [0], kinds.Q4_K: [0, 2], kinds.Q6_K: [208]}[kind]
        for at in halves:  # scales that are finite
            raw[:, :, at:at + 2] = random.standard_normal(raw.shape[:2]).astype(numpy.float16)[..., None].view(numpy.uint8)
        raw = raw.reshape(16, -1)
        path = os.path.join(folder, kind.name + ".gguf")
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tensor("x", raw, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        convert(options, path, os.path.join(folder, "x.npz"), "--dtype", "f32")
        mine = numpy.load(os.path.join(folder, "x.npz"))["x"]
        check(numpy.array_equal(mine, gguf.quants.dequantize(raw, kind)), f"blocks: {kind.name} is read as gguf reads it")


def contents(path):
    import gguf
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return keys, {t.name: (t.tensor_type.name, tuple(int(n) for n in t.shape), t.data.tobytes()) for t in reader.tensors}


def same_value(a, b):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_value, a, b))
    return a == b or (isinstance(a, float) and abs(a - b) <= 1e-6 * abs(b))


def check_converter(options):
    for family in FAMILIES:
        folder = prepare(options, family)
        if not folder or not os.path.exists(os.path.join(folder, "tokenizer.json")):
            print(f"-     converter: {family}: no such golden model with a tokenizer")
            continue
        for kind in ("f32", "f16", "q8_0"):
            theirs, mine = os.path.join(options.work, "theirs.gguf"), os.path.join(options.work, "mine.gguf")
            command = [sys.executable, options.converter, folder, "--outfile", theirs, "--outtype", kind]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                print(f"-     converter: {family}: llama.cpp's converter refuses: {run.stderr.strip().splitlines()[-1][:150]}")
                break
            convert(options, folder, mine, "--dtype", kind)
            (their_keys, their_tensors), (my_keys, my_tensors) = contents(theirs), contents(mine)
            passed = {"general.name", "general.size_label", "general.quantization_version", "general.sampling", "general.finetune",
                      "general.basename", "general.license", "general.tags", "general.languages",
                      # without a tokenizer.model llama.cpp's converter knows no scores (it writes -1000 for all) and takes
                      # <unk> for a control token; key_length comes from transformers' defaults
                      "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.add_sep_token",
                      "llama.attention.key_length", "llama.attention.value_length", "tokenizer.ggml.add_space_prefix",
                      "tokenizer.ggml.add_eos_token"}
            different = [key for key in their_keys if key not in passed and not same_value(my_keys.get(key), their_keys[key])]
            extra = [key for key in my_keys if key not in their_keys and not key.startswith("carat.") and key not in passed]
            check(not different, f"converter: {family} {kind}: keys; different: " +
                  str({key: (str(my_keys.get(key))[:60], str(their_keys[key])[:60]) for key in different}) + f"; more: {extra}")
            wrong = [name for name in set(their_tensors) | set(my_tensors) if their_tensors.get(name) != my_tensors.get(name)]
            check(not wrong, f"converter: {family} {kind}: tensors {wrong[:4]}")


def logits_of(path, tokens):
    import llama_cpp
    model = llama_cpp.Llama(path, n_ctx=64, n_threads=2, logits_all=True, verbose=False, flash_attn=False,
                            type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)
    model.eval(tokens)
    return numpy.array(model.scores[:len(tokens)])


def check_library(options):
    import llama_cpp
    import torch
    import transformers
    # llama.cpp takes GELU from a table of f16 values, and quantizes the inputs of products with Q8_0 and Q4_0 matrices too;
    # random models of a few dozen channels show that more than real ones
    bounds = {"f32": 1e-5, "f16": 5e-3, "q8_0": 0.1, "q4_0": 0.6}
    for family in FAMILIES:
        folder = prepare(options, family)
        if not folder:
            continue
        hf = (transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM).from_pretrained(
            folder, dtype=torch.float32).eval()
        ids = [1 + 7 * i % (hf.config.vocab_size - 2) for i in range(6)]
        with torch.no_grad():
            output = hf(torch.tensor([ids]))
        expected = None if family == "bert" else output.logits[0].numpy()
        for kind, bound in bounds.items():
            path = os.path.join(options.work, f"{family}-{kind}.gguf")
            convert(options, folder, path, "--dtype", kind)
            if family == "bert":  # the last hidden states, without pooling
                model = llama_cpp.Llama(path, n_ctx=64, embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_NONE, verbose=False)
                text = TEXTS[1]
                found = numpy.array(model.embed(text, normalize=False))
                tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
                with torch.no_grad():
                    expected = hf(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0].numpy()
            else:
                found = logits_of(path, ids)
            bound = max(bound, 1e-3 if family in ("gpt2", "gemma2", "bert") else 0)
            apart = float(numpy.abs(found - expected).max() / numpy.abs(expected).max())
            check(apart < bound, f"library: {family} {kind}: logits differ by {apart:.2e} of the largest (at most {bound:g})")
        if os.path.exists(os.path.join(folder, "tokenizer.json")):
            tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
            model = llama_cpp.Llama(os.path.join(options.work, f"{family}-f32.gguf"), vocab_only=True, verbose=False)
            # tokenizer.json's Metaspace puts no blank before a text that begins with one, llama.cpp always does
            metaspace = '"Metaspace"' in open(os.path.join(folder, "tokenizer.json")).read()
            wrong = [text for text in TEXTS if text and not (metaspace and (text[0] == " " or "> " in text)) and model.tokenize(text.encode(), add_bos=True, special=True) !=
                     tokenizer(text, add_special_tokens=True)["input_ids"]]
            check(not wrong, f"library: {family}: token ids of {len(TEXTS) - 1} texts; different: " + str(
                [(t, model.tokenize(t.encode(), add_bos=True, special=True)[:12], tokenizer(t)["input_ids"][:12]) for t in wrong[:3]]))


def check_back(options):
    import transformers
    for family in FAMILIES:
        folder = prepare(options, family)
        if not folder or not os.path.exists(os.path.join(folder, "tokenizer.json")):
            continue
        for who in ("llama.cpp", "carat"):
            path, back = os.path.join(options.work, "forth.gguf"), os.path.join(options.work, "back")
            if who == "carat":
                convert(options, folder, path)
            elif not options.converter or subprocess.run([sys.executable, options.converter, folder, "--outfile", path, "--outtype", "f32"],
                                                         capture_output=True, check=False).returncode:
                continue
            convert(options, path, back)
            mine, original = tensors_of(back), tensors_of(folder)
            strip = lambda name: name.removeprefix("bert.").removeprefix("transformer.")
            mine = {strip(k): v for k, v in mine.items()}
            wrong = [k for k, v in original.items() if strip(k) in mine and
                     float((mine[strip(k)].float() - v.float()).abs().max()) > 2e-7 * float(v.float().abs().max() + 1)]
            missing = [k for k in original if strip(k) not in mine]
            check(not wrong, f"back: {family} of {who}: tensors {wrong[:4]}; without a place in GGUF: {missing[:4]}")
            if who == "llama.cpp" and '"byte_fallback": true' in open(os.path.join(folder, "tokenizer.json")).read():
                continue  # its converter writes no scores without a tokenizer.model, so there is nothing to make merges of
            a = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
            b = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(back, "tokenizer.json"))
            metaspace = '"Metaspace"' in open(os.path.join(folder, "tokenizer.json")).read()  # as in check_library
            bad = [t for t in TEXTS if not (metaspace and (t[:1] == " " or "> " in t)) and (a(t)["input_ids"] != b(t)["input_ids"] or a.decode(a(t)["input_ids"]) != b.decode(a(t)["input_ids"]))]
            check(not bad, f"back: {family} of {who}: token ids of {len(TEXTS)} texts; different: " + str(
                [(t, a(t)["input_ids"][:12], b(t)["input_ids"][:12], a.decode(a(t)["input_ids"]), b.decode(a(t)["input_ids"])) for t in bad[:3]]))


def check_quantized(options):
    """llama.cpp's own Q4_K_M and Q6_K files: carat reads the values that gguf's reference gives."""
    import gguf
    import llama_cpp
    import torch
    from safetensors.torch import save_file
    folder = os.path.join(options.work, "wide")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    torch.manual_seed(3)
    sizes = {"model.embed_tokens.weight": (64, 256), "model.norm.weight": (256,), "lm_head.weight": (64, 256)}
    block = {"input_layernorm": (256,), "post_attention_layernorm": (256,), "self_attn.q_proj": (256, 256),
             "self_attn.k_proj": (256, 256), "self_attn.v_proj": (256, 256), "self_attn.o_proj": (256, 256),
             "mlp.gate_proj": (512, 256), "mlp.up_proj": (512, 256), "mlp.down_proj": (256, 512)}
    sizes.update({f"model.layers.0.{name}.weight": size for name, size in block.items()})
    save_file({name: torch.randn(*size) for name, size in sizes.items()}, os.path.join(folder, "model.safetensors"))
    json.dump({"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1, "num_attention_heads": 4,
               "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "vocab_size": 64, "tie_word_embeddings": False},
              open(os.path.join(folder, "config.json"), "w"))
    source = os.path.join(options.work, "wide.gguf")
    convert(options, folder, source, "--dtype", "f32")
    for name, kind in {"Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K}.items():
        path = os.path.join(options.work, f"wide-{name}.gguf")
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = kind
        status = llama_cpp.llama_model_quantize(source.encode(), path.encode(), ctypes.byref(parameters))
        check(status == 0, f"quantized: llama.cpp makes {name} of what carat wrote")
        convert(options, path, os.path.join(options.work, "wide.npz"), "--dtype", "f32")
        mine = numpy.load(os.path.join(options.work, "wide.npz"))
        reader = gguf.GGUFReader(path)
        wrong = [t.name for t in reader.tensors if not numpy.array_equal(mine[t.name], gguf.quants.dequantize(t.data, t.tensor_type))]
        check(not wrong, f"quantized: {name} ({sorted({t.tensor_type.name for t in reader.tensors})}) is read as gguf reads it {wrong}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("build", nargs="?", default="build", help="build folder")
    arguments.add_argument("--models", default="tests/golden/models")
    arguments.add_argument("--tokenizers", default="tests/golden/tokenizers")
    arguments.add_argument("--converter", help="convert_hf_to_gguf.py of llama.cpp")
    arguments.add_argument("--work", default="/tmp/carat-check-gguf")
    arguments.add_argument("--only", default="blocks,converter,back,library,quantized")
    options = arguments.parse_args()
    options.carat = os.path.join(options.build, "carat")
    os.makedirs(options.work, exist_ok=True)
    for part in options.only.split(","):
        if part == "converter" and not options.converter:
            print(f"-     {part}: --converter is not given")
            continue
        {"blocks": check_blocks, "converter": check_converter, "back": check_back, "library": check_library,
         "quantized": check_quantized}[part](options)
    print(f"{len(problems)} problem(s)")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
