#!/usr/bin/env python3
"""Fresh files of PyTorch and numpy, read by the command: `carat convert` gives the values that torch.load and numpy.load
give, `carat inspect --stats` the statistics that numpy computes.

    build/peers/bin/python tests/golden/check_archives.py BUILD        (torch, numpy, safetensors; `make peers-check`)
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file

CARAT = os.path.join(sys.argv[1] if len(sys.argv) > 1 else "build", "carat")
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool]
generator = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))


def run(*arguments):
    done = subprocess.run([CARAT, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"carat {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def random_view():
    """A tensor of any type, seen through up to four random changes of shape and strides."""
    rank = int(generator.integers(0, 5))
    shape = [int(generator.integers(1, 9)) for _ in range(rank)]
    dtype = DTYPES[generator.integers(len(DTYPES))]
    tensor = torch.from_numpy(np.asarray(generator.normal(size=shape) * 50)).to(dtype)
    for _ in range(int(generator.integers(0, 5))):
        if tensor.dim() == 0:
            break
        axis = int(generator.integers(tensor.dim()))
        change = int(generator.integers(5))
        if change == 0:
            tensor = tensor.permute(*[int(i) for i in generator.permutation(tensor.dim())])
        elif change == 1:
            tensor = tensor.narrow(axis, 0, int(generator.integers(tensor.shape[axis])) + 1)
        elif change == 2:
            tensor = tensor.flip(axis)
        elif change == 3:
            tensor = tensor[(slice(None),) * axis + (slice(int(generator.integers(tensor.shape[axis])), None, 2),)]
        else:
            tensor = tensor.unsqueeze(axis).expand(*tensor.shape[:axis], 3, *tensor.shape[axis:])
    return tensor


def same(ours, theirs, name):
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        sys.exit(f"{name}: {ours.dtype} {tuple(ours.shape)}, expected {theirs.dtype} {tuple(theirs.shape)}")
    a, b = (t.clone(memory_format=torch.contiguous_format).as_strided([t.numel()], [1]).view(torch.uint8)
            for t in (ours, theirs))
    if not torch.equal(a, b):
        sys.exit(f"{name}: other values")


def check_torch(folder):
    path, out = os.path.join(folder, "x.pt"), os.path.join(folder, "x.safetensors")
    tensors = {f"t{i}": random_view() for i in range(300)}
    tensors["large"] = torch.randn(700, 900).t()[3:, ::2]
    torch.save({"model": tensors, "step": 7}, path)
    run("convert", path, out, "--quiet", "--memory", "64M")
    read, expected = load_file(out), torch.load(path, weights_only=True)["model"]
    if set(read) != {"model." + name for name in expected}:
        sys.exit("other names")
    for name, tensor in expected.items():
        same(read["model." + name], tensor, name)
    print(f"{len(expected)} tensors of torch.save: the same bytes")


def check_numpy(folder):
    arrays = {}
    for i in range(100):
        shape = [int(n) for n in generator.integers(1, 7, size=int(generator.integers(0, 5)))]
        code = ["<f4", "<f8", "<f2", "<i8", ">i4", ">f4", "<u2", "|i1", "|b1"][generator.integers(9)]
        array = np.asarray(generator.normal(size=shape) * 50).astype(code)
        arrays[f"a{i}"] = np.asfortranarray(array) if i % 3 == 0 else array
    for name, write in (("plain.npz", np.savez), ("packed.npz", np.savez_compressed)):
        path, out = os.path.join(folder, name), os.path.join(folder, name + ".safetensors")
        write(path, **arrays)
        run("convert", path, out, "--quiet")
        read = load_file(out)
        for key, array in arrays.items():
            native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
            same(read[key], torch.from_numpy(native.copy()).reshape(array.shape), key)
        report = json.loads(run("inspect", path, "--stats", "--json", "--quiet"))
        for tensor in report["list"]:
            wide, s = arrays[tensor["name"]].astype("f8"), tensor["statistics"]
            for mine, its in ((s["min"], wide.min()), (s["max"], wide.max()), (s["mean"], wide.mean()),
                              (s["std"], wide.std()), (s["norm"], np.linalg.norm(wide.ravel()))):
                if abs(mine - its) > 1e-9 * max(1, abs(its)):
                    sys.exit(f"{tensor['name']}: {mine}, numpy has {its}")
            if s["zeros"] != int((wide == 0).sum()):
                sys.exit(f"{tensor['name']}: {s['zeros']} zeros")
        print(f"{name}: {len(arrays)} arrays of numpy: the same bytes, the same statistics")


with tempfile.TemporaryDirectory() as place:
    check_torch(place)
    check_numpy(place)
