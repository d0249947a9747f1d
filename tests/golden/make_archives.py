#!/usr/bin/env python3
"""Writes tests/golden/archives: small files of PyTorch and numpy with the values that they hold, and hostile ones.

    build/peers/bin/python tests/golden/make_archives.py        (torch and numpy; see `make peers`)

expected.json: for each good file its tensors in order (name, type, shape, the row-major bytes as hexadecimal text, the
name of an earlier tensor that is the same bytes) and what stands beside them; for each bad file words of its refusal.
"""
import collections
import io
import json
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import torch

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "archives")
EXPECTED = {"good": {}, "bad": {}}
NAMES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.complex64: "C64", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}
NUMPY = {"f4": "F32", "f8": "F64", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u1": "U8",
         "b1": "BOOL", "c8": "C64", "u2": "U16", "u4": "U32", "u8": "U64"}


def path(name):
    return os.path.join(HERE, name)


def put(name, data):
    with open(path(name), "wb") as file:
        file.write(data)


def raw(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def torch_entry(name, tensor, alias=None):
    return {"name": name, "type": NAMES[tensor.dtype], "shape": list(tensor.shape), "hex": raw(tensor).hex(),
            "alias": alias}


def save(name, value, tensors, metadata, **options):
    torch.save(value, path(name), **options)
    EXPECTED["good"][name] = {"format": "pytorch", "metadata": metadata,
                              "tensors": [torch_entry(*entry) for entry in tensors]}


def make_torch():
    torch.manual_seed(1)
    a = torch.randn(3, 4)
    many = {
        "f32": a, "f64": torch.randn(2, 2, dtype=torch.float64), "f16": torch.randn(5).half(),
        "bf16": torch.randn(2, 3).bfloat16(), "i64": torch.tensor([-1, 2**62]), "i32": torch.tensor([-7, 8], dtype=torch.int32),
        "i16": torch.tensor([[-300], [300]], dtype=torch.int16), "i8": torch.tensor([-128, 127], dtype=torch.int8),
        "u8": torch.tensor([0, 255], dtype=torch.uint8), "bool": torch.tensor([True, False, True]),
        "c64": torch.tensor([1 + 2j]), "u16": torch.tensor([65535], dtype=torch.uint16),
        "u32": torch.tensor([2**32 - 1], dtype=torch.uint32), "u64": torch.tensor([2**63], dtype=torch.uint64),
        "e4m3": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn), "e5m2": torch.tensor([0.25]).to(torch.float8_e5m2),
        "scalar": torch.tensor(3.25), "empty": torch.zeros(0, 5), "special": torch.tensor([float("nan"), float("inf"), -0.0]),
    }
    save("types.pt", many, [(k, v) for k, v in many.items()], {})
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    views = {
        "base": base, "transposed": base.permute(2, 0, 1), "slice": base[1:, ::2, 1:4], "row": base[2, 3],
        "tie": base, "expanded": base[0, 0].expand(3, 5), "tail": base.reshape(-1)[7:], "step": base.reshape(-1)[::7],
        "last": base[2, 3, 4], "again": base.permute(2, 0, 1), "none": base[:, 4:, :],
    }
    save("views.pt", views, [(k, v, {"tie": "base", "again": "transposed"}.get(k)) for k, v in views.items()], {})
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.125)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = layer.state_dict()
    saved = optimizer.state_dict()
    checkpoint = {
        "model": state, "optimizer": saved, "epoch": 7, "loss": 0.5, "name": "caf\u00e9", "done": False, "nothing": None,
        "dtype": torch.bfloat16, "size": torch.Size([2, 3]), "device": torch.device("cpu"), "bytes": b"\x00\xff",
        "large": 2**70, "negative": -(2**40), "list": [1, [2, "three"], (4.5,)], "set": {5}, "empty": {}, "none": [],
        "mixed": [a, 6, {"x": a}], 3: "three", "parameter": layer.weight,
    }
    tensors = [("model.weight", state["weight"]), ("model.bias", state["bias"])]
    for i in (0, 1):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            tensors.append((f"optimizer.state.{i}.{key}", saved["state"][i][key]))
    tensors += [("mixed.0", a), ("mixed.2.x", a, "mixed.0"), ("parameter", layer.weight, "model.weight")]
    groups = json.loads(json.dumps(saved["param_groups"]))[0]
    save("checkpoint.pth", checkpoint, tensors, {
        "optimizer": {"param_groups": {"0": groups}}, "epoch": 7, "loss": 0.5, "name": "caf\u00e9", "done": False,
        "nothing": None, "dtype": "torch.bfloat16", "size": [2, 3], "device": "cpu", "bytes": "<2 bytes>",
        "large": "<integer beyond 64 bits>", "negative": -(2**40),
        "list": {"0": 1, "1": [2, "three"], "2": [4.5]}, "set": [5], "empty": {}, "none": [], "mixed": {"1": 6},
        "3": "three"})
    save("state.bin", collections.OrderedDict(state), [("weight", state["weight"]), ("bias", state["bias"])], {})
    save("protocol4.pt", {"a": a, "t": "x"}, [("a", a)], {"t": "x"}, pickle_protocol=4)
    save("lone.pt", a, [("tensor", a)], {})
    save("number.pt", 5, [], {"value": 5})
    make_big_endian(a)
    make_shards(state)


