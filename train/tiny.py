"""Trains the `tiny` model: base and block heads jointly, from scratch, on the CPU.

  python train/tiny.py --data ../shared/data --cache .cache/tiny --steps N

Writes CACHE/checkpoint.pt every minute and at the end; a second run with the same arguments
resumes from it. train/tiny_export.py turns the checkpoint into models/tiny.
"""

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from tiny_data import prepare
from tiny_model import Tiny, TinyConfig

TOKENS_PER_STEP = 2048
LONG_EVERY = 5  # one step in this many uses whole-context rows, so that long prompts still work


def batch(stream, config, step, seed):
    """Row windows of the stream with room for the farthest head; depends on (seed, step) only."""
    tokens, weights = stream
    length = config.context if step % LONG_EVERY == LONG_EVERY - 1 else 256
    span = length + config.lattice_rows + 1
    rng = np.random.default_rng((seed, step))
    at = rng.integers(len(tokens) - span, size=TOKENS_PER_STEP // length)
    rows = at[:, None] + np.arange(span)
    pick = torch.from_numpy(rng.permutation(TOKENS_PER_STEP))
    return torch.from_numpy(tokens[rows].astype(np.int64)), torch.from_numpy(weights[rows]), length, pick


def forward(model, tokens, length):
    with torch.autocast("cpu", torch.bfloat16):
        return model(tokens[:, :length])


def targets(x, length, ahead):
    """[rows, span] -> the value `ahead` places after each of the first `length` ones, flat."""
    return x[:, ahead : ahead + length].flatten()


def losses(model, tokens, weights, length, pick):
    """Weighted cross entropy of the base on all positions and of every head on `pick` of them."""
    hidden = forward(model, tokens, length).flatten(0, 1)
    rows = model.c.lattice_rows
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.base_logits(hidden)
        states = model.draft_states(hidden[pick], targets(tokens, length, 1)[pick])
        drafts = model.logits(states)
    w = targets(weights, length, 1)
    base = (F.cross_entropy(logits.float(), targets(tokens, length, 1), reduction="none") * w).sum() / w.sum()
    wanted = torch.stack([targets(tokens, length, 2 + j)[pick] for j in range(rows)], 1)
    w = torch.stack([targets(weights, length, 2 + j)[pick] for j in range(rows)], 1)
    each = F.cross_entropy(drafts.float().flatten(0, 1), wanted.flatten(), reduction="none").view_as(w)
    return base, (each * w).sum() / w.sum()


@torch.no_grad()
def validate(model, stream, seed=7, steps=8):
    """On validation responses and prose: base loss, per-head top-1/5/16, and block efficiency.

    The last is 1 + the mean run of heads whose first choice is the text's own token.
    """
    rows, base_loss, count = model.c.lattice_rows, 0.0, 0
    hits, run = torch.zeros(rows, 3), 0.0
    for step in range(steps):
        tokens, weights, length, _ = batch(stream, model.c, step * LONG_EVERY, seed)
        hidden = forward(model, tokens, length).float().flatten(0, 1)
        ok = torch.stack([targets(weights, length, a) == 1 for a in range(1, rows + 2)]).all(0)
        hidden, bonus = hidden[ok], targets(tokens, length, 1)[ok]
        base_loss += F.cross_entropy(model.base_logits(hidden), bonus, reduction="sum").item()
        top = model.logits(model.draft_states(hidden, bonus)).topk(16, -1).indices
        wanted = torch.stack([targets(tokens, length, 2 + j)[ok] for j in range(rows)], 1)
        match = top == wanted[..., None]
        hits += torch.stack([match[..., :k].any(-1).float().sum(0) for k in (1, 5, 16)], 1)
        run += match[..., 0].float().cumprod(1).sum().item()
        count += len(bonus)
    per_head = [[round(v, 4) for v in row] for row in (hits / count).tolist()]
    return {"base_loss": base_loss / count, "top_1_5_16": per_head, "block_efficiency": 1 + run / count}


def optimizers(model):
    """Muon for the matrices inside the network, AdamW for embedding, norms and biases."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and not n.startswith("embedding")]
    rest = [p for n, p in model.named_parameters() if p.dim() == 1 or n.startswith("embedding")]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def schedule(step, steps):
    """Short warm-up, plateau, then a straight line to zero over the last 60 %."""
    return min(1.0, (step + 1) / min(100, steps / 10), (steps - step) / (0.6 * steps))


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    _, data = prepare(args.data, args.cache, args.seed)
    print({k: len(v[0]) for k, v in data.items()}, "tokens", flush=True)
    model = Tiny(TinyConfig())
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    opts = optimizers(model)
    rates = [o.param_groups[0]["lr"] for o in opts]
    path, first = Path(args.cache) / "checkpoint.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=False)
        if (state["steps"], state["seed"]) != (args.steps, args.seed):
            raise SystemExit(f"{path} is of another run: move it away or repeat its arguments")
        model.load_state_dict(state["model"])
        for o, s in zip(opts, state["optimizers"]):
            o.load_state_dict(s)
        first = state["step"]

    def save(step):
        state = dict(
            model=model.state_dict(),
            optimizers=[o.state_dict() for o in opts],
            config=model.c,
            step=step,
            steps=args.steps,
            seed=args.seed,
        )
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, mininterval=5)
    saved, shown = time.time(), time.time()
    for step in bar:
        for o, rate in zip(opts, rates):
            o.param_groups[0]["lr"] = rate * schedule(step, args.steps)
        tokens, weights, length, order = batch(data["train"], model.c, step, args.seed)
        base, heads = losses(model, tokens, weights, length, order[: TOKENS_PER_STEP // args.head_share])
        (base + heads).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        if not math.isfinite(base.item() + heads.item()):
            raise SystemExit(f"loss is not finite at step {step}")
        bar.set_postfix(base=f"{base.item():.3f}", heads=f"{heads.item():.3f}", refresh=False)
        if time.time() - saved > 60:
            save(step + 1)
            saved = time.time()
        if time.time() - shown > 180:
            print("\n", step + 1, validate(model, data["valid"]), flush=True)
            shown = time.time()
    save(args.steps)
    print("\n", args.steps, validate(model, data["valid"], steps=24), flush=True)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", required=True)
    a.add_argument("--cache", required=True)
    a.add_argument("--steps", type=int, required=True)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--head-share", type=int, default=4, help="heads see 1 of this many positions")
    train(a.parse_args())


if __name__ == "__main__":
    main()
