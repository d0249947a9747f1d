"""Peer: import PyTorch, load the GPT's weights, generate one token. bench/run.py takes the time from outside.

    torch_first_token.py --make FILE     write random weights to FILE
    torch_first_token.py FILE            load them (mapped), print the id of the next token
"""
import sys

import torch

from gpt import GPT, SIZES


def main():
    torch.set_num_threads(1)
    if sys.argv[1] == "--make":
        torch.save(GPT(**SIZES["gpt"]).state_dict(), sys.argv[2])
        return
    with torch.inference_mode():
        with torch.device("meta"):
            model = GPT(**SIZES["gpt"])
        model.load_state_dict(torch.load(sys.argv[1], mmap=True, weights_only=True), assign=True)
        prompt = torch.arange(16).view(1, 16)
        print(int(model.eval()(prompt)[0, -1].argmax()))


main()