def make_models():
    """The same tiny GPT-2 as one pytorch_model.bin, as shards of them, and as transformers writes it."""
    import transformers
    config = transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=24, n_positions=16,
                                     bos_token_id=0, eos_token_id=0)
    torch.manual_seed(2)
    model = transformers.GPT2LMHeadModel(config)
    for folder in ("gpt2", "gpt2_bin", "gpt2_shards"):
        os.makedirs(path(folder), exist_ok=True)
        model.config.save_pretrained(path(folder))
    model.save_pretrained(path("gpt2"))
    os.remove(path("gpt2/generation_config.json"))
    state = model.state_dict()  # names the tied weight twice
    assert "lm_head.weight" in state
    for i in range(2):  # as older versions of transformers stored them
        state[f"transformer.h.{i}.attn.bias"] = torch.ones(16, 16).tril().bool().view(1, 1, 16, 16)
    torch.save(state, path("gpt2_bin/pytorch_model.bin"))
    names = sorted(name for name in state if not name.endswith(".attn.bias") and name != "lm_head.weight")
    shards = {"pytorch_model-00001-of-00002.bin": names[:9], "pytorch_model-00002-of-00002.bin": names[9:]}
    for shard, its in shards.items():
        torch.save({name: state[name] for name in its}, path("gpt2_shards/" + shard))
    with open(path("gpt2_shards/pytorch_model.bin.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": {n: s for s, its in shards.items() for n in its}}, file)


def dated(name):
    """The same bytes for every run."""
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


def rewrite(source, target, change, method=zipfile.ZIP_STORED):
    """A copy of a zip archive with entries changed by change(name, data)."""
    with zipfile.ZipFile(path(source)) as old, zipfile.ZipFile(path(target), "w", method) as new:
        for info in old.infolist():
            data = change(info.filename, old.read(info))
            if data is not None:
                new.writestr(dated(info.filename), data, method)


def make_big_endian(a):
    """As a machine with the other byte order writes: torch.save has no switch for it."""
    torch.save({"x": a, "t": a.t(), "i": torch.tensor([1, 256], dtype=torch.int16)}, path("big.pt"))

    def change(name, data):
        if name.endswith("byteorder"):
            return b"big"
        if name.endswith("data/0"):
            return np.frombuffer(data, "<f4").astype(">f4").tobytes()
        if name.endswith("data/1"):
            return np.frombuffer(data, "<i2").astype(">i2").tobytes()
        return data
    rewrite("big.pt", "swapped.pt", change)
    rewrite("big.pt", "deflated.pt", lambda name, data: data, zipfile.ZIP_DEFLATED)
    os.remove(path("big.pt"))
    for name in ("swapped.pt", "deflated.pt"):
        EXPECTED["good"][name] = {"format": "pytorch", "metadata": {}, "tensors": [
            torch_entry("x", a), torch_entry("t", a.t()), torch_entry("i", torch.tensor([1, 256], dtype=torch.int16))]}


def make_shards(state):
    folder = path("sharded")
    os.makedirs(folder, exist_ok=True)
    one, two = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
    torch.save({"weight": state["weight"]}, os.path.join(folder, one))
    torch.save({"bias": state["bias"]}, os.path.join(folder, two))
    index = {"metadata": {"total_size": 32}, "weight_map": {"weight": one, "bias": two}}
    with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w") as file:
        json.dump(index, file, indent=1)
    EXPECTED["good"]["sharded"] = {"format": "pytorch", "metadata": {}, "tensors": [
        torch_entry("weight", state["weight"]), torch_entry("bias", state["bias"])]}


