"""Trains the local rescorer's small language model on the base model's own text (train/generate.py).

  python train/neural.py --gguf FILE --distill DIR --heads models/NAME/heads.safetensors --out models/NAME/neural.safetensors

Next-token prediction over the generated parts, each sequence's prompt tail being read first; hard labels
mixed with the base's own top-8 distribution. The output vocabulary is reduced in training only. Sequences
follow one another in parallel lanes whose state is carried from window to window and cleared at each
sequence's start. OUT.ckpt is saved every minute and when the run is stopped; the same command goes on from
it, if the shards are still the same. Held out: prompt % 25 == 7 within a shard.
"""

import argparse
import json
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from base import Base
from neural_eval import DraftHeads, Held, efficiencies
from neural_model import Recurrent, save

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass
class Sequence:
    prompt: np.ndarray  # before tokens[0]
    context: np.ndarray  # its tail
    tokens: np.ndarray  # tokens[0] ends the prompt, the rest were generated
    top_ids: np.ndarray  # [n, 8]
    top_logp: np.ndarray
    features: np.ndarray  # [n, F D] bf16 bits, on disk
    greedy: bool
    held: bool


def read(root, context):
    """All sequences of the shards under `root`."""
    out = []
    for path in sorted(p for p in Path(root).glob("*.npz") if "part" not in p.name):
        z = {k: v for k, v in np.load(path).items()}
        features = np.load(path.with_suffix(".features.npy"), mmap_mode="r")
        bounds = zip(z["offsets"], z["offsets"][1:], z["prompt_offsets"], z["prompt_offsets"][1:])
        for i, (a, b, p, q) in enumerate(bounds):
            prompt = z["prompts"][p:q]
            parts = (z[k][a:b] for k in ("tokens", "top_ids", "top_logp"))
            out.append(Sequence(prompt, prompt[max(0, len(prompt) - context) :], *parts, features[a:b], bool(z["greedy"][i]), z["prompt_of"][i] % 25 == 7))
    return out


class Stream:
    """Sequences end to end, flat [N]; loss counts where the next token was generated."""

    def __init__(self, sequences, labels):
        inputs, targets, soft_ids, soft_p, fresh = [], [], [], [], []
        for s in sequences:
            c, n = len(s.context), len(s.tokens)
            inputs.append(np.concatenate([s.context, s.tokens[:-1]]).astype(np.int64))
            targets.append(np.concatenate([np.full(c, -1), labels[s.tokens[1:]]]))
            index = labels[s.top_ids[:-1]]
            p = np.where(index >= 0, np.exp(s.top_logp[:-1].astype(np.float32)), 0)
            p /= np.maximum(p.sum(1, keepdims=True), 1e-6)
            soft_ids.append(np.concatenate([np.zeros((c, 8), np.int64), np.maximum(index, 0)]).astype(np.int32))
            soft_p.append(np.concatenate([np.zeros((c, 8)), p]).astype(np.float16))
            fresh.append(np.arange(c + n - 1) > 0)
        self.inputs, self.targets, self.soft_ids, self.soft_p, self.fresh = (
            torch.from_numpy(np.concatenate(part)) for part in (inputs, targets, soft_ids, soft_p, fresh)
        )

    def lanes(self, count):
        """The same, cut into `count` lanes of equal length: attributes [count, N / count, ...]."""
        length = len(self.inputs) // count
        for name, value in vars(self).items():
            setattr(self, name, value[: count * length].view(count, length, *value.shape[1:]))
        return self


def gradient(out, table, y, soft_ids, soft_p, mix):
    """d(sum of losses)/d(out) and the hard labels' summed loss, for rows with a label.

    out [B, D], table [V, D] bf16, y [B]. Written by hand: one softmax in bf16, no [B, V] in fp32.
    """
    p = torch.softmax(out.bfloat16() @ table.T, -1)
    loss = -p.gather(1, y[:, None]).float().clamp(min=1e-9).log().sum()
    p.scatter_add_(1, y[:, None], torch.full((len(y), 1), -(1 - mix), dtype=p.dtype))
    p.scatter_add_(1, soft_ids, (-mix * soft_p).to(p.dtype))
    return (p @ table).float(), loss


def window(model, stream, at, size, h, embedding):
    """The states of every lane over `size` tokens from `at`, and what to predict there."""
    part = slice(at, at + size)
    states = model.states(embedding[stream.inputs[:, part]], h, stream.fresh[:, part].float())
    ok = stream.targets[:, part] >= 0
    return states, ok


@torch.no_grad()
def perplexity(model, stream, embedding, table, size=64):
    """Of the held-out generated tokens that are in the training vocabulary."""
    h, total, count = torch.zeros(len(stream.inputs), model.size), 0.0, 0
    for at in range(0, stream.inputs.shape[1] - size + 1, size):
        states, ok = window(model, stream, at, size, h, embedding)
        y = stream.targets[:, at : at + size][ok]
        if len(y):
            total += float(gradient(model.out(states[ok]), table, y, y[:, None], torch.zeros(len(y), 1), 0.0)[1])
            count += len(y)
        h = states[:, -1]
    return math.exp(total / max(count, 1))


