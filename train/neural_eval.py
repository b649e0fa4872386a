"""What re-ranking a lattice with the small model is worth, on held-out text of the base.

Shapes: P positions, n heads, k candidates, D width, H state size.
"""

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open

EPS = 1e-5


class DraftHeads:
    """heads.safetensors (see models/README.md): features and bonus token -> lattice."""

    def __init__(self, path, embedding):
        with safe_open(path, "pt") as f:
            self.count = int(f.metadata()["heads"])
            self.w = {k: f.get_tensor(k) for k in f.keys()}
        self.embedding = embedding
        self.ids = self.w["draft_ids"].long()
        self.table = embedding[self.ids].bfloat16().contiguous()

    def lattice(self, features, bonus, k=16):
        """features [P, F D], bonus [P] -> (tokens [P, n, k], log-probabilities [P, n, k])."""
        D = self.embedding.shape[1]
        parts = torch.cat([features.float(), self.embedding[bonus].float()], -1).unflatten(-1, (-1, D))
        z = F.rms_norm(parts, (D,), eps=EPS).flatten(1) * self.w["in_norm.weight"].float()
        u = F.silu(z @ self.w["trunk.weight"].float().T)
        final, rows = features[:, -D:].float(), []
        for j in range(self.count):
            state = final + u @ self.w[f"head.{j}.weight"].float().T + self.w[f"head.{j}.bias"].float()
            logits = state.bfloat16() @ self.table.T
            top = logits.topk(k, -1)
            rows.append((self.ids[top.indices], top.values.float() - torch.logsumexp(logits.float(), -1, keepdim=True)))
        return tuple(torch.stack(part, 1) for part in zip(*rows))


class Held:
    """Lattices of every position of held-out greedy sequences, up to `limit` positions.

    Position t of a sequence has the bonus token t + 1; row j of its lattice foresees token t + 2 + j.
    """

    @torch.no_grad()
    def __init__(self, sequences, heads, limit):
        self.texts, self.contexts, lattices = [], [], []
        for sequence in sequences:
            if sum(len(t) - 1 for t in self.texts) >= limit:
                break
            tokens = torch.from_numpy(sequence.tokens.astype(np.int64))
            if len(tokens) < 3:
                continue
            features = torch.from_numpy(np.array(sequence.features[: len(tokens) - 1]).view(np.int16)).view(torch.bfloat16)
            lattices.append(heads.lattice(features, tokens[1:]))
            self.texts.append(tokens)
            self.contexts.append(torch.from_numpy(sequence.context.astype(np.int64)))
        self.tokens, self.log_probs = (torch.cat(part) for part in zip(*lattices))
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
        return torch.cat([
            rescored(model, embedding, h, tokens, log_probs, alpha)[0]
            for h, tokens, log_probs in zip(states.split(batch), self.tokens.split(batch), self.log_probs.split(batch))
        ])


def rescored(model, embedding, h, tokens, log_probs, alpha):
    """h [P, H], tokens and log_probs [P, n, k] -> (choices [P, n], scores [P, n, k])."""
    chosen, scores = [], []
    for j in range(tokens.shape[1]):
        logits = (embedding[tokens[:, j]].float() @ model.out(h)[..., None])[..., 0]
        score = (1 - alpha) * log_probs[:, j] + alpha * torch.log_softmax(logits, -1)
        token = tokens[:, j].gather(1, score.argmax(-1, keepdim=True))[:, 0]
        chosen.append(token)
        scores.append(score)
        h = model.advance(model.gates(embedding[token]), h)
    return torch.stack(chosen, 1), torch.stack(scores, 1)


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