def numpy_entry(name, array):
    plain = np.ascontiguousarray(array).reshape(array.shape)
    code = array.dtype.newbyteorder("=").str[1:]
    return {"name": name, "type": NUMPY[code], "shape": list(array.shape),
            "hex": plain.astype(plain.dtype.newbyteorder("<")).tobytes().hex(), "alias": None}


def make_numpy():
    generator = np.random.default_rng(1)
    arrays = {code: (generator.random((2, 3)) * 100).astype("<" + code) for code in NUMPY if code != "b1"}
    arrays["bool"] = np.array([[True, False]])
    arrays["scalar"] = np.float32(2.5).reshape(())
    arrays["empty"] = np.zeros((0, 3), "f4")
    arrays["fortran"] = np.asfortranarray(generator.random((3, 4, 5)).astype("f4"))
    arrays["big"] = generator.random((2, 2)).astype(">f8")
    arrays["big_fortran"] = np.asfortranarray(generator.random((4, 3)).astype(">f4"))
    arrays["caf\u00e9/deep"] = np.arange(3)
    for name, write in (("arrays.npz", np.savez), ("compressed.npz", np.savez_compressed)):
        write(path(name), **arrays)
        EXPECTED["good"][name] = {"format": "npz", "metadata": {},
                                  "tensors": [numpy_entry(k, v) for k, v in arrays.items()]}
    np.save(path("one.npy"), arrays["fortran"])
    EXPECTED["good"]["one.npy"] = {"format": "npz", "metadata": {}, "tensors": [numpy_entry("one", arrays["fortran"])]}


# ------------------------------------------------------------------------------------------------- hostile files

def bad(name, words, data):
    put(name, data)
    EXPECTED["bad"][name] = words


def archive(pickled, storages=(), prefix="archive/", method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr(dated(prefix + "data.pkl"), pickled, method)
        for key, data in storages:
            file.writestr(dated(prefix + "data/" + key), data, method)
    return buffer.getvalue()


def bad_pickle(name, words, pickled, storages=()):
    bad(name, words, archive(pickled, storages))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    return b"K" + bytes([value]) if 0 <= value < 256 else b"\x8a\x08" + struct.pack("<q", value)


def tensor(offset=0, size=(2,), stride=(1,), count=2, key="0", storage="FloatStorage"):
    """The instructions that make one tensor, with any lies."""
    def numbers(values):
        return b"(" + b"".join(integer(v) for v in values) + b"t"
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" +
            text(key) + text("cpu") + integer(count) + b"tQ" + integer(offset) + numbers(size) + numbers(stride) +
            b"\x89ccollections\nOrderedDict\n)RtR")


def named(value):
    return b"\x80\x02}" + text("x") + value + b"s."


