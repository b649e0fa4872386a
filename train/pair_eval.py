"""Block efficiency of chains and trees over the lattices of held-out positions, with the path selector's scores and without."""

import heapq

import torch

from heads import lattice
from heads_data import Found


@torch.no_grad()
def block_efficiencies(base, data, heads, pair, table, ids, index, at, sizes=(4, 16, 63)):
    """{"chain": [without, with], "tree of N nodes": [...]}: tokens per step, the bonus token among them."""
    sums = {}
    for rows in at.split(512):
        hidden, found = data.features(rows), Found(data, rows)
        u = heads.inner(hidden, base.embedding[data.tokens[rows + 1].long()])
        columns = [
            lattice(heads, j, heads.out(j, hidden, u), u, table, ids, found) for j in range(heads.count)
        ]
        tokens = torch.stack([t for t, _ in columns], 1)
        p = torch.stack([q for _, q in columns], 1)
        m, q = pair.query(u).chunk(2, -1)
        scores = Scores(pair, index, tokens, p, m, q)
        for i, row in enumerate(rows.tolist()):
            truth = data.tokens[row + 2 : min(row + 2 + heads.count, int(data.end[row]))].tolist()
            start = int(data.tokens[row + 1])
            for known in (False, True):
                follow = (lambda j, a: scores.after(i, j, a)) if known else (lambda j, a: scores.plain(i, j))
                add = sums.setdefault("chain", [0.0, 0.0])
                add[known] += chain(follow, start, truth)
                order = tree(follow, start, truth, heads.count, max(sizes))
                for size in sizes:
                    add = sums.setdefault(f"tree of {size} nodes", [0.0, 0.0])
                    add[known] += max([depth for place, depth in order if place < size], default=0)
    return {name: [round(1 + x / len(at), 3) for x in values] for name, values in sums.items()}


class Scores:
    """Candidates of each column and how likely they are after a token; columns p [B, J, K] of tokens [B, J, K]."""

    def __init__(self, pair, index, tokens, p, m, q):
        self.pair, self.index, self.tokens, self.p, self.m, self.q = pair, index, tokens, p, m, q

    def plain(self, i, j):
        return self.tokens[i, j].tolist(), self.p[i, j].tolist()

    def after(self, i, j, a):
        if j == 0:
            return self.plain(i, j)
        pair, row = self.pair, int(self.index[a])
        first = pair.first[row] if row >= 0 else 0.0
        x = (1 + self.m[i]) * first + self.q[i]
        at = self.index[self.tokens[i, j]]
        known = at >= 0
        score = torch.where(known, pair.bias[at.clamp(min=0)] + pair.second[at.clamp(min=0)] @ x, 0.0)
        p = self.p[i, j] * score.exp()
        return self.tokens[i, j].tolist(), (p * (self.p[i, j].sum() / p.sum())).tolist()


def chain(follow, start, truth):
    """Accepted tokens of the likeliest token after the likeliest token."""
    token, accepted = start, 0
    for j, target in enumerate(truth):
        tokens, p = follow(j, token)
        token = tokens[p.index(max(p))]
        if token != target:
            break
        accepted += 1
    return accepted


def tree(follow, start, truth, depth, nodes):
    """[(place, depth)] of the nodes on the true path, of the `nodes` likeliest, the likeliest first."""
    heap, on_path, count = [], [], 0
    expand = (1.0, 0, start, True)
    while count < nodes:
        p_path, j, token, on = expand
        if j < depth:
            for t, p in zip(*follow(j, token), strict=True):
                heapq.heappush(heap, (-p_path * p, len(heap), j, t, on and j < len(truth) and truth[j] == t))
        if not heap:
            break
        p, _, j, token, on = heapq.heappop(heap)
        if on:
            on_path.append((count, j + 1))
        count += 1
        expand = (-p, j + 1, token, on)
    return on_path
