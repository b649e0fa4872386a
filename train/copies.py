"""Where the text so far has met its newest tokens before: what the copy part of the draft heads reads.

The bonus token of a position is y[n]. A *source* is an earlier e < n with y[e] = y[n]; its match length counts
equal tokens backwards from there, at most MATCH. Head j (of j = 0..) foresees y[n+1+j], and the source proposes
y[e+1+j], read periodically with period n - e where that lies beyond the bonus token.
gpu-worker/copy-heads.ts finds the same one step at a time.
"""

import numpy as np
import torch

MATCH = 8  # longest match that is told from a longer one
SOURCES = 16  # per position: longest match first, the newest of equals first


def sources(prompts, prompt_offsets, tokens, offsets):
    """Sources of every generated position of a shard (see generate.py).

    Returns (at [N, SOURCES] int16: e in prompt + generated text, -1 for none; match [N, SOURCES] uint8).
    """
    count = len(offsets) - 1
    at = np.full((len(tokens), SOURCES), -1, np.int16)
    match = np.zeros((len(tokens), SOURCES), np.uint8)
    for first in range(0, count, 256):
        rows = range(first, min(first + 256, count))
        texts = [
            np.concatenate([prompts[prompt_offsets[r] : prompt_offsets[r + 1]], tokens[offsets[r] : offsets[r + 1]]])
            for r in rows
        ]
        starts = torch.tensor([int(prompt_offsets[r + 1] - prompt_offsets[r]) for r in rows])
        lengths = torch.tensor([len(t) for t in texts])
        width = int(lengths.max())
        y = torch.full((len(texts), width), -1, dtype=torch.int32)
        for row, text in enumerate(texts):
            y[row, : len(text)] = torch.from_numpy(text.astype(np.int32))
        base = torch.from_numpy(offsets[first : first + len(texts)])
        _sources_of(y, starts, lengths, base, at, match)
    return at, match


def _sources_of(y, starts, lengths, base, at, match):
    """One batch of padded texts y [B, W], generated from `starts` on; row r of it fills the results from base[r] on."""
    width = y.shape[1]
    length = torch.zeros_like(y)  # [B, W] match length of source e for the current bonus token n
    newest = torch.arange(width, dtype=torch.int32)
    for n in range(1, width):
        longer = torch.roll(length, 1, 1)
        longer[:, 0] = 0
        length = torch.where(y == y[:, n : n + 1], longer.clamp(max=MATCH - 1) + 1, 0)
        length[:, n:] = 0
        inside = (n > starts) & (n < lengths)
        if not inside.any():
            continue
        key = torch.where(length > 0, length * width + newest, -1)[inside]
        best = key.topk(min(SOURCES, width), -1).values
        out = (base + n - 1 - starts)[inside].numpy()
        at[out, : best.shape[1]] = torch.where(best >= 0, best % width, -1).numpy()
        match[out, : best.shape[1]] = torch.where(best >= 0, best // width, 0).numpy()