class Run:
    """Optimiser, schedule and checkpoint of one training run."""

    def __init__(self, args, model, tokens):
        self.args, self.model = args, model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.02)
        self.path = Path(args.out + ".ckpt")
        self.step, self.h = 0, torch.zeros(args.lanes, model.size)
        self.settings = dict(vars(args), training_tokens=tokens)
        if self.path.exists():
            state = torch.load(self.path)
            if state["settings"] != self.settings:
                raise SystemExit(f"{self.path} is of another run: remove it or repeat its arguments and data")
            model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.h = state["step"], state["h"]

    def save(self):
        state = dict(model=self.model.state_dict(), optimizer=self.optimizer.state_dict(), step=self.step, h=self.h)
        state["settings"] = self.settings
        torch.save(state, self.path.with_suffix(".part"))
        os.replace(self.path.with_suffix(".part"), self.path)

    def update(self, stream, at, embedding, table, steps):
        args, model = self.args, self.model
        warm = min(1.0, (self.step + 1) / 100)
        for group in self.optimizer.param_groups:
            group["lr"] = args.lr * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * self.step / steps)))
        states, ok = window(model, stream, at, args.window, self.h, embedding)
        self.h = states[:, -1].detach()
        self.step += 1
        part = slice(at, at + args.window)
        y = stream.targets[:, part][ok]
        if len(y) == 0:
            return float("nan")
        out = model.out(states[ok])
        soft = stream.soft_ids[:, part][ok].long(), stream.soft_p[:, part][ok].float()
        grad, loss = gradient(out.detach(), table, y, *soft, args.mix)
        out.backward(grad / len(y))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss) / len(y)


def train(args, model, sequences, labels, embedding, table):
    # Another order every epoch; only full windows count, so an epoch has the same number of steps each time.
    total = sum(len(s.context) + len(s.tokens) - 1 for s in sequences)
    run = Run(args, model, total)
    stopping = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.append(True))
    per_epoch = total // args.lanes // args.window
    steps, saved, average = int(per_epoch * args.epochs), time.time(), None
    bar = tqdm(range(run.step, steps), initial=run.step, total=steps, unit="step", mininterval=5)
    stream, epoch = None, -1
    for step in bar:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = np.random.default_rng((args.seed, epoch)).permutation(len(sequences))
            stream = Stream([sequences[i] for i in order], labels).lanes(args.lanes)
        loss = run.update(stream, step % per_epoch * args.window, embedding, table, steps)
        if math.isfinite(loss):
            average = loss if average is None else 0.98 * average + 0.02 * loss
            bar.set_postfix(loss=f"{average:.3f}", refresh=False)
        if time.time() - saved > 60 or step + 1 == steps or stopping:
            run.save()
            saved = time.time()
        if stopping:
            raise SystemExit(f"stopped after step {step + 1}; the same command goes on from there")
    return total


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("--gguf", required=True)
    a.add_argument("--distill", required=True)
    a.add_argument("--heads", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--size", type=int, default=640, help="width of the recurrent state")
    a.add_argument("--context", type=int, default=64, help="prompt tokens read before the generated ones")
    a.add_argument("--train-vocab", type=int, default=8192)
    a.add_argument("--epochs", type=float, default=2.0)
    a.add_argument("--lanes", type=int, default=64)
    a.add_argument("--window", type=int, default=48, help="tokens per lane and step; gradients end at its edge")
    a.add_argument("--lr", type=float, default=3e-3)
    a.add_argument("--mix", type=float, default=0.5, help="share of the base's own distribution in the loss")
    a.add_argument("--held-positions", type=int, default=12_288, help="lattices of the block efficiency check")
    a.add_argument("--seed", type=int, default=1)
    return a.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    torch.manual_seed(args.seed)
    embedding = Base(args.gguf).embedding
    sequences = read(args.distill, args.context)
    kept = [s for s in sequences if not s.held]
    counts = np.bincount(np.concatenate([s.tokens for s in kept]), minlength=len(embedding))
    ids = np.sort(np.argsort(-counts, kind="stable")[: args.train_vocab])
    labels = np.full(len(embedding), -1)
    labels[ids] = np.arange(len(ids))
    table = embedding[torch.from_numpy(ids)].bfloat16().contiguous()
    model = Recurrent(embedding.shape[1], args.size)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(kept)} sequences", flush=True)
    started = time.time()
    total = train(args, model, kept, labels, embedding, table)
    save(args.out, model, {"size": str(args.size)})

    held = [s for s in sequences if s.held]
    ppl = perplexity(model, Stream(held, labels).lanes(16), embedding, table)
    lattices = Held([s for s in held if s.greedy], DraftHeads(args.heads, embedding), args.held_positions)
    found = efficiencies(lattices, model, embedding, ALPHAS)
    skipped = ("gguf", "distill", "heads", "out")
    record = dict(
        command="python train/neural.py "
        + " ".join(f"--{k.replace('_', '-')} {v}" for k, v in vars(args).items() if k not in skipped),
        heads=str(Path(args.heads).name),
        training_sequences=len(kept),
        training_tokens=total,
        vocabulary_coverage=round(float(counts[ids].sum() / counts.sum()), 4),
        minutes=round((time.time() - started) / 60, 1),
        validation_perplexity=round(ppl, 3),
        validation_positions=len(lattices.truth),
        validation_block_efficiency_by_alpha=found,
    )
    Path(args.out).with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
