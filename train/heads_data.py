"""What train/heads.py learns from: the shards of train/generate.py or adapt/ with their copy sources, and targets."""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from tqdm import tqdm

import copies


class Found:
    """The copy sources of some positions, see copies.py."""

    def __init__(self, data, rows):
        self.text, self.start = data.text, data.text_start[rows][:, None]
        self.bonus = data.bonus_at[rows][:, None]  # n [B, 1]
        self.at, self.match = data.source_at[rows].long(), data.source_match[rows].long()
        self.valid = self.at >= 0
        self.age = torch.log((self.bonus - self.at).clamp(min=1).float())

    def proposals(self, j):
        """(tokens [B, S], match [B, S], log age [B, S], valid [B, S]) of head j."""
        period = (self.bonus - self.at).clamp(min=1)
        index = self.at.clamp(min=0) + 1 + j
        beyond = (index - self.bonus).clamp(min=0)
        index = index - (beyond + period - 1) // period * period
        return self.text[self.start + index], self.match, self.age, self.valid


class Data:
    """All shards; features [N, F*D] bf16 on disk unless `resident`, tokens [N], sequence end per position [N]."""

    def __init__(self, root, resident=False):
        files = sorted(p for p in Path(root).iterdir() if p.suffix in (".npz", ".safetensors") and "part" not in p.name)
        names = ("tokens", "top_ids", "top_logp", "end", "greedy", "held", "source_at", "source_match")
        parts = {key: [] for key in (*names, "text", "text_start", "bonus_at")}
        self.shards, self.shard_start = [], []
        start = text_start = 0
        for path in tqdm(files, desc="shards", unit="shard"):
            z = np.load(path) if path.suffix == ".npz" else load_file(path)
            offsets, prompt_offsets = z["offsets"].astype(np.int64), z["prompt_offsets"].astype(np.int64)
            lengths, before = np.diff(offsets), np.diff(prompt_offsets)
            for key in ("tokens", "top_ids"):
                parts[key].append(z[key].astype(np.int32))
            self.shards.append(np.load(path.with_suffix(".features.npy"), mmap_mode=None if resident else "r"))
            self.shard_start.append(start)
            parts["top_logp"].append(z["top_logp"])
            parts["end"].append(np.repeat(offsets[1:] + start, lengths))
            parts["greedy"].append(np.repeat(z["greedy"].astype(bool), lengths))
            parts["held"].append(np.repeat(z["prompt_of"] % 25 == 7, lengths))
            at, match = copies.sources(z["prompts"], prompt_offsets, z["tokens"], offsets)
            parts["source_at"].append(at)
            parts["source_match"].append(match)
            # Prompt and generated text of each sequence end to end, where the sources are looked up.
            for r in range(len(lengths)):
                parts["text"].append(z["prompts"][prompt_offsets[r] : prompt_offsets[r + 1]].astype(np.int32))
                parts["text"].append(z["tokens"][offsets[r] : offsets[r + 1]].astype(np.int32))
            sequence = text_start + offsets[:-1] + prompt_offsets[:-1]
            parts["text_start"].append(np.repeat(sequence, lengths))
            within = np.arange(len(z["tokens"])) - np.repeat(offsets[:-1], lengths)
            parts["bonus_at"].append(np.repeat(before, lengths) + within + 1)
            start += int(offsets[-1])
            text_start += int(offsets[-1] + prompt_offsets[-1])
        for key, arrays in parts.items():
            setattr(self, key, torch.from_numpy(np.concatenate(arrays)))
        self.shard_start = np.array(self.shard_start)

    def features(self, rows):
        """[B, F*D] bf16"""
        rows = rows.numpy()
        out = np.empty((len(rows), self.shards[0].shape[1]), np.uint16)
        shard = np.searchsorted(self.shard_start, rows, "right") - 1
        for i in np.unique(shard):
            mine = shard == i
            out[mine] = self.shards[i][rows[mine] - self.shard_start[i]]
        return torch.from_numpy(out.view(np.int16)).view(torch.bfloat16)

    def positions(self, held):
        """Positions with a bonus token and at least one token to foresee."""
        at = torch.arange(len(self.tokens))
        keep = (self.held == held) & (at + 2 < self.end)
        if held:
            keep &= self.greedy
        return at[keep]


class Labels:
    """Targets of the heads."""

    def __init__(self, data, vocab, size):
        # Prompts included: what they speak of, answers to other prompts speak of too.
        counts = torch.bincount(data.text.long(), minlength=vocab)
        self.ids = counts.topk(size).indices.sort().values
        self.index = torch.full((vocab,), -1, dtype=torch.long)
        self.index[self.ids] = torch.arange(size)
        self.data = data

    def hard(self, at, j):
        """(index [B] in the draft vocabulary or -1, token [B] or -1 past the end of the sequence)"""
        target = at + 2 + j
        token = self.data.tokens[target.clamp(max=len(self.data.tokens) - 1)].long()
        token = torch.where(target < self.data.end[at], token, -1)
        return torch.where(token >= 0, self.index[token.clamp(min=0)], -1), token

    def soft(self, at, j):
        """The base's own top-8 distribution for the same token: (indices [B, 8], weights [B, 8])."""
        source = (at + 1 + j).clamp(max=len(self.data.tokens) - 1)
        index = self.index[self.data.top_ids[source].long()]
        p = torch.where(index >= 0, self.data.top_logp[source].float().exp(), 0.0)
        return index.clamp(min=0), p / p.sum(-1, keepdim=True).clamp(min=1e-6)
