#!/usr/bin/env python3
"""Makes tests/golden/tokenizers: a small tokenizer of each pipeline that Hugging Face files use, and what the library
`tokenizers` makes of awkward texts with it. Needs `tokenizers` (PyPI); the tests need only what is committed.

    build/peers/bin/python tests/golden/make_tokenizers.py [NAME...]

A line of golden.jsonl has "text", "ids" (special tokens seen, no template), "plain" (special tokens are text),
"template", "decoded" and "skipped" (without special tokens); or only "ids" and the last two, for ids drawn at random.
"""
import base64
import json
import os
import random
import struct
import sys

from texts import TEXTS, corpus
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "tokenizers")

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
# Of tokenizers that have no scanner of their own here: o200k's is like this one.
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

# ------------------------------------------------------------------------------------ a small character map -----


def charsmap(rules):
    """SentencePiece's compiled form of {text: replacement}: a darts-clone double array and the replacements."""
    texts, at = b"", {}
    for value in sorted(set(rules.values())):
        at[value] = len(texts)
        texts += value.encode() + b"\0"
    units, used = {0: 0}, {0}
    entries = sorted((key.encode(), at[value]) for key, value in rules.items())

    def place(node, group, depth):
        """Puts the children of a node: `group` are its entries."""
        labels = sorted({key[depth] if depth < len(key) else 0 for key, _ in group})
        offset = 1
        while any((node ^ offset ^ label) in used or (node ^ offset ^ label) == 0 for label in labels):
            offset += 1
        assert offset < 1 << 21
        units[node] |= offset << 10
        base = node ^ offset
        for label in labels:
            used.add(base ^ label)
        for label in labels:
            if label == 0:
                value = next(v for key, v in group if len(key) == depth)
                units[base] = value | 1 << 31
                units[node] |= 1 << 8
            else:
                units[base ^ label] = label
        for label in labels:
            if label:
                place(base ^ label, [entry for entry in group if len(entry[0]) > depth and entry[0][depth] == label],
                      depth + 1)

    place(0, entries, 0)
    size = (max(units) // 256 + 1) * 256
    array = struct.pack(f"<{size}I", *(units.get(i, 0) for i in range(size)))
    return struct.pack("<I", len(array)) + array + texts


RULES = {"\uff21": "A", "\uff22": "B", "\uff11": "1", "\ufb01": "fi", "\u2460": "1", "\u00a0": " ", "\u3000": " ", "\t": " ",
         "\n": " ", "\r": " ", "\u200b": " ", "\x01": "", "\x02": "", "\u2026": "...", "\u00e9": "e\u0301", "e\u0301": "\u00e9",
         "\u33a2": "km", "\u212b": "\u00c5", "\u4e16\u754c": "X", "\u3002": ".", "\u200d": ""}
CHARSMAP = charsmap(RULES)

# --------------------------------------------------------------------------------------------- pipelines -----


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def byte_level_bpe(pre, size=450, special=(), **settings):
    tokenizer = Tokenizer(models.BPE(**settings))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trained(tokenizer, trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                           initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def gpt2():
    tokenizer = byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), special=["<|end|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_tokens(["word", AddedToken("[stripme]", lstrip=True, rstrip=True, normalized=False),
                          AddedToken("wordy", single_word=True), "<extra_1>", "<extra_10>"])
    return tokenizer


def roberta():
    tokenizer = byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), special=["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("[MASK]", lstrip=True)])
    return tokenizer


def reloaded(tokenizer, change):
    """With something changed in its JSON."""
    data = json.loads(tokenizer.to_str())
    change(data)
    return Tokenizer.from_str(json.dumps(data))


def llama3():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = byte_level_bpe(pre, special=[])

    def change(data):
        data["model"]["ignore_merges"] = True
        for word in ("lower\u0120newest", "\u0120widest</", "a" * 76, "\u0120normal"):
            data["model"]["vocab"].setdefault(word, len(data["model"]["vocab"]))
    tokenizer = reloaded(tokenizer, change)
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>", "<s>"])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing("<|begin|> $A", "<|begin|> $A <|begin|> $B",
                                      [("<|begin|>", tokenizer.token_to_id("<|begin|>"))])])
    return tokenizer


