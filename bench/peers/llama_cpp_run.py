"""Peer: llama.cpp through llama-cpp-python's low-level interface, batch 1, tokens a second.

    llama_cpp_run.py MODEL.gguf --threads N (--decode TOKENS | --prompt TOKENS)

--decode: greedy generation behind 16 tokens, which are not counted; --prompt: one evaluation of so many tokens."""
import argparse
import ctypes
import time

import llama_cpp
import numpy

from serve import serve


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--decode", type=int, default=0)
    arguments.add_argument("--prompt", type=int, default=0)
    options = arguments.parse_args()
    silent = llama_cpp.llama_log_callback(lambda level, text, user: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llm = llama_cpp.Llama(options.model, n_ctx=1024, n_batch=512, n_threads=options.threads,
                          n_threads_batch=options.threads, verbose=False)
    context, vocabulary = llm.ctx, llm.n_vocab()

    def evaluate(tokens):
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)  # the batch only points to them
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(ids, len(tokens))) != 0:
            raise RuntimeError("llama_decode failed")
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(vocabulary,))
        return int(logits.argmax())

    def empty():
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)

    source = numpy.random.default_rng(1)
    prompt = source.integers(10, vocabulary - 10, options.prompt or 16).tolist()

    def measure():
        empty()
        start = time.perf_counter()
        token = evaluate(prompt)
        if options.prompt:
            return options.prompt / (time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(options.decode - 1):
            token = evaluate([token])
        return (options.decode - 1) / (time.perf_counter() - start)

    measure()
    serve(measure)


main()
