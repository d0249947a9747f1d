"""The awkward texts of the golden files of tokenizers, and a small corpus to train on."""
import os

LICENSE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "LICENSE")

TEXTS = [
    "", " ", "  ", "\n", "\t", "a", " a", "a ", "  a  b  ", "Hello, world!", "Hello,  world !\n", "HELLO World hElLo",
    "It's John's; they're we'll I'd I'm you've don't 'tis ''s", "IT'S JOHN'S THEY'RE WE'LL I'D YOU'VE 'S 'LL x'\u017f",
    "line one\nline two\r\nline three\rfour\n\n\n five \n \n six", "tab\tand\t\ttabs \t mixed", "  leading and trailing   ",
    "a\n\n  b", "a \n b", "\n\na", "x  \ny", "...\n\n\nnext", "end.\r\n\r\nnew", "foo(bar)[baz]{qux};//c\n\tif (x!=y) {\n",
    "0 1 12 123 1234 12345 1234567890 3.14 1,000,000 -5 +6 1e-9 0x1F", "\u0660\u0661\u0662\u0663 \u0966\u0967 \u00b2\u00b3\u00bd \u216b \u4e00\u4e8c",
    "caf\u00e9 na\u00efve re\u0301sume\u0301 \u00c5ngstr\u00f6m \u212b \u1e69 s\u0323\u0307 \ufb01n \uff21\uff22\uff23\uff11 \u2460 \u33a2 \u1d2c",
    "Stra\u00dfe \u1e9e \u0130stanbul I\u0131 \u03a3\u03b1\u03c2 \u03a9 \u0416\u0451\u0439 \u0419",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u3400\U00020000\U0002f800",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645 \u05e9\u05dc\u05d5\u05dd \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947 \u0a95\u0ac7\u0aae \u0c15\u0c4d\u0c37 \u1780\u17d2\u1798 \u10d2\u10d0\u10db",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \u2764\ufe0f \U0001f44d\U0001f3fd #\ufe0f\u20e3",
    "zero\u200bwidth\u200d joiner\u200c soft\u00adhyphen \ufeffbom \u00a0nbsp\u2003em\u3000wide\u2028line\u2029para\u0085nel",
    "a\u0300\u0301\u0302\u0303 e\u0328\u0301 \u0301 \u0300x o\u031b\u0323", "\u2581 \u2581a\u2581b \u2581\u2581 a\u2581",
    "control \x01\x02\x1f\x7f\x80\x9f \x0b\x0c \ufffd end", "quotes \u201ca\u201d \u2018b\u2019 \u00abc\u00bb `` '' ` \u2014\u2013-\u2026 \u00a1\u00bf",
    "<s>hello</s>", "<s> hello </s>  <s>", "a<s>b</s>c <pad><unk>[MASK] [CLS]x[SEP] [UNK]", "text<|end|>more <|end|> and<|end|>\n",
    "<|end|", "<|begin|>user\n\nhi<|end|>", "word wordy aword word's Word WORD _word word_", " [stripme] x[stripme]  y  [stripme]  ",
    "NORM norm Norm normal", "<extra_1><extra_10><extra_1>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Donaudampfschifffahrtsgesellschaftskapit\u00e4nsm\u00fctzenabzeichenfabrikantenverbandsvorsitzender" * 2, "ab" * 90 + " x",
    " " * 40 + "x" + " " * 17, "=" * 50 + "\n" + "-" * 33, "http://example.com/a/b?c=d&e=f%20g#h user@example.org C:\\dir\\file.txt",
    "The tokenizer reads tokens. It writes models, weights and layers; the training of a tokenizer is the tokenizer's.",
    "$10.50 + \u20ac20 = 30% ^ | ~ < > @ & * ( ) [ ] { } \\ / \" '", "\u24b6\u24d0 \u2160\u2170 \U0001f130 _a_ a_b a-b a\u00b7b \u00aa\u00ba \u02b0",
    "mixed\u4e2d\u6587text123\u6570\u5b57\u00e9\U0001f600end", "\r", "\r\n", " \r\n ", "'", "''", "' s", "'S", "n't do not is n't . , ? !",
    "\U0001d400\U0001d7ce \U00010330 \ufdfa \u0f71\u0f72 \u1100\u1161", "<0x41><0x0A> <0xFF> <0x4", "##ing ing## ## #", "low lower newest widest</w> </w>",
]

TRAINING = [
    "Hello world, hello tokenizer! The quick brown fox jumps over the lazy dog. It's John's, they're here; we'll see.",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00fcber Stra\u00dfe \u00c5ngstr\u00f6m. \u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440, \u043a\u0430\u043a \u0434\u0435\u043b\u0430? \u4f60\u597d\uff0c\u4e16\u754c\u3002 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "def f(x):\n    return x + 1\n\n\nfor i in range(10):\n\tprint(i)\n", "1234567890 2024 3.14 100 200 12 345", "word words wordy normal norm",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947 \U0001f600 \U0001f44d", "low low low lower lower newest newest newest newest widest widest",
] * 4


def corpus():
    lines = list(TRAINING)
    with open(LICENSE, encoding="utf-8") as file:
        lines += [line.strip() for line in file][:150]
    return lines
