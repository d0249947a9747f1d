#!/usr/bin/env python3
"""Makes tests/golden/encoders: tiny random encoders as transformers writes them, and what transformers computes.

    build/peers/bin/python tests/golden/make_encoders.py

Each NAME/ is a model folder; NAME.safetensors holds ids [2, time], types, mask (the second row is padded), hidden
[2, time, width] and, where the model has them, pooled and logits. sentence/ is a folder as sentence-transformers writes
it, with the vectors it gives the lines of sentence.txt in sentence.safetensors. Only this script needs Python.
"""
import os
import shutil
import string
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import (BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification,
                          BertForTokenClassification, BertModel)

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "encoders")
TIME = 11


def config(**changes):
    base = dict(vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
                max_position_embeddings=20, type_vocab_size=2)
    base.update(changes)
    return BertConfig(**base)


def stir(model, seed):
    """Weights of a size that makes every part matter, gains and biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else 0.2
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def rename(path, change):
    tensors = load_file(path)
    save_file({change(name): tensor for name, tensor in tensors.items()}, path, {"format": "pt"})


def make(name, model, seed, after=None):
    stir(model, seed)
    model.eval()
    folder = os.path.join(FOLDER, name)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    weights = os.path.join(folder, "model.safetensors")
    if after:
        after(weights)
    generator = torch.Generator().manual_seed(seed + 1000)
    ids = torch.randint(1, model.config.vocab_size, (2, TIME), generator=generator)
    types = torch.randint(0, model.config.type_vocab_size, (2, TIME), generator=generator)
    mask = torch.ones(2, TIME, dtype=torch.long)
    mask[1, 7:] = 0
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
    golden = {"ids": ids.int(), "types": types.int(), "mask": mask.to(torch.uint8),
              "hidden": out.hidden_states[-1].contiguous()}
    if getattr(out, "pooler_output", None) is not None:
        golden["pooled"] = out.pooler_output
    logits = getattr(out, "logits", None)
    if logits is None:
        logits = getattr(out, "prediction_logits", None)
    if logits is not None:
        golden["logits"] = logits
    save_file({key: value.contiguous() for key, value in golden.items()},
              os.path.join(FOLDER, name + ".safetensors"))
    print(f"{name}: {os.path.getsize(weights)} bytes, {sorted(golden)}")
    return model


def old_names(path):
    """As TensorFlow's checkpoints were converted: the prefix, gamma and beta, and stored position numbers."""
    rename(path, lambda name: "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma")
           .replace("LayerNorm.bias", "LayerNorm.beta"))
    tensors = load_file(path)
    tensors["bert.embeddings.position_ids"] = torch.arange(20).unsqueeze(0)
    save_file(tensors, path, {"format": "pt"})


TEXTS = ["a small text", "", "The quick brown fox jumps over the lazy dog, and then some more than fits",
         "caf\u00e9 \u4f60\u597d unknown", "two", "words here", "A SMALL TEXT", "many-many, hyphens!"]


def wordpiece():
    """Letters, letters inside words, and a few words."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    letters = string.ascii_lowercase
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(letters) + ["##" + letter for letter in letters]
    tokens += ["the", "##ext", "quick", ",", "-", "!", "sma"]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, len(tokens)


def make_sentence():
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertTokenizerFast
    tokenizer, size = wordpiece()
    model = BertModel(config(vocab_size=size, max_position_embeddings=32))
    stir(model, 9)
    folder = os.path.join(FOLDER, "sentence")
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        BertTokenizerFast(tokenizer_object=tokenizer, do_lower_case=True).save_pretrained(plain)
        transformer = models.Transformer(plain, max_seq_length=24)
        pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
        sentence = SentenceTransformer(modules=[transformer, pooling, models.Normalize()], device="cpu")
        sentence.save(folder, create_model_card=False)
    vectors = torch.tensor(sentence.encode(TEXTS, batch_size=3))
    ids = [sentence.tokenizer(text, truncation=True, max_length=24)["input_ids"] for text in TEXTS]
    ends = torch.tensor([len(row) for row in ids]).cumsum(0)
    save_file({"vectors": vectors, "ids": torch.tensor(sum(ids, []), dtype=torch.int32), "ends": ends},
              os.path.join(FOLDER, "sentence.safetensors"))
    with open(os.path.join(FOLDER, "sentence.txt"), "w", encoding="utf-8") as file:
        file.write("".join(text + "\n" for text in TEXTS))
    print(f"sentence: {len(TEXTS)} texts, {int(ends[-1])} tokens")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    torch.manual_seed(1)
    make("bert", BertModel(config()), 1)
    make("bert-no-pooler", BertModel(config(hidden_act="gelu_new", layer_norm_eps=1e-5), add_pooling_layer=False), 2)
    make("bert-old-names", BertModel(config(hidden_act="relu", num_hidden_layers=1)), 3, old_names)
    make("bert-masked", BertForMaskedLM(config()), 4)
    make("bert-untied", BertForMaskedLM(config(tie_word_embeddings=False, num_hidden_layers=1)), 5)
    make("bert-pretraining", BertForPreTraining(config(num_hidden_layers=1)), 6)
    make("bert-sequence", BertForSequenceClassification(config(num_labels=5, hidden_act="silu")), 7)
    make("bert-token", BertForTokenClassification(config(id2label={0: "O", 1: "B", 2: "I"}, label2id={"O": 0, "B": 1,
                                                                                                     "I": 2})), 8)
    make_sentence()


main()
