"""Bytes of text a second through Hugging Face tokenizers, whose encode_batch works on many documents at once.

    tokenizers_encode.py TOKENIZER_FOLDER TEXT
"""
import json
import os
import sys
import time

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from serve import peak_resident


def load(folder):
    """GPT-2's tokenizer of vocab.json and merges.txt."""
    tokenizer = Tokenizer(models.BPE.from_file(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def documents(path):
    """Of some 16 KB, the fastest size here, cut where a paragraph begins; a document keeps the empty line before it, so
    that its ids are those that the whole text has there."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    made, parts, length = [], [], 0
    for i, paragraph in enumerate(text.split("\n\n")):
        if length >= 16384:
            made.append("".join(parts))
            parts, length = [], 0
        parts.append(("\n\n" if i else "") + paragraph)
        length += len(parts[-1])
    return made + ["".join(parts)], len(text.encode())


def main():
    tokenizer = load(sys.argv[1])
    texts, size = documents(sys.argv[2])
    # without offsets, where the library can: all that is wanted are ids
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)

    def measure():
        start, ids = time.perf_counter(), 0
        for first in range(0, len(texts), 500):
            ids += sum(len(encoding.ids) for encoding in encode(texts[first:first + 500], add_special_tokens=False))
        return {"value": size / (time.perf_counter() - start), "ids": ids, "peak_resident": peak_resident()}

    encode(texts[:200], add_special_tokens=False)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        print(json.dumps(measure()), flush=True)


if __name__ == "__main__":
    main()
