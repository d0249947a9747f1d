#!/usr/bin/env python3
"""Makes tests/golden/gguf: files written by llama.cpp's Python package `gguf`, and what it decodes them to.

    make_gguf.py        (needs numpy, gguf, safetensors)

blocks.gguf holds one matrix of each type that carat decodes, and metadata of every kind; blocks.safetensors the same
matrices as f32 by gguf.quants.dequantize.
"""
import os

import gguf
import numpy
from safetensors.numpy import save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf")
KINDS = gguf.GGMLQuantizationType


def main():
    random = numpy.random.default_rng(11)
    writer = gguf.GGUFWriter(os.path.join(HERE, "blocks.gguf"), "llama")
    writer.add_name("golden blocks")
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4000000000)
    writer.add_int32("test.i32", -2000000000)
    writer.add_uint64("test.u64", 1 << 62)
    writer.add_int64("test.i64", -(1 << 62))
    writer.add_float32("test.f32", 0.1)
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_array("test.words", ["a", "", "\u00e9"])
    writer.add_array("test.numbers", [1, 2, 3])
    writer.add_array("test.nested", [[1, 2], [3]])
    expected = {}
    for kind in (KINDS.F32, KINDS.F16, KINDS.BF16, KINDS.Q8_0, KINDS.Q4_0, KINDS.Q4_K, KINDS.Q6_K):
        values = random.standard_normal((3, 512)).astype(numpy.float32)
        if kind in (KINDS.Q4_K, KINDS.Q6_K):  # gguf does not make these: any bytes, with finite scales
            block, size = gguf.GGML_QUANT_SIZES[kind]
            raw = random.integers(0, 256, (3, 512 // block, size), dtype=numpy.uint8)
            for at in ([0, 2] if kind == KINDS.Q4_K else [208]):
                raw[:, :, at:at + 2] = random.standard_normal(raw.shape[:2]).astype(numpy.float16)[..., None].view(numpy.uint8)
            raw = raw.reshape(3, -1)
        else:
            raw = gguf.quants.quantize(values, kind)
        writer.add_tensor(kind.name.lower(), raw, raw_dtype=kind)
        expected[kind.name.lower()] = gguf.quants.dequantize(raw, kind).astype(numpy.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, os.path.join(HERE, "blocks.safetensors"))


if __name__ == "__main__":
    main()