def qwen2():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trained(tokenizer, trainers.BpeTrainer(vocab_size=450, show_progress=False, special_tokens=["<|end|>"],
                                           initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.add_tokens([AddedToken("s\u0323\u0307", normalized=True), AddedToken("<extra_1>", normalized=False)])
    return tokenizer


def o200k():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(O200K), "removed", invert=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return byte_level_bpe(pre, special=["<|end|>"])


def deepseek():
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
        pre_tokenizers.Split(Regex("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), "isolated"),
        pre_tokenizers.Split(Regex(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return byte_level_bpe(pre, special=["<s>"])


def smollm():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return byte_level_bpe(pre, special=["<|end|>"])


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece_bpe(pre, normalizer, decoder, special=("<unk>", "<s>", "</s>"), size=700, bytes_=True):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=bytes_))
    tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    else: # the trainer wants words
        tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    tokenizer.decoder = decoder
    trained(tokenizer, trainers.BpeTrainer(vocab_size=size, special_tokens=list(special) + (BYTES if bytes_ else []),
                                           show_progress=False, limit_alphabet=100))

    def change(data):
        if not pre:
            data["pre_tokenizer"] = None
        data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] in special]
    return reloaded(tokenizer, change)


LLAMA2_DECODER = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                    decoders.Strip(" ", 1, 0)])


def llama2():
    tokenizer = sentencepiece_bpe(None, normalizers.Sequence([normalizers.Prepend("\u2581"),
                                                              normalizers.Replace(" ", "\u2581")]), LLAMA2_DECODER)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 1)])
    return tokenizer


def mistral():
    tokenizer = sentencepiece_bpe(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), None, LLAMA2_DECODER)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B", [("<s>", 1), ("</s>", 2)])
    tokenizer.add_tokens([AddedToken("[stripme]", rstrip=True), AddedToken("word", single_word=True, normalized=True)])
    return tokenizer


def gemma2():
    tokenizer = sentencepiece_bpe(pre_tokenizers.Split(" ", "merged_with_previous"), normalizers.Replace(" ", "\u2581"),
                                  decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                                     decoders.Fuse()]), special=("<pad>", "</s>", "<s>", "<unk>"))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 2)])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n\n", "\n", "\u2581\u2581", "\t")])
    return tokenizer


def bpe_unknown():
    """Without byte fallback: unknown characters, not fused."""
    tokenizer = sentencepiece_bpe(pre_tokenizers.Metaspace(prepend_scheme="always"), None,
                                  decoders.Metaspace(prepend_scheme="always"), bytes_=False, size=400)
    return reloaded(tokenizer, lambda data: data["model"].update(fuse_unk=False))