def make_bad_pickles():
    eight = [("0", b"\0" * 8)]
    no_code = "no code is run"
    bad_pickle("system.pt", ["posix.system", no_code], pickle.dumps({"x": Call(os.system, "touch /tmp/pwned")}, 2))
    bad_pickle("eval.pt", ["__builtin__.eval", no_code], pickle.dumps(Call(eval, "1+1"), 2))
    bad_pickle("eval4.pt", ["builtins.eval", no_code], pickle.dumps(Call(eval, "1+1"), 4))
    bad_pickle("getattr.pt", ["getattr", no_code], pickle.dumps(Call(getattr, Call(__import__, "os"), "system"), 2))
    bad_pickle("nested.pt", ["posix.system", no_code],
               b"\x80\x02ccollections\nOrderedDict\n(]" + b"cposix\nsystem\n(" + text("id") + b"tRatR.")
    bad_pickle("numpy.pt", ["numpy", no_code], pickle.dumps(np.float64(1), 2))
    bomb = b"\x80\x02](K\x01K\x02eq\x00"  # each list holds the one before ten times: 10^20 values in 500 bytes
    for i in range(20):
        bomb += b"](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1])
    # all of them on the stack as one tuple
    bad_pickle("bomb.pt", ["more than 2 million values"], b"\x80\x02(" + bomb[2:] + b"t.")
    bad_pickle("underflow.pt", ["the stack lacks a value"], b"\x80\x02\x86.")
    bad_pickle("underflow2.pt", ["the stack lacks a value"], b"\x80\x02R.")
    bad_pickle("nomark.pt", ["the stack lacks a mark"], b"\x80\x02]e.")
    bad_pickle("nothing.pt", ["ends within an instruction"], b"\x80\x02")
    bad_pickle("two.pt", ["more than one value"], b"\x80\x02NN.")
    bad_pickle("hugetext.pt", ["ends within an instruction"], b"\x80\x04\x8d" + b"\xff" * 8 + b"x.")
    bad_pickle("hugelong.pt", ["ends within an instruction"], b"\x80\x02\x8b\xff\xff\xff\x7f.")
    bad_pickle("hugememo.pt", ["memory slot beyond the limit"], b"\x80\x02Nr\xff\xff\xff\xff.")
    bad_pickle("nomemo.pt", ["empty memory slot"], b"\x80\x02h\x05.")
    bad_pickle("unknown.pt", ["the instruction 0x69 is not understood"], b"\x80\x02Nia\nb\n.")
    bad_pickle("protocol.pt", ["protocol that is not 2 to 5"], b"\x80\x09N.")
    bad_pickle("text.pt", ["is no pickle"], b"hello")
    bad_pickle("utf8.pt", ["no UTF-8"], b"\x80\x02X\x01\x00\x00\x00\xff.")
    bad_pickle("itself.pt", ["nested without end"], b"\x80\x02]q\x00h\x00a.")
    bad_pickle("key.pt", ["a key is of type tuple"], pickle.dumps({(1, 2): 3}, 2))
    bad_pickle("oddkey.pt", ["a key lacks its value"], b"\x80\x02}(Nu.")
    bad_pickle("persistent.pt", ["persistent id"], b"\x80\x02K\x01Q.")
    bad_pickle("persistent2.pt", ["persistent id"], b"\x80\x02(" + text("module") + b"NNNNtQ.")
    bad_pickle("callnumber.pt", ["no function is called"], b"\x80\x02K\x01)R.")
    bad_pickle("callstorage.pt", ["FloatStorage is called"], b"\x80\x02ctorch\nFloatStorage\n)R.")
    bad_pickle("build.pt", ["attributes are set"], b"\x80\x02K\x01}b.")
    bad_pickle("instance.pt", ["0x81 is not understood"], pickle.dumps(Instance(), 2).replace(b"__main__", b"torch").replace(
        b"Instance", b"Size"))
    bad_pickle("dotted.pt", ["torch.serialization.os.system", no_code],
               b"\x80\x04" + b"\x8c\x13torch.serialization" + b"\x8c\x09os.system" + b"\x93.")
    bad_pickle("beyond.pt", ["reaches beyond its storage"], named(tensor(size=(3,))), eight)
    bad_pickle("offset.pt", ["reaches beyond its storage"], named(tensor(offset=1)), eight)
    bad_pickle("offset2.pt", ["reaches beyond its storage"], named(tensor(offset=2**63 - 1)), eight)
    bad_pickle("stride.pt", ["reaches beyond its storage"], named(tensor(stride=(2**62,))), eight)
    bad_pickle("huge.pt", ["more than 2^63"], named(tensor(size=(2**62, 2**62), stride=(0, 0))), eight)
    bad_pickle("negative.pt", ["integers from 0 on"], named(tensor(stride=(-1,))), eight)
    bad_pickle("minus.pt", ["integers from 0 on"], named(tensor(size=(-2,))), eight)
    bad_pickle("ranks.pt", ["1 dimensions and 2 strides"], named(tensor(stride=(1, 1))), eight)
    bad_pickle("rank65.pt", ["at most 64"], named(tensor(size=(1,) * 65, stride=(1,) * 65)), eight)
    bad_pickle("missing.pt", ["archive/data/1", "is missing"], named(tensor(key="1")), eight)
    bad_pickle("short.pt", ["has 8 bytes, expected 4000"], named(tensor(count=1000)), eight)
    bad_pickle("count.pt", ["more than 2^63"], named(tensor(count=2**62)), eight)
    bad_pickle("minuscount.pt", ["persistent id"], named(tensor(count=-1)), eight)
    bad_pickle("complex.pt", ["ComplexDoubleStorage", "not read"], named(tensor(storage="ComplexDoubleStorage")), eight)
    bad_pickle("twice.pt", ["\"a.b\" stands twice"], b"\x80\x02}(" + text("a.b") + tensor() + text("a") + b"}" + text("b") +
               tensor() + b"su.", eight)
    good = b"\x80\x02}(" + text("a") + tensor() + text("n") + b"K\x05u."
    for cut in range(2, len(good)):
        if cut % 16 == 2:
            bad_pickle(f"cut{cut}.pt", [], good[:cut], eight)


