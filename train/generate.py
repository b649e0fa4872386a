"""Self-distillation data: the base model's own continuations with its hidden states.

  python train/generate.py --gguf FILE --data ../shared/data --out DIR [--tokens N]

Writes DIR/NNNN.npz shards; a second run resumes after the last whole shard. Each shard holds,
for S sequences laid end to end (N positions in all):
  offsets [S+1]; tokens [N] uint16: tokens[t] is the input at position t (the first one of a
  sequence is the last prompt token, the rest were generated); features [N, F*D] bf16 bits as
  uint16: the taps and the final-norm hidden state at position t; top_ids/top_logp [N, 8]: the
  base's own next-token distribution; greedy [S] bool; tasks [S].
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from base import Base
from prompts import mixture

TAPS = (9, 19)  # zero-based blocks whose residual stream is kept beside the final hidden state
TOP = 8
END = 2  # <|im_end|>


class Batch:
    """One static batch: prompts of similar length, left-padded, decoded until few are left."""

    def __init__(self, base, prompts, limit, temperature, generator):
        self.base, self.temperature, self.generator = base, temperature, generator
        self.longest = max(len(p) for p in prompts)
        B = len(prompts)
        self.cache = base.new_cache(B, self.longest + limit)
        self.pad = torch.tensor([self.longest - len(p) for p in prompts])
        tokens = torch.zeros(B, self.longest, dtype=torch.long)
        for i, p in enumerate(prompts):
            tokens[i, self.pad[i] :] = torch.tensor(p)
        self.tokens, self.limit = tokens, limit
        self.alive = torch.arange(B)
        self.out = [dict(tokens=[], feats=[], ids=[], logp=[]) for _ in prompts]

    def _mask(self, start, rows):
        end = start + rows
        keys = torch.arange(end)
        ok = keys[None, None, :] >= self.pad[:, None, None]
        ok = ok & (keys[None, None, :] <= torch.arange(start, end)[None, :, None])
        ok = ok | (keys[None, None, :] == torch.arange(start, end)[None, :, None])
        return torch.zeros(ok.shape, dtype=self.base.dtype).masked_fill_(~ok, -1e4)[:, None]

    def _emit(self, tokens, hidden, taps):
        """Record position t (token, features, distribution) and choose the next token. [b]"""
        logp = torch.log_softmax(self.base.logits(hidden).float(), -1)
        top = logp.topk(TOP, -1)
        feats = torch.cat([*taps, hidden], -1).view(torch.int16)
        if self.temperature:
            p = torch.softmax(logp / self.temperature, -1)
            chosen = torch.multinomial(p, 1, generator=self.generator)[:, 0]
        else:
            chosen = top.indices[:, 0]
        for row, i in enumerate(self.alive.tolist()):
            o = self.out[i]
            o["tokens"].append(int(tokens[row]))
            o["feats"].append(feats[row].numpy())
            o["ids"].append(top.indices[row].numpy())
            o["logp"].append(top.values[row].numpy())
        return chosen

    def run(self):
        base = self.base
        B, start = len(self.alive), 0
        positions = (torch.arange(self.longest)[None] - self.pad[:, None]).clamp(min=0)
        while start < self.longest:  # prefill in chunks bounds the mask and the activations
            m = min(256, self.longest - start)
            chunk = slice(start, start + m)
            hidden, taps = base.forward(
                self.tokens[:, chunk], positions[:, chunk], self.cache, start, self._mask(start, m), TAPS
            )
            start += m
        chosen = self._emit(self.tokens[:, -1], hidden[:, -1], [t[:, -1] for t in taps])
        for step in range(self.limit - 1):
            keep = chosen != END
            if keep.sum() < 0.3 * B:
                break
            if keep.float().mean() < 0.8:
                self.cache = self.cache[:, :, keep]
                self.pad, self.alive, chosen = self.pad[keep], self.alive[keep], chosen[keep]
            at = self.longest + step
            hidden, taps = base.forward(
                chosen[:, None], (at - self.pad)[:, None], self.cache, at, self._mask(at, 1), TAPS
            )
            chosen = self._emit(chosen, hidden[:, 0], [t[:, 0] for t in taps])
        for o in self.out:  # a finished row may have run on a little until the next compaction
            if END in o["tokens"][1:]:
                n = o["tokens"].index(END, 1) + 1
                for key in o:
                    del o[key][n:]
        return self.out


def save(path, sequences, tasks, greedy):
    sizes = [len(s["tokens"]) for s in sequences]
    temporary = path.with_suffix(".part.npz")
    np.savez(
        temporary,
        offsets=np.cumsum([0, *sizes]),
        tokens=np.concatenate([np.array(s["tokens"], np.uint16) for s in sequences]),
        features=np.concatenate([np.stack(s["feats"]) for s in sequences]).view(np.uint16),
        top_ids=np.concatenate([np.stack(s["ids"]) for s in sequences]).astype(np.uint16),
        top_logp=np.concatenate([np.stack(s["logp"]) for s in sequences]).astype(np.float16),
        greedy=np.array(greedy),
        tasks=np.array(tasks),
    )
    os.replace(temporary, path)
    return sum(sizes)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--gguf", required=True)
    a.add_argument("--data", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--tokens", type=int, default=1_000_000)
    a.add_argument("--new", type=int, default=176)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--only", default="", help="tasks of prompts.py, separated by commas; all by default")
    a.add_argument("--sampled-every", type=int, default=4, help="every n-th batch is sampled at 0.8; 0: none")
    args = a.parse_args()
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    tokenizer = Tokenizer.from_file(str(Path(args.data) / "tokenizer/smollm2-135m-instruct.tokenizer.json"))
    base, out = Base(args.gguf), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    done = sorted(p for p in out.glob("*.npz") if "part" not in p.name)
    total = sum(int(np.load(p)["offsets"][-1]) for p in done)
    prompts = mixture(args.data, tokenizer, 40_000, args.seed, [n for n in args.only.split(",") if n])
    bar = tqdm(total=args.tokens, initial=total, unit="tok", mininterval=10)
    shard = len(done)
    while total < args.tokens:
        window = prompts[(shard * 768) % len(prompts) :][:768]
        if not window:
            break
        window.sort(key=lambda p: len(p[1]))
        generator = torch.Generator().manual_seed(args.seed * 100_003 + shard)
        sequences, tasks, greedy = [], [], []
        at = 0
        while at < len(window):
            size = 96 if len(window[min(at + 96, len(window)) - 1][1]) <= 320 else 48
            rows = window[at : at + size]
            at += size
            sampled = args.sampled_every and (at // size) % args.sampled_every == args.sampled_every - 1
            temperature = 0.8 if sampled else 0.0
            sequences += Batch(base, [p for _, p in rows], args.new, temperature, generator).run()
            tasks += [t for t, _ in rows]
            greedy += [temperature == 0.0] * len(rows)
            bar.update(sum(len(s["tokens"]) for s in sequences[-len(rows) :]))
        total += save(out / f"{shard:04d}.npz", sequences, tasks, greedy)
        shard += 1
    bar.close()


if __name__ == "__main__":
    main()