def bert(lowercase, **settings):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, **settings)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trained(tokenizer, trainers.WordPieceTrainer(vocab_size=600, show_progress=False,
                                                 special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1",
                                                             [("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def bert_uncased():
    return bert(True)


def bert_cased():
    tokenizer = bert(False, strip_accents=False, handle_chinese_chars=False, clean_text=False)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return reloaded(tokenizer, lambda data: data["model"].update(max_input_chars_per_word=20))


def bert_accents():
    tokenizer = bert(True, strip_accents=False)
    tokenizer.add_tokens([AddedToken("NORM", normalized=True), AddedToken("WORD", normalized=True, single_word=True)])
    return tokenizer


def unigram(normalizer, pre, decoder, size=500, special=("<pad>", "</s>", "<unk>", "<s>")):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    return trained(tokenizer, trainers.UnigramTrainer(vocab_size=size, special_tokens=list(special), unk_token="<unk>",
                                                      show_progress=False))


def t5():
    tokenizer = unigram(normalizers.Precompiled(CHARSMAP), pre_tokenizers.Metaspace(prepend_scheme="always"),
                        decoders.Metaspace(prepend_scheme="always"))
    tokenizer.add_tokens([AddedToken("<extra_1>", special=True), AddedToken("<extra_10>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return tokenizer


def xlmr():
    tokenizer = unigram(normalizers.Sequence([normalizers.Precompiled(CHARSMAP), normalizers.Replace(Regex(" {2,}"), " ")]),
                        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
                        decoders.Metaspace())
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>",
                                                             [("<s>", 3), ("</s>", 1)])
    return tokenizer


def albert():
    return unigram(normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
                                         normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(),
                                         normalizers.Nmt()]),
                   pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace(prepend_scheme="first"))


def unigram_bytes():
    tokenizer = unigram(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="never", split=False),
                        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never")]), size=400)

    def change(data):
        data["model"]["byte_fallback"] = True
        data["model"]["vocab"] += [[token, -20.0] for token in BYTES]
    return reloaded(tokenizer, change)


def openai_gpt():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>"], end_of_word_suffix="</w>",
                                                  show_progress=False, limit_alphabet=120))


def clip():
    tokenizer = Tokenizer(models.BPE(unk_token="<|end|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                                 normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trained(tokenizer, trainers.BpeTrainer(vocab_size=800, special_tokens=["<|end|>"], end_of_word_suffix="</w>",
                                           show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.RobertaProcessing(("<|end|>", 0), ("<|end|>", 0), add_prefix_space=False,
                                                            trim_offsets=False)
    return tokenizer


def bpe_prefix():
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=500, special_tokens=["[UNK]"], continuing_subword_prefix="##",
                                                  show_progress=False, limit_alphabet=100))


# Where each step is seen by itself: WordLevel whose vocabulary is what the step makes of the texts.


def words_of(normalizer, pre, decoder=None):
    vocabulary = {"<unk>": 0}
    for text in TEXTS:
        if normalizer:
            text = normalizer.normalize_str(text)
        for word in ([piece for piece, _ in pre.pre_tokenize_str(text)] if pre else [text]):
            if word and "\0" not in word:
                vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    if decoder:
        tokenizer.decoder = decoder
    return tokenizer


NORMALIZERS = {
    "nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(),
    "lowercase": normalizers.Lowercase(), "strip": normalizers.Strip(), "strip-left": normalizers.Strip(right=False),
    "strip-right": normalizers.Strip(left=False), "accents": normalizers.StripAccents(), "nmt": normalizers.Nmt(),
    "bert": normalizers.BertNormalizer(), "bert-plain": normalizers.BertNormalizer(True, False, True, False),
    "replace": normalizers.Replace("a", "<a>"), "replace-regex": normalizers.Replace(Regex(r"\s+|\d(?=\d)|^[a-z]"), "_"),
    "remove": normalizers.Replace(Regex(r"\W"), ""), "prepend": normalizers.Prepend("x "),
    "precompiled": normalizers.Precompiled(CHARSMAP), "byte-level": normalizers.ByteLevel(),
}
SPLITS = {
    "whitespace": pre_tokenizers.Whitespace(), "whitespace-split": pre_tokenizers.WhitespaceSplit(),
    "bert": pre_tokenizers.BertPreTokenizer(), "punctuation": pre_tokenizers.Punctuation(),
    "punctuation-previous": pre_tokenizers.Punctuation("merged_with_previous"),
    "punctuation-contiguous": pre_tokenizers.Punctuation("contiguous"),
    "digits": pre_tokenizers.Digits(), "digits-single": pre_tokenizers.Digits(individual_digits=True),
    "metaspace": pre_tokenizers.Metaspace(), "metaspace-first": pre_tokenizers.Metaspace(prepend_scheme="first"),
    "metaspace-never": pre_tokenizers.Metaspace(prepend_scheme="never"),
    "byte-level": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "removed": pre_tokenizers.Split(Regex(r"\s|[aeiou]+"), "removed"),
    "isolated": pre_tokenizers.Split(Regex(r"\b\w"), "isolated"),
    "previous": pre_tokenizers.Split(Regex(r"[ .]"), "merged_with_previous"),
    "next": pre_tokenizers.Split(Regex(r"[ .]"), "merged_with_next"),
    "contiguous": pre_tokenizers.Split(Regex(r"\p{L}"), "contiguous"),
    "inverted": pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), "isolated", invert=True),
    "next-inverted": pre_tokenizers.Split(Regex(r"\h"), "merged_with_next", invert=True),
    "text": pre_tokenizers.Split("o", "merged_with_previous"), "text-removed": pre_tokenizers.Split("  ", "removed"),
    "lookbehind": pre_tokenizers.Split(Regex(r"(?<=\s)(?=\S)|(?<=[a-z])(?=[A-Z])"), "isolated"),
    "possessive": pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}|(?m:.)"), "isolated"),
    "sequence": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(),
                                         pre_tokenizers.Digits(), pre_tokenizers.Metaspace(prepend_scheme="first")]),
}
DECODERS = {
    "none": None, "fuse": decoders.Fuse(), "ctc": decoders.CTC("<pad>", "|", True), "ctc-plain": decoders.CTC("b", "|", False),
    "strip": decoders.Strip("a", 2, 0), "strip-stop": decoders.Sequence([decoders.Fuse(), decoders.Strip("a", 1, 1)]),
    "replace": decoders.Sequence([decoders.Replace("a", "<a>"), decoders.Replace(Regex("[b-d]+"), "")]),
    "metaspace": decoders.Metaspace(), "metaspace-never": decoders.Metaspace(prepend_scheme="never"),
    "wordpiece": decoders.WordPiece("##", True), "wordpiece-plain": decoders.WordPiece("##", False), "bpe": decoders.BPEDecoder("</w>"),
    "byte-fallback": decoders.ByteFallback(), "byte-level": decoders.ByteLevel(),
    "fused-replace": decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "X"), decoders.WordPiece("##", True)]),
}
DECODED = ["<unk>", "a", "b", "aa", "ab", "abc", "aba", "<pad>", "|", "\u2581", "\u2581a", "\u2581a\u2581b", "##ing", "##", "low</w>", "w</w>x",
           "</w>", "<0x41>", "<0xC3>", "<0xA9>", "<0x4", "do", "not", "n't", "'s", ".", ",", "?", "\u0120the", "\u00c3\u00a9", "\u00e9", " ", "'"]


