"""Self-distillation data: the base model's own continuations with its hidden states.

  python train/generate.py --gguf FILE --data ../shared/data --out DIR [--tokens N] [--part I/N]

Writes DIR/NNNN.npz and DIR/NNNN.features.npy shards; a second run makes those that are missing. N processes of one
thread each, which together outrun one process of N threads, share DIR by --part 0/N .. (N-1)/N.
Each prompt is read once and continued --continuations times: greedily, then sampled at 0.8 from the likeliest 64.
Each shard holds, for S sequences laid end to end (N positions in all):
  offsets [S+1]; tokens [N] uint16: tokens[t] is the input at position t (the first one of a
  sequence is the last prompt token, the rest were generated); prompts, prompt_offsets [S+1]: the
  prompt tokens before that one; prompt_of [S]: the prompt's number in the shard; top_ids/top_logp [N, 8]: the base's own next-token distribution;
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
TEMPERATURE = 0.8
PROMPTS = 512  # per shard
ROWS = 128  # sequences decoded together
END = 2  # <|im_end|>


class Batch:
    """One static batch: prompts of similar length, left-padded, decoded until few are left.

    Rows 0..C-1 continue the first prompt, greedily and then sampled, C..2C-1 the second, and so on.
    """

    def __init__(self, base, prompts, limit, continuations, generator):
        self.base, self.generator, self.continuations = base, generator, continuations
        self.longest = max(len(p) for p in prompts)
        B = len(prompts)
        self.pad = torch.tensor([self.longest - len(p) for p in prompts])
        self.prompt = torch.zeros(B, self.longest, dtype=torch.long)
        for i, p in enumerate(prompts):
            self.prompt[i, self.pad[i] :] = torch.tensor(p)
        self.limit = limit
        self.greedy = torch.arange(B * continuations) % continuations == 0
        B *= continuations
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
        top = logits.topk(SAMPLED, -1)
        logp = top.values.float() - torch.logsumexp(logits, -1, keepdim=True).float()
        rows = self.alive
        self.tokens[rows, step] = tokens
        self.features[rows, step] = torch.cat([*taps, hidden], -1)
        self.top_ids[rows, step] = top.indices[:, :TOP].int()
        self.top_logp[rows, step] = logp[:, :TOP]
        self.lengths[rows] = step + 1
        sampled = torch.multinomial(torch.softmax(logp / TEMPERATURE, -1), 1, generator=self.generator)
        return top.indices.gather(1, torch.where(self.greedy[rows, None], 0, sampled))[:, 0]

    def _prefill(self):
        """Reads each prompt once; returns the last position's (hidden, taps), and leaves the cache, a row per continuation."""
        base, start = self.base, 0
        cache = base.new_cache(len(self.prompt), self.longest)
        positions = (torch.arange(self.longest)[None] - self.pad[:, None]).clamp(min=0)
        while start < self.longest:  # prefill in chunks bounds the mask and the activations
            m = min(256, self.longest - start)
            chunk = slice(start, start + m)
            hidden, taps = base.forward(
                self.prompt[:, chunk], positions[:, chunk], cache, start, self._mask(start, m), TAPS
            )
            start += m
        C = self.continuations
        self.cache = base.new_cache(len(self.prompt) * C, self.longest + self.limit)
        self.cache[0][..., : self.longest] = cache[0].repeat_interleave(C, 1)
        self.cache[1][..., : self.longest, :] = cache[1].repeat_interleave(C, 1)
        self.pad = self.pad.repeat_interleave(C)
        return tuple(x[:, -1].repeat_interleave(C, 0) for x in (hidden, *taps))

    def run(self):
        base, B = self.base, len(self.alive)
        hidden, *taps = self._prefill()
        chosen = self._emit(0, self.prompt[:, -1].repeat_interleave(self.continuations), hidden, taps)
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


def made(out, sizes):
    """Positions in all whole shards, other processes' too; `sizes` remembers those already counted."""
    for path in out.glob("*.npz"):
        if "part" not in path.name and path.name not in sizes:
            sizes[path.name] = int(np.load(path)["offsets"][-1])
    return sum(sizes.values())


def save(path, batches, prompts, tasks):
    """Writes a shard; prompts and tasks [P] in the batches' order."""
    continuations = batches[0].continuations
    prompt_of = np.repeat(np.arange(len(prompts)), continuations)

    def joined(pick):
        return np.concatenate([pick(batch).numpy() for batch in batches])

    lengths = joined(lambda b: b.lengths)
    features = torch.cat([b.flat(b.features) for b in batches]).view(torch.int16).numpy().view(np.uint16)
    np.save(path.with_suffix(".features.npy"), features)
    temporary = path.with_suffix(".part.npz")
    np.savez(
        temporary,
        offsets=np.cumsum([0, *lengths]),
        tokens=joined(lambda b: b.flat(b.tokens)).astype(np.uint16),
        prompts=np.concatenate([np.array(prompts[i][:-1], np.uint16) for i in prompt_of]),
        prompt_offsets=np.cumsum([0, *(len(prompts[i]) - 1 for i in prompt_of)]),
        prompt_of=prompt_of,
        top_ids=joined(lambda b: b.flat(b.top_ids)).astype(np.uint16),
        top_logp=joined(lambda b: b.flat(b.top_logp)).astype(np.float16),
        greedy=joined(lambda b: b.greedy),
        tasks=np.array(tasks)[prompt_of],
    )
    os.replace(temporary, path)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--gguf", required=True)
    a.add_argument("--data", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--tokens", type=int, default=3_000_000)
    a.add_argument("--new", type=int, default=176)
    a.add_argument("--longest", type=int, default=480, help="tokens of a prompt, of which the middle is left out")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--part", default="0/1", help="I/N: make every N-th shard only, from the I-th on")
    a.add_argument("--only", default="", help="tasks of prompts.py, separated by commas; all by default")
    a.add_argument("--continuations", type=int, default=3, help="sequences per prompt, the first of them greedy")
    args = a.parse_args()
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    tokenizer = Tokenizer.from_file(str(Path(args.data) / "tokenizer/smollm2-135m-instruct.tokenizer.json"))
    base, out = Base(args.gguf), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    prompts = mixture(args.data, tokenizer, 40_000, args.seed, [n for n in args.only.split(",") if n], args.longest)
    bar = tqdm(total=args.tokens, initial=made(out, sizes), unit="tok", mininterval=10)
    part, parts = map(int, args.part.split("/"))
    for shard in range(part, len(prompts) // PROMPTS, parts):
        if (out / f"{shard:04d}.npz").exists():
            continue
        if made(out, sizes) >= args.tokens:
            break
        window = sorted(prompts[shard * PROMPTS :][:PROMPTS], key=lambda p: len(p[1]))
        generator = torch.Generator().manual_seed(args.seed * 100_003 + shard)
        batches, at = [], 0
        while at < len(window):
            size = max(1, ROWS // args.continuations)
            if len(window[min(at + size, len(window)) - 1][1]) > 320:
                size = max(1, size // 2)
            rows = window[at : at + size]
            at += size
            batches.append(Batch(base, [p for _, p in rows], args.new, args.continuations, generator).run())
            bar.update(int(batches[-1].lengths.sum()))
        save(out / f"{shard:04d}.npz", batches, [p for _, p in window], [t for t, _ in window])
    bar.close()


if __name__ == "__main__":
    main()