class Instance:
    def __reduce_ex__(self, protocol):
        import copyreg
        return copyreg.__newobj__, (Instance, ())


def make_bad_archives():
    pickled = named(tensor())
    good = archive(pickled, [("0", b"\0" * 8)])
    bad("truncated.pt", ["directory"], good[:-30])
    bad("nopickle.pt", ["no data.pkl"], good.replace(b"data.pkl", b"date.pkl"))
    bad("script.pt", ["TorchScript"], script(pickled))
    bad("two_pickles.pt", ["two pickles"], two_pickles(pickled))
    bad("order.pt", ["byte order is \"middle\""], with_order(pickled))
    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    bad("legacy.pt", ["old format", "torch.load"], buffer.getvalue())
    bad("bare.pt", ["bare pickle"], pickle.dumps({"a": 1}, 2))
    np.savez(path("object.npz"), good=np.zeros(2), bad=np.array([{}, "x"], dtype=object))
    EXPECTED["bad"]["object.npz"] = ["\"bad\"", "Python objects, which are pickles"]
    np.save(path("text.npy"), np.array(["ab", "c"]))
    EXPECTED["bad"]["text.npy"] = ["texts"]
    np.save(path("record.npy"), np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
    EXPECTED["bad"]["record.npy"] = ["records"]
    bad("bomb.npz", ["deflate"], zip_bomb())
    os.makedirs(path("lacking"), exist_ok=True)
    index("lacking", {"weight": "pytorch_model-00001-of-00002.bin"}, ["which does not exist"])
    os.makedirs(path("outside"), exist_ok=True)
    index("outside", {"weight": "../state.bin"}, ["expected the name of a file beside it"])
    os.makedirs(path("wrong"), exist_ok=True)
    torch.save({"weight": torch.zeros(1), "extra": torch.zeros(1)}, path("wrong/a.bin"))
    index("wrong", {"weight": "a.bin"}, ["\"extra\" is in a.bin, but the index lacks it"])
    os.makedirs(path("lost"), exist_ok=True)
    torch.save({"weight": torch.zeros(1)}, path("lost/a.bin"))
    index("lost", {"weight": "a.bin", "bias": "a.bin"}, ["\"bias\" is said to be in a.bin, which lacks it"])
    os.makedirs(path("double"), exist_ok=True)
    torch.save({"weight": torch.zeros(1)}, path("double/a.bin"))
    with open(path("double/pytorch_model.bin.index.json"), "w") as file:
        file.write('{"weight_map": {"weight": "a.bin", "weight": "a.bin"}}')
    EXPECTED["bad"]["double"] = ["weight"]


def index(folder, weight_map, words):
    with open(path(folder + "/pytorch_model.bin.index.json"), "w") as file:
        json.dump({"weight_map": weight_map}, file)
    EXPECTED["bad"][folder] = words


def with_entries(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in entries:
            file.writestr(dated(name), data)
    return buffer.getvalue()


def script(pickled):
    return with_entries([("m/data.pkl", pickled), ("m/code/x.py", b""), ("m/constants.pkl", b"\x80\x02).")])


def two_pickles(pickled):
    return with_entries([("a/data.pkl", pickled), ("b/data.pkl", pickled)])


def with_order(pickled):
    return with_entries([("a/data.pkl", pickled), ("a/byteorder", b"middle"), ("a/data/0", b"\0" * 8)])


def zip_bomb():
    """An entry that claims 4 GB of content in a few bytes."""
    data = bytearray(with_entries([("x.npy", b"\0" * 100)]))
    at = data.index(b"PK\x01\x02")
    data[at + 10:at + 12] = b"\x08\x00"
    data[8:10] = b"\x08\x00"
    data[at + 24:at + 28] = b"\xf0\xff\xff\xff"
    return bytes(data)


def main():
    os.makedirs(HERE, exist_ok=True)
    make_torch()
    make_numpy()
    make_models()
    make_bad_pickles()
    make_bad_archives()
    with open(path("expected.json"), "w") as file:
        json.dump(EXPECTED, file, indent=1)
        file.write("\n")
    total = sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(HERE) for name in names)
    print(f"{len(EXPECTED['good'])} good and {len(EXPECTED['bad'])} bad files, {total} bytes, torch {torch.__version__}, "
          f"numpy {np.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main()
