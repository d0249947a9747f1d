"""How bench/run.py talks to a peer: after its warm-up the peer prints {"ready": ...}, and for each line it then reads it
measures once and prints the result as one line of JSON."""
import json
import sys
import time


def peak_resident():
    """VmHWM in bytes: what the process held at most, libraries included."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def timed(work, seconds, least=1):
    """Calls of `work` a second, over at least `seconds` and `least` calls."""
    count, start = 0, time.perf_counter()
    while count < least or time.perf_counter() - start < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - start)


def serve(measure):
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        print(json.dumps({"value": measure(), "peak_resident": peak_resident()}), flush=True)
