#!/usr/bin/env python3
"""Makes tests/golden/sentencepiece: tiny SentencePiece models and the ids that the library `sentencepiece` (PyPI) gives
for awkward texts. The tests need only what is committed.

    PYTHON tests/golden/make_sentencepiece.py
"""
import io
import json
import os
import random

import sentencepiece

from texts import TEXTS, corpus

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "sentencepiece")
LLAMA = dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
             allow_whitespace_only_pieces=True, split_digits=True, vocab_size=600)
MODELS = {
    "llama2": LLAMA,
    "gemma": dict(LLAMA, add_dummy_prefix=False, user_defined_symbols=["<mask>", "<start_of_turn>", "\u2581\u2581"],
                  unk_id=3, bos_id=2, eos_id=1, pad_id=0),
    "unigram": dict(model_type="unigram", vocab_size=400, normalization_rule_name="identity", hard_vocab_limit=False),
    "unigram-bytes": dict(model_type="unigram", vocab_size=700, byte_fallback=True, normalization_rule_name="identity",
                          remove_extra_whitespaces=False, hard_vocab_limit=False),
    "bpe-spaces": dict(model_type="bpe", vocab_size=500, normalization_rule_name="identity", user_defined_symbols=["<mask>"]),
}


def main():
    for name, settings in MODELS.items():
        folder = os.path.join(OUT, name)
        os.makedirs(folder, exist_ok=True)
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=model, num_threads=1,
                                                 minloglevel=2, character_coverage=0.995, **settings)
        with open(os.path.join(folder, "tokenizer.model"), "wb") as file:
            file.write(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        with open(os.path.join(folder, "golden.jsonl"), "w", encoding="utf-8") as file:
            for text in TEXTS:
                ids = processor.encode(text)
                line = {"text": text, "ids": ids, "decoded": processor.decode(ids)}
                file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        print(name, len(model.getvalue()), processor.vocab_size())


if __name__ == "__main__":
    main()