def decoder_tokenizer(decoder):
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(DECODED)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if decoder:
        tokenizer.decoder = decoder
    return tokenizer


FAMILIES = [gpt2, roberta, llama3, qwen2, o200k, deepseek, smollm, llama2, mistral, gemma2, bpe_unknown, bert_uncased,
            bert_cased, bert_accents, t5, xlmr, albert, unigram_bytes, openai_gpt, clip, bpe_prefix]

# ------------------------------------------------------------------------------------------------ output -----


def put_decoded(tokenizer, line):
    """Nothing where the library panics: some decoders do on empty lists and empty texts."""
    try:
        texts = [tokenizer.decode(line["ids"], skip_special_tokens=skip) for skip in (False, True)]
    except BaseException as error: # pyo3's PanicException is no Exception
        if type(error).__name__ != "PanicException":
            raise
        texts = []
    line.update(zip(("decoded", "skipped"), texts))


def plain_twin(tokenizer):
    """Whose Unigram model does not find special tokens in texts: they have other names, and the same ids."""
    data = json.loads(tokenizer.to_str())
    special = {token["content"] for token in data["added_tokens"] if token["special"]}
    if data["model"]["type"] != "Unigram":
        return tokenizer
    for piece in data["model"]["vocab"]:
        if piece[0] in special:
            piece[0] = "\ue000" + piece[0]
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["special"]]
    data["post_processor"] = None
    return Tokenizer.from_str(json.dumps(data))


def make_lines(tokenizer, draws, name):
    lines = []
    twin = plain_twin(tokenizer)
    for text in TEXTS:
        line = {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}
        twin.encode_special_tokens = True
        line["plain"] = twin.encode(text, add_special_tokens=False).ids
        twin.encode_special_tokens = False
        line["template"] = tokenizer.encode(text).ids
        put_decoded(tokenizer, line)
        lines.append(line)
    numbers = random.Random(name)
    known = sorted(tokenizer.get_vocab().values())
    while draws > 0:
        line = {"ids": [numbers.choice(known) for _ in range(numbers.randint(1, 12))]}
        put_decoded(tokenizer, line)
        # bytes that make no character are given as they are here, and as U+FFFD there
        if "\ufffd" in line.get("decoded", "\ufffd") + line["skipped"]:
            continue
        lines.append(line)
        draws -= 1
    return lines


def write(name, tokenizer, draws=20):
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    tokenizer.no_padding()
    text = tokenizer.to_str(pretty=False)
    assert len(text.encode()) < 60000, (name, len(text))
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    with open(os.path.join(folder, "golden.jsonl"), "w", encoding="utf-8") as file:
        for line in make_lines(Tokenizer.from_str(text), draws, name):
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    wanted = sys.argv[1:]
    jobs = {make.__name__.replace("_", "-"): make for make in FAMILIES}
    jobs.update({"normalizer-" + name: lambda step=step: words_of(step, None) for name, step in NORMALIZERS.items()})
    jobs.update({"split-" + name: lambda step=step: words_of(None, step) for name, step in SPLITS.items()})
    for name, make in jobs.items():
        if not wanted or name in wanted:
            print(name, flush=True)
            write(name, make())
    for name, step in DECODERS.items():
        if not wanted or "decoder-" + name in wanted:
            print("decoder-" + name, flush=True)
            write("decoder-" + name, decoder_tokenizer(step), draws=120)


if __name__ == "__main__":
    main()
