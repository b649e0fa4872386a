"""Medusa's heads from a PyTorch file to safetensors, which npm start -- --heads reads. Nothing in the file is run.

  python train/medusa_heads.py medusa_lm_head.pt OUT.safetensors

`torch.load(weights_only=True)` takes tensors and plain containers alone; anything else in the pickle is an error.
"""

import argparse
import re

import torch
from safetensors.torch import save_file

NAME = re.compile(r"(medusa_head\.)?\d+\.\d+\.(linear\.)?(weight|bias)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("out")
    args = parser.parse_args()
    state = torch.load(args.source, map_location="cpu", weights_only=True)
    heads = {name: tensor.contiguous() for name, tensor in state.items() if NAME.fullmatch(name)}
    if not heads:
        raise SystemExit(f"{args.source}: no tensors of Medusa's heads, such as 0.0.linear.weight")
    save_file(heads, args.out)
    print(f"{args.out}: {len(heads)} tensors")


if __name__ == "__main__":
    main()
