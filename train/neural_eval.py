"""What re-ranking a lattice with the small model is worth, on held-out text of the base: as the gpu-worker does it, copies
being mixed in first and left as they are.

Shapes: P positions, n heads, k candidates, D width, H state size.
"""

from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import copies
from heads import Heads, lattice, warm_start
from heads_data import Found


LEAST_SHARE = 2**-20  # of its probability that a candidate keeps beside its copied part, see models/compile/neural.ts


class DraftHeads:
    """heads.safetensors (see models/README.md) over a base's embeddings."""

    def __init__(self, path, embedding):
        weights = load_file(path)
        count = sum(name.startswith("head.") and name.endswith(".bias") for name in weights)
        features = weights["in_norm.weight"].shape[0] // embedding.shape[1] - 1
        self.heads = Heads(embedding.shape[1], features, weights["trunk.weight"].shape[0], count).requires_grad_(False)
        warm_start(self.heads, path)
        self.copies = "copy.match" in weights
        self.ids, self.embedding = weights["draft_ids"].long(), embedding
        self.table = embedding[self.ids].bfloat16().contiguous()

    def lattice(self, features, bonus, found, k=16):
        """features [P, F D], bonus [P], copy sources -> tokens, log-probabilities as on the wire, copied parts, each [P, n, k]."""
        u, rows = self.heads.inner(features, self.embedding[bonus]), []
        if not self.copies:
            found.at, found.valid = torch.full_like(found.at, -1), torch.zeros_like(found.valid)
        for j in range(self.heads.count):
            out = self.heads.out(j, features, u)
            tokens, p = lattice(self.heads, j, out, u, self.table, self.ids, found, k)
            gate, weights, _ = self.heads.copied(j, u, found)
            same = tokens[:, :, None] == found.proposals(j)[0][:, None]
            rows.append((tokens, p.clamp(min=1e-30).log().half().float(), gate[:, None] * (same * weights[:, None]).sum(-1)))
        return tuple(torch.stack(part, 1) for part in zip(*rows))


def _found(sequences):
    """The copy sources of all positions with a bonus token, a heads_data.Found for each sequence."""
    prompts, tokens = ([getattr(s, name) for s in sequences] for name in ("prompt", "tokens"))
    offsets = lambda parts: np.cumsum([0, *map(len, parts)])
    at, match = copies.sources(np.concatenate(prompts), offsets(prompts), np.concatenate(tokens), offsets(tokens))
    for prompt, own, start in zip(prompts, tokens, offsets(tokens)):
        rows = torch.arange(len(own) - 1)
        data = SimpleNamespace(
            text=torch.from_numpy(np.concatenate([prompt, own]).astype(np.int32)),
            text_start=torch.zeros(len(own), dtype=torch.long),
            bonus_at=len(prompt) + 1 + torch.arange(len(own)),
            source_at=torch.from_numpy(at[start : start + len(own)]),
            source_match=torch.from_numpy(match[start : start + len(own)]),
        )
        yield Found(data, rows)


class Held:
    """Lattices of every position of held-out greedy sequences, up to `limit` positions.

    Position t of a sequence has the bonus token t + 1; row j of its lattice foresees token t + 2 + j.
    """

    @torch.no_grad()
    def __init__(self, sequences, heads, limit):
        usable = [s for s in sequences if len(s.tokens) >= 3]
        before = np.cumsum([0, *(len(s.tokens) - 1 for s in usable)])[:-1]
        usable = [s for s, positions in zip(usable, before) if positions < limit]
        self.texts = [torch.from_numpy(s.tokens.astype(np.int64)) for s in usable]
        self.contexts = [torch.from_numpy(s.context.astype(np.int64)) for s in usable]
        lattices = []
        for sequence, tokens, found in zip(usable, self.texts, _found(usable)):
            bits = np.array(sequence.features[: len(tokens) - 1]).view(np.int16)
            lattices.append(heads.lattice(torch.from_numpy(bits).view(torch.bfloat16), tokens[1:], found))
        self.tokens, self.log_probs, self.copied = (torch.cat(part) for part in zip(*lattices))
        n = self.tokens.shape[1]
        self.truth = torch.cat([_future(text, n) for text in self.texts])

    def efficiency(self, chains):
        """Tokens committed per step if every lattice's draft is its row of chains [P, n]."""
        run = (chains == self.truth).int().cumprod(1).sum(1).tolist()
        total = steps = start = 0
        for text in self.texts:
            at, last = 0, len(text) - 2  # positions; the bonus token of the last one ends the text
            while at < last:
                at, steps = at + run[start + at] + 1, steps + 1
            total += last
            start += last + 1
        return total / max(steps, 1)

    def oracle(self):
        inside = (self.tokens == self.truth[..., None]).any(-1)
        return self.efficiency(torch.where(inside, self.truth, -2))

    @torch.no_grad()
    def states(self, model, embedding):
        """The small model's state after each position's bonus token [P, H]."""
        whole = [torch.cat([c, t]) for c, t in zip(self.contexts, self.texts)]
        padded = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True)
        states = model.states(embedding[padded], torch.zeros(len(whole), model.size))
        return torch.cat([s[len(c) + 1 : len(w)] for s, c, w in zip(states, self.contexts, whole)])

    @torch.no_grad()
    def chains(self, model, embedding, states, alpha, batch=1024):
        """The re-ranked first choices [P, n]: left to right, given the choices so far."""
        parts = zip(*(part.split(batch) for part in (states, self.tokens, self.log_probs, self.copied)))
        return torch.cat([rescored(model, embedding, *part, alpha)[0] for part in parts])


def rescored(model, embedding, h, tokens, log_probs, copied, alpha):
    """h [P, H], tokens, log m and the copied part c of m [P, n, k] -> (choices [P, n], log m' [P, n, k]).

    Copies stay as they are, the rest of the probability is shared out anew:
    v = m - c,  v' = sum(v) softmax((1 - alpha) log v + alpha log p),  m' = v' + c.
    """
    chosen, mixed = [], []
    for j in range(tokens.shape[1]):
        logits = (embedding[tokens[:, j]].float() @ model.out(h)[..., None])[..., 0]
        p, c = log_probs[:, j], copied[:, j]
        v = p + (1 - c / p.exp()).clamp(min=LEAST_SHARE).log()
        shares = torch.log_softmax((1 - alpha) * v + alpha * torch.log_softmax(logits, -1), -1)
        m = ((shares + torch.logsumexp(v, -1, keepdim=True)).exp() + c).log()
        token = tokens[:, j].gather(1, m.argmax(-1, keepdim=True))[:, 0]
        chosen.append(token)
        mixed.append(m)
        h = model.advance(model.gates(embedding[token]), h)
    return torch.stack(chosen, 1), torch.stack(mixed, 1)


def _future(text, n):
    """[positions, n]: the tokens each lattice should foresee, -1 past the end."""
    padded = F.pad(text, (0, n), value=-1)
    return torch.stack([padded[2 + j : 2 + j + len(text) - 1] for j in range(n)], 1)


def efficiencies(held, model, embedding, alphas):
    """Block efficiency by alpha; 0 is the heads alone."""
    states = held.states(model, embedding)
    out = {"0": held.efficiency(held.tokens[..., 0])}
    for alpha in alphas:
        out[str(alpha)] = held.efficiency(held.chains(model, embedding, states, alpha))
    out["oracle"] = held.oracle()
    return {k: round(v, 4) for k, v in out.items()}
