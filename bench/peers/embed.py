"""Peer: embeddings of all-MiniLM-L6-v2, texts a second, tokenizing included.

    embed.py --peer sentence-transformers|onnxruntime [--fused] --model FOLDER --texts FILE --threads N [--batch B]

FILE has a text a line, sorted by length, so that a batch has little padding. ONNX files are exported once, beside FOLDER:
as torch.onnx writes it, and (--fused) with the fusions of onnxruntime.transformers for BERT.
"""
import argparse
import os
import time

import numpy

from serve import serve


def export(folder, path):
    import torch
    from transformers import AutoModel

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask,
                              token_type_ids=token_type_ids).last_hidden_state

    ids = torch.randint(1000, 2000, (2, 7))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "time"} for name in names + ["hidden"]}
    torch.onnx.export(Hidden(), (ids, torch.ones_like(ids), torch.zeros_like(ids)), path + ".part", input_names=names,
                      output_names=["hidden"], dynamic_axes=axes, opset_version=17, dynamo=False)
    os.replace(path + ".part", path)


def fuse(path, fused):
    from onnxruntime.transformers import optimizer
    model = optimizer.optimize_model(path, model_type="bert", num_heads=12, hidden_size=384)
    model.save_model_to_file(fused + ".part")
    os.replace(fused + ".part", fused)


def onnx_work(options, texts):
    import onnxruntime
    from tokenizers import Tokenizer
    path = os.path.join(os.path.dirname(os.path.abspath(options.model)), "minilm.onnx")
    if not os.path.exists(path):
        export(options.model, path)
    if options.fused:
        fused = path.replace(".onnx", "-fused.onnx")
        if not os.path.exists(fused):
            fuse(path, fused)
        path = fused
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads, how.inter_op_num_threads = options.threads, 1
    session = onnxruntime.InferenceSession(path, how, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(os.path.join(options.model, "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    output = [session.get_outputs()[0].name]

    def work():
        for at in range(0, len(texts), options.batch):
            rows = tokenizer.encode_batch(texts[at:at + options.batch])
            ids = numpy.array([row.ids for row in rows], dtype=numpy.int64)
            mask = numpy.array([row.attention_mask for row in rows], dtype=numpy.int64)
            hidden = session.run(output, {"input_ids": ids, "attention_mask": mask,
                                          "token_type_ids": numpy.zeros_like(ids)})[0]
            pooled = (hidden * mask[:, :, None].astype(numpy.float32)).sum(1) / mask.sum(1, keepdims=True)
            pooled /= numpy.linalg.norm(pooled, axis=1, keepdims=True)

    return work


def sentence_work(options, texts):
    import torch
    from sentence_transformers import SentenceTransformer
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    model = SentenceTransformer(options.model, device="cpu")
    return lambda: model.encode(texts, batch_size=options.batch, show_progress_bar=False)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peer", choices=("sentence-transformers", "onnxruntime"), required=True)
    arguments.add_argument("--fused", action="store_true")
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--texts", required=True)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--batch", type=int, default=32)
    options = arguments.parse_args()
    with open(options.texts, encoding="utf-8") as file:
        texts = file.read().splitlines()
    work = (sentence_work if options.peer == "sentence-transformers" else onnx_work)(options, texts)

    def measure():
        start = time.perf_counter()
        work()
        return len(texts) / (time.perf_counter() - start)

    measure()
    serve(measure)


main()
