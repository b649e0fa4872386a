"""Small random heads in Medusa's published layout for test/models/small/llama.gguf, with what they draft in PyTorch.

  python train/export_medusa_golden.py --out test/models/medusa

ResBlock and the order of modules are those of FasterDecoding/Medusa's medusa_model.py; its weights begin at zero there, here not.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

WIDTH, VOCAB, HEADS, LAYERS, ROWS, TOP = 32, 288, 3, 1, 4, 8


class ResBlock(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.linear = nn.Linear(hidden_size, hidden_size)
        self.act = nn.SiLU()

    def forward(self, x):
        return x + self.act(self.linear(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    torch.manual_seed(14)
    medusa_head = nn.ModuleList(
        nn.Sequential(*(ResBlock(WIDTH) for _ in range(LAYERS)), nn.Linear(WIDTH, VOCAB, bias=False)) for _ in range(HEADS)
    )
    with torch.no_grad():
        for p in medusa_head.parameters():
            p.copy_((p * 3).half().float())  # float16 holds them exactly
        hidden = torch.randn(ROWS, WIDTH).half().float()
        logits = torch.stack([head(hidden) for head in medusa_head], dim=1)
        log_probs, tokens = torch.log_softmax(logits, -1).topk(TOP)
    args.out.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half().contiguous() for name, tensor in medusa_head.state_dict().items()}
    save_file(state, args.out / "heads.safetensors")
    expected = dict(
        made_with=f"torch {torch.__version__}",
        hidden=hidden.tolist(),
        tokens=tokens.tolist(),
        log_probs=[[[round(v, 6) for v in row] for row in rows] for rows in log_probs.tolist()],
    )
    (args.out / "golden.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
