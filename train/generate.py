"""Self-distillation data: the base model's own continuations with its hidden states.

  python train/generate.py --gguf FILE --data ../shared/data --out DIR [--tokens N]

Writes DIR/NNNN.npz and DIR/NNNN.features.npy shards; a second run resumes after the last whole one.
Each shard holds, for S sequences laid end to end (N positions in all):
  offsets [S+1]; tokens [N] uint16: tokens[t] is the input at position t (the first one of a
  sequence is the last prompt token, the rest were generated); prompts, prompt_offsets [S+1]: the
  prompt tokens before that one; top_ids/top_logp [N, 8]: the base's own next-token distribution;
  greedy [S] bool; tasks [S]; and, in the other file, features [N, F*D] bf16 bits as uint16: the
  taps and the final-norm hidden state at position t.
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
SAMPLED = 64  # likeliest tokens that sampling chooses from
END = 2  # <|im_end|>


class Batch:
    """One static batch: prompts of similar length, left-padded, decoded until few are left."""

    def __init__(self, base, prompts, limit, temperature, generator):
        self.base, self.temperature, self.generator = base, temperature, generator
        self.longest = max(len(p) for p in prompts)
        B = len(prompts)
        self.cache = base.new_cache(B, self.longest + limit)
        self.pad = torch.tensor([self.longest - len(p) for p in prompts])
        self.prompt = torch.zeros(B, self.longest, dtype=torch.long)
        for i, p in enumerate(prompts):
            self.prompt[i, self.pad[i] :] = torch.tensor(p)
        self.limit = limit
        self.alive = torch.arange(B)
        self.lengths = torch.zeros(B, dtype=torch.long)
        self.tokens = torch.zeros(B, limit, dtype=torch.long)
        self.features = torch.zeros(B, limit, (len(TAPS) + 1) * base.config.width, dtype=torch.bfloat16)
        self.top_ids = torch.zeros(B, limit, TOP, dtype=torch.int32)
        self.top_logp = torch.zeros(B, limit, TOP)

    def _mask(self, start, rows):
        end = start + rows
        keys = torch.arange(end)
        ok = keys[None, None, :] >= self.pad[:, None, None]
        ok = ok & (keys[None, None, :] <= torch.arange(start, end)[None, :, None])
        ok = ok | (keys[None, None, :] == torch.arange(start, end)[None, :, None])
        return torch.zeros(ok.shape, dtype=self.base.dtype).masked_fill_(~ok, -1e4)[:, None]

    def _emit(self, step, tokens, hidden, taps):
        """Record position t (token, features, distribution) and choose the next token. [b]"""
        logits = self.base.logits(hidden)
        # In bf16, where a float32 copy of [b, vocab] would take longer than the product itself.
        top = logits.topk(SAMPLED if self.temperature else TOP, -1)
        logp = top.values.float() - torch.logsumexp(logits, -1, keepdim=True).float()
        rows = self.alive
        self.tokens[rows, step] = tokens
        self.features[rows, step] = torch.cat([*taps, hidden], -1)
        self.top_ids[rows, step] = top.indices[:, :TOP].int()
        self.top_logp[rows, step] = logp[:, :TOP]
        self.lengths[rows] = step + 1
        if not self.temperature:
            return top.indices[:, 0]
        p = torch.softmax(logp / self.temperature, -1)
        return top.indices.gather(1, torch.multinomial(p, 1, generator=self.generator))[:, 0]

    def run(self):
        base = self.base
        B, start = len(self.alive), 0
        positions = (torch.arange(self.longest)[None] - self.pad[:, None]).clamp(min=0)
        while start < self.longest:  # prefill in chunks bounds the mask and the activations
            m = min(256, self.longest - start)
            chunk = slice(start, start + m)
            hidden, taps = base.forward(
                self.prompt[:, chunk], positions[:, chunk], self.cache, start, self._mask(start, m), TAPS
            )
            start += m
        chosen = self._emit(0, self.prompt[:, -1], hidden[:, -1], [t[:, -1] for t in taps])
        for step in range(self.limit - 1):
            keep = chosen != END
            if keep.sum() < 0.3 * B:
                break
            if keep.float().mean() < 0.8:
                self.cache = tuple(part[:, keep] for part in self.cache)
                self.pad, self.alive, chosen = self.pad[keep], self.alive[keep], chosen[keep]
            at = self.longest + step
            hidden, taps = base.forward(
                chosen[:, None], (at - self.pad)[:, None], self.cache, at, self._mask(at, 1), TAPS
            )
            chosen = self._emit(step + 1, chosen, hidden[:, 0], [t[:, 0] for t in taps])
        self.cache = None  # gigabytes, while the shard still waits for its other batches
        for i, tokens in enumerate(self.tokens.tolist()):  # a finished row runs on until the next compaction
            if END in tokens[1 : self.lengths[i]]:
                self.lengths[i] = tokens.index(END, 1) + 1
        return self

    def flat(self, values):
        """[B, limit, ...] -> [N, ...], sequences end to end."""
        return torch.cat([row[:n] for row, n in zip(values, self.lengths.tolist(), strict=True)])


def save(path, batches, prompts, tasks, greedy):
    """Writes a shard; returns its number of positions."""

    def joined(pick):
        return np.concatenate([pick(batch).numpy() for batch in batches])

    sizes = joined(lambda b: b.lengths)
    features = torch.cat([b.flat(b.features) for b in batches]).view(torch.int16).numpy().view(np.uint16)
    np.save(path.with_suffix(".features.npy"), features)
    temporary = path.with_suffix(".part.npz")
    np.savez(
        temporary,
        offsets=np.cumsum([0, *sizes]),
        tokens=joined(lambda b: b.flat(b.tokens)).astype(np.uint16),
        prompts=np.concatenate([np.array(p[:-1], np.uint16) for p in prompts]),
        prompt_offsets=np.cumsum([0, *(len(p) - 1 for p in prompts)]),
        top_ids=joined(lambda b: b.flat(b.top_ids)).astype(np.uint16),
        top_logp=joined(lambda b: b.flat(b.top_logp)).astype(np.float16),
        greedy=np.array(greedy),
        tasks=np.array(tasks),
    )
    os.replace(temporary, path)
    return int(sizes.sum())


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--gguf", required=True)
    a.add_argument("--data", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--tokens", type=int, default=3_000_000)
    a.add_argument("--new", type=int, default=176)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--only", default="", help="tasks of prompts.py, separated by commas; all by default")
    a.add_argument("--sampled-every", type=int, default=4, help="every n-th batch is sampled at 0.8 from the likeliest 64; 0: none")
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
        window = prompts[(shard * 512) % len(prompts) :][:512]
        if not window:
            break
        window.sort(key=lambda p: len(p[1]))
        generator = torch.Generator().manual_seed(args.seed * 100_003 + shard)
        batches, tasks, greedy = [], [], []
        at = 0
        while at < len(window):
            size = 128 if len(window[min(at + 128, len(window)) - 1][1]) <= 320 else 64
            rows = window[at : at + size]
            at += size
            # Another length's turn in every shard.
            sampled = args.sampled_every and (len(batches) + shard) % args.sampled_every == 0
            temperature = 0.8 if sampled else 0.0
            batches.append(Batch(base, [p for _, p in rows], args.new, temperature, generator).run())
            tasks += [t for t, _ in rows]
            greedy += [temperature == 0.0] * len(rows)
            bar.update(int(batches[-1].lengths.sum()))
        total += save(out / f"{shard:04d}.npz", batches, [p for _, p in window], tasks, greedy)
        shard += 1
    bar.close()


if __name__ == "__main__":
    main()
