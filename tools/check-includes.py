#!/usr/bin/env python3
"""Fails on an #include that DESIGN.md, section 1 forbids: a room uses the rooms above it, never below or beside it.

    check-includes.py [--stamp FILE] [--depfile FILE] ROOT

Checks src/, include/carat/ and claims/. Public headers belong to a room as their sources do; headers that belong to no room
of the engine are kind headers (optimizer.h, quantizer.h, ...), which hold only declarations and which every room
from `method` down may include. Writes FILE of --stamp when nothing is wrong, and to --depfile what it read.
"""
import argparse
import os
import re
import sys

# Rooms of equal rank do not include each other's sources.
RANKS = {
    "base": 0, "tensor": 1, "autograd": 2, "format": 3, "nn": 3, "norm": 3, "template": 4, "model": 4, "method": 5, "parallel": 6,
    "train": 7, "data": 7, "cli": 9,
}
VERB_RANK = 8  # adapt merge prune quantize distill generate evaluate search plan fit bench claim
# Folders that live in another room's rank: DESIGN.md lists them on the line of `train`.
RANKS.update({"optimizer": 7, "link": 7, "schedule": 7, "initializer": 7, "regularizer": 7})
RANKS.update({room: VERB_RANK for room in
              "adapt merge prune quantize distill generate evaluate search plan fit bench claim convert".split()})
# The trainer drives its own methods; they stand above it within one rank.
ALLOWED_BESIDE = {("train", "optimizer"), ("train", "schedule"), ("train", "initializer"), ("train", "regularizer"),
                  ("train", "data")}

# Kinds are the list that the registry has; one that is not placed above stands with the trainer's.
KINDS = re.findall(r"^CT_KIND\((\w+),", open(os.path.join(os.path.dirname(__file__), "../src/method/kinds.inc.h"),
                                              encoding="utf-8").read(), re.MULTILINE)
for kind in KINDS:
    if RANKS.setdefault(kind, RANKS["train"]) == RANKS["train"]:
        ALLOWED_BESIDE.add(("train", kind))

HEADER_ROOMS = {
    "base.h": "base", "dtype.h": "base", "tensor.h": "tensor", "ops.h": "tensor", "autograd.h": "autograd",
    "format.h": "format", "archive.h": "format", "gguf.h": "format", "npz.h": "format", "inspect.h": "format",
    "tokenizer.h": "format", "safetensors.h": "format", "nn.h": "nn", "chat.h": "template", "model.h": "model", "ensemble.h": "model",
    "method.h": "method", "parallel.h": "parallel", "train.h": "train", "trainer.h": "train", "plot.h": "train",
    "data.h": "data",
}
# Declarations of the kinds that layers are made of, and of methods as such, which nn and model reach by name
# (docs/architecture.md, "Norms").
LAYER_KIND_HEADERS = {"norm.h": 3, "method.h": 3}
KIND_HEADER_RANK = RANKS["method"]
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def public_header(name):
    """(room, rank) of include/carat/NAME; the room of a kind header is None."""
    if name in LAYER_KIND_HEADERS:
        return None, LAYER_KIND_HEADERS[name]
    room = HEADER_ROOMS.get(name) or (name[:-2] if name[:-2] in RANKS else None)
    if room is None:
        return None, KIND_HEADER_RANK
    if RANKS[room] > KIND_HEADER_RANK:
        return None, KIND_HEADER_RANK  # declarations of a verb or of train are a kind's
    return room, RANKS[room]


def check(path, text, room, rank, is_header, problems):
    for match in INCLUDE.finditer(text):
        name = match.group(2)
        line = text.count("\n", 0, match.start(2)) + 1
        if is_header and match.group(1) == '"' and "/" not in name:
            name = "carat/" + name
        parts = name.split("/")
        if name == "carat.h":
            if room != "cli":
                problems.append(f"{path}:{line}: includes <carat.h>, which is for users; include the rooms needed")
        elif parts[0] == "carat" and len(parts) == 2:
            target, target_rank = public_header(parts[1])
            if target_rank > rank:
                problems.append(f"{path}:{line}: room {room or 'kind header'} may not include <carat/{parts[1]}>, "
                                f"which belongs to {target or 'a kind (allowed from room method on)'}")
            elif target and target != room and target_rank == rank and target not in ("format", "nn"):
                if (room, target) not in ALLOWED_BESIDE:
                    problems.append(f"{path}:{line}: room {room} may not include <carat/{parts[1]}> of {target}, "
                                    "which stands beside it")
        elif parts[0] in RANKS:
            if is_header:
                problems.append(f'{path}:{line}: a public header may not include the internal "{name}"')
            elif parts[0] != room:
                beside = RANKS[parts[0]] == rank and (room, parts[0]) not in ALLOWED_BESIDE
                if RANKS[parts[0]] > rank or beside:
                    problems.append(f'{path}:{line}: room {room} may not include "{name}": {parts[0]} stands '
                                    + ("beside it" if beside else "below it"))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--stamp")
    arguments.add_argument("--depfile")
    arguments.add_argument("root")
    options = arguments.parse_args()
    problems, read = [], []
    for top in ("src", "include/carat", "claims"):
        for folder, folders, names in os.walk(os.path.join(options.root, top)):
            folders.sort()
            for name in sorted(names):
                if not name.endswith((".c", ".h")):
                    continue
                full = os.path.join(folder, name)
                path = os.path.relpath(full, options.root)
                read.append(os.path.abspath(full))
                with open(full, encoding="utf-8") as file:
                    text = file.read()
                if top == "claims":
                    for match in INCLUDE.finditer(text):
                        if match.group(1) == '"':
                            problems.append(f'{path}: a claim is written as a user would write it and may not include '
                                            f'the internal "{match.group(2)}"')
                elif top == "src":
                    room = path.split("/")[1]
                    if room not in RANKS:
                        problems.append(f"{path}: src/{room} is not a room of DESIGN.md, section 1")
                        continue
                    check(path, text, room, RANKS[room], False, problems)
                else:
                    room, rank = public_header(name)
                    check(path, text, room, VERB_RANK if room is None else rank, True, problems)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        print(f"{len(problems)} forbidden include(s); see DESIGN.md, section 1", file=sys.stderr)
        return 1
    if options.depfile:
        with open(options.depfile, "w", encoding="utf-8") as file:
            file.write(f"{options.stamp}: " + " ".join(read) + "\n")
    if options.stamp:
        with open(options.stamp, "w", encoding="utf-8") as file:
            file.write(f"{len(read)} files checked\n")
    else:
        print(f"{len(read)} files checked")
    return 0


sys.exit(main())
