"""Trains the draft heads 2..9 on the base model's own text (train/generate.py, or adapt/ for any architecture).

  python train/heads.py --gguf FILE --distill DIR --out models/smollm2-135m/heads.safetensors

The base is frozen. Parametrisation (shared with models/compile, see models/README.md): D hidden
width, F features (taps, then the final hidden state), bonus = the token committed after position t.
  z = concat(f / rms(f) for each feature, emb(bonus) / rms) * in_norm.weight   [(F+1) D]
  u = silu(trunk.weight z)                                                     [D2]
  logits_j = E[draft_ids] (final_hidden + head.j.weight u + head.j.bias)       head j + 2, j = 0..H-2
Head j predicts token t + 2 + j. The output embedding E is shared and frozen, reduced to the most
frequent tokens. Beside that distribution each head has a *copy* distribution over what followed the
earlier sources of the bonus token (copies.py), of match length m_e and age n - e, gated by a
pointer-generator mixture (See et al. 2017, arXiv 1704.04368):
  c_j(w) = sum over sources e proposing w of softmax_e(copy.match[j, m_e] + copy.age[j] log(n - e))
  g_j = sigmoid(copy.gate_weight[j] u + copy.gate_match[j, max m] + copy.gate_agree[j] max_w c_j(w)), 0 without a source
  p_j(w) = (1 - g_j) softmax(logits_j)[w] + g_j c_j(w)
A run resumes from OUT.ckpt, saved every minute.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

import copies
from embeddings import Embeddings
from heads_data import Data, Found, Labels

EPS = 1e-5
SCALARS = 20.0  # learning rate of the copy part's few numbers over that of the matrices


class Heads(torch.nn.Module):
    def __init__(self, width, features, inner, count):
        super().__init__()
        self.width, self.features, self.count = width, features, count
        self.in_norm = torch.nn.Parameter(torch.ones((features + 1) * width))
        self.trunk = torch.nn.Parameter(torch.randn(inner, (features + 1) * width) / math.sqrt((features + 1) * width))
        self.heads = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(width, inner)) for _ in range(count)])
        self.bias = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(width)) for _ in range(count)])
        zeros = lambda *shape: torch.nn.Parameter(torch.zeros(*shape))
        self.copy = torch.nn.ParameterDict(
            {
                "match": torch.nn.Parameter(torch.arange(copies.MATCH + 1).float().repeat(count, 1)),
                "age": zeros(count),
                "gate_weight": zeros(count, inner),
                "gate_match": torch.nn.Parameter(torch.full((count, copies.MATCH + 1), -1.0)),
                "gate_agree": zeros(count),
            }
        )

    def inner(self, hidden, bonus):
        """hidden [B, F*D], bonus embedding [B, D] -> u [B, D2]."""
        parts = torch.cat([hidden, bonus], -1).float().view(-1, self.features + 1, self.width)
        z = (parts * torch.rsqrt(parts.pow(2).mean(-1, keepdim=True) + EPS)).flatten(1) * self.in_norm
        return torch.nn.functional.silu((z.bfloat16() @ self.trunk.bfloat16().T).float())

    def out(self, j, hidden, u):
        final = hidden[:, -self.width :].float()
        return final + (u.bfloat16() @ self.heads[j].bfloat16().T).float() + self.bias[j]


    def copied(self, j, u, found):
        """Copy distribution of head j: (gate [B], weights [B, S], same [B, S, S]: sources that propose one token)."""
        tokens, match, age, valid = found.proposals(j)
        scores = self.copy["match"][j][match] + self.copy["age"][j] * age
        weights = torch.softmax(torch.where(valid, scores, torch.tensor(-1e4)), -1) * valid
        same = (tokens[:, :, None] == tokens[:, None, :]) & valid[:, :, None] & valid[:, None, :]
        agree = (weights[:, None, :] * same).sum(-1).max(-1).values
        gate = u @ self.copy["gate_weight"][j] + self.copy["gate_match"][j][match[:, 0]]
        gate = torch.sigmoid(gate + self.copy["gate_agree"][j] * agree) * valid[:, 0]
        return gate, weights, same


def head_loss(heads, j, out, u, table, y, token, soft, mix, found):
    """Loss of head j, and d/d(out) of its vocabulary part.

    The loss, -log p_j(token), is left to autograd for the copy part only. The vocabulary part learns by its own
    cross-entropy, as if there were no copies: weighted by its share of p_j(token), which is that loss's gradient, it
    learned less of what a lattice needs where a copy fails (train/LOG.md). out [B, D], table [V, D] bf16, y, token [B].
    Written by hand: one softmax in bf16, no [B, V] in fp32.
    """
    p = torch.softmax(out.bfloat16() @ table.T, -1)
    known = y >= 0
    at = y.clamp(min=0)[:, None]
    vocabulary = torch.where(known, p.gather(1, at)[:, 0].float(), 0.0)
    gate, weights, _ = heads.copied(j, u, found)
    tokens, *_ = found.proposals(j)
    copied = (weights * (tokens == token[:, None])).sum(-1)
    likelihood = (1 - gate) * vocabulary + gate * copied
    usable = (token >= 0) & (likelihood > 1e-9)
    loss = -torch.log(likelihood.clamp(min=1e-9))[usable].sum()
    index, weight = soft
    p.scatter_add_(1, at, torch.full_like(vocabulary, -(1 - mix)).to(p.dtype)[:, None])
    p.scatter_add_(1, index, (-mix * weight).to(p.dtype))
    return loss, ((p * known.to(p.dtype)[:, None]) @ table).float()


def lattice(heads, j, out, u, table, ids, found, k=16):
    """The k likeliest tokens of head j, its k likeliest of the vocabulary and the copied ones merged, and their probabilities [B, k]."""
    top = torch.softmax((out.bfloat16() @ table.T).float(), -1).topk(k, -1)
    gate, weights, same = heads.copied(j, u, found)
    proposed, _, _, valid = found.proposals(j)
    # A token proposed by several sources counts once, with their sum, at the first of them.
    first = valid & ~torch.tril(same, -1).any(-1)
    mass = (weights[:, None, :] * same).sum(-1) * first
    listed = ids[top.indices]
    both = listed[:, :, None] == proposed[:, None, :]
    mixed = (1 - gate)[:, None] * top.values + gate[:, None] * (both * mass[:, None, :]).sum(-1)
    added = gate[:, None] * mass * ~both.any(1)
    best = torch.cat([mixed, added], 1).topk(k, -1)
    return torch.cat([listed, proposed.long()], 1).gather(1, best.indices), best.values


@torch.no_grad()
def evaluate(heads, data, labels, table, embedding, at, batch=1024):
    """Top-1/5/16 accuracy per head and the block efficiency of the top-1 chain."""
    hits = torch.zeros(heads.count, 3)
    total = torch.zeros(heads.count)
    chain_sum = chain_count = 0.0
    for rows in at.split(batch):
        hidden, found = data.features(rows), Found(data, rows)
        u = heads.inner(hidden, embedding[data.tokens[rows + 1].long()])
        alive = torch.ones(len(rows))
        for j in range(heads.count):
            inside = rows + 2 + j < data.end[rows]
            _, token = labels.hard(rows, j)
            top, _ = lattice(heads, j, heads.out(j, hidden, u), u, table, labels.ids, found)
            hit = (top == token[:, None]).float()
            for column, k in enumerate((1, 5, 16)):
                hits[j, column] += hit[inside, :k].sum()
            total[j] += inside.sum()
            alive = alive * hit[:, 0]
            chain_sum += float(alive[inside].sum())
        chain_count += len(rows)
    return hits / total[:, None], 1 + chain_sum / chain_count


def export(path, heads, ids, meta):
    tensors = {"in_norm.weight": heads.in_norm.half(), "trunk.weight": heads.trunk.half(), "draft_ids": ids.int()}
    for j in range(heads.count):
        tensors[f"head.{j}.weight"] = heads.heads[j].half()
        tensors[f"head.{j}.bias"] = heads.bias[j].half()
    for name, values in heads.copy.items():
        tensors[f"copy.{name}"] = values.half() if name == "gate_weight" else values.float()
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path, metadata=meta)


def warm_start(heads, path):
    """Starts from an exported file; what it lacks (heads that do not copy yet) keeps its initial values."""
    tensors = load_file(path)
    with torch.no_grad():
        heads.in_norm.copy_(tensors["in_norm.weight"])
        heads.trunk.copy_(tensors["trunk.weight"])
        for j in range(heads.count):
            heads.heads[j].copy_(tensors[f"head.{j}.weight"])
            heads.bias[j].copy_(tensors[f"head.{j}.bias"])
        for name, values in heads.copy.items():
            if f"copy.{name}" in tensors:
                values.copy_(tensors[f"copy.{name}"])


def report(accuracy, efficiency):
    rows = [f"  head {j + 2}: top-1 {a[0]:.3f}  top-5 {a[1]:.3f}  top-16 {a[2]:.3f}" for j, a in enumerate(accuracy)]
    return "\n".join([*rows, f"  block efficiency of the top-1 chain: {efficiency:.3f}"])


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("--gguf", required=True)
    a.add_argument("--distill", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--count", type=int, default=8, help="heads 2..count+1")
    a.add_argument("--inner", type=int, default=1152)
    a.add_argument("--train-vocab", type=int, default=8192)
    a.add_argument("--draft-vocab", type=int, default=12288)
    a.add_argument("--epochs", type=float, default=2.0)
    a.add_argument("--minutes", type=float, default=0, help="end by then, however far the epochs are; 0: never")
    a.add_argument("--taps", default="9,19", help="blocks whose output is in the shards, beside the final state")
    a.add_argument("--batch", type=int, default=512)
    a.add_argument("--lr", type=float, default=2e-3)
    a.add_argument("--decay", type=float, default=0.9, help="loss weight of head j: decay ** j")
    a.add_argument("--mix", type=float, default=0.5, help="share of the soft target in the loss")
    a.add_argument("--limit", type=int, default=0, help="use only so many training positions (trials)")
    a.add_argument("--resident", action="store_true", help="hidden states in memory (3.5 KB a token): far quicker than a disk")
    a.add_argument("--init", default="", help="continue from the weights of this exported file")
    a.add_argument("--seed", type=int, default=1)
    return a.parse_args()


def sampled_heads(count, generator):
    """(head, weight): the first always, one of the next two and one of the others (Stern et al.: unbiased)."""
    chosen = []
    for first, end in ((0, 1), (1, min(3, count)), (3, count)):
        if first < end:
            chosen.append((int(torch.randint(first, end, (1,), generator=generator)), float(end - first)))
    return chosen


def train(args, base, data, heads, labels, table):
    torch.manual_seed(args.seed)
    at, held = data.positions(False), data.positions(True)
    if args.limit:
        at = at[torch.randperm(len(at))[: args.limit]]
    held = held[torch.randperm(len(held))[:12288]]
    steps = int(len(at) * args.epochs / args.batch)
    # A few numbers that act directly on probabilities want larger steps than matrices, and no decay.
    scalars = [values for name, values in heads.copy.items() if name != "gate_weight"]
    few = {id(values) for values in scalars}
    groups = [
        dict(params=[values for values in heads.parameters() if id(values) not in few], weight_decay=0.01, scale=1.0),
        dict(params=scalars, weight_decay=0.0, scale=SCALARS),
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98))
    checkpoint, first, before = Path(args.out + ".ckpt"), 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        heads.load_state_dict(state["heads"])
        optimizer.load_state_dict(state["optimizer"])
        first, before = state["step"], state.get("seconds", 0.0)
    generator = torch.Generator().manual_seed(args.seed)
    order = torch.cat([at[torch.randperm(len(at), generator=generator)] for _ in range(math.ceil(args.epochs))])
    began = saved = time.time()
    for step in tqdm(range(first, steps), initial=first, total=steps, unit="step", mininterval=10):
        warm = min(1.0, (step + 1) / 100)
        seconds = before + time.time() - began
        through = max(step / steps, seconds / (60 * args.minutes) if args.minutes else 0.0)
        if through >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["scale"] * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * through)))
        rows = order[step * args.batch : (step + 1) * args.batch]
        hidden, found = data.features(rows), Found(data, rows)
        u = heads.inner(hidden, base.embedding[data.tokens[rows + 1].long()])
        leaf = u.detach().requires_grad_()
        for j, share in sampled_heads(heads.count, generator):
            out = heads.out(j, hidden, leaf)
            weight = share * args.decay**j / len(rows)
            target = labels.hard(rows, j)
            loss, gradient = head_loss(heads, j, out.detach(), leaf, table, *target, labels.soft(rows, j), args.mix, found)
            torch.autograd.backward([out, loss * weight], [gradient * weight, None])
        u.backward(leaf.grad)
        torch.nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if time.time() - saved > 60 or step + 1 == steps:
            state = dict(heads=heads.state_dict(), optimizer=optimizer.state_dict(), step=step + 1, seconds=seconds)
            torch.save(state, checkpoint)
            saved = time.time()
        if (step + 1) % 1000 == 0:
            tqdm.write(f"step {step + 1}\n" + report(*evaluate(heads, data, labels, table, base.embedding, held[:4096])))
    return len(at), held


def main():
    args = arguments()
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    torch.manual_seed(args.seed)
    base, data = Embeddings(args.gguf), Data(args.distill, args.resident)
    c = base.config
    taps = args.taps.split(",")
    heads = Heads(c.width, len(taps) + 1, args.inner, args.count)
    if args.init:
        warm_start(heads, args.init)
    small = Labels(data, c.vocab, args.train_vocab)
    positions, held = train(args, base, data, heads, small, base.output[small.ids].contiguous())
    full = Labels(data, c.vocab, args.draft_vocab)
    accuracy, efficiency = evaluate(heads, data, full, base.output[full.ids].contiguous(), base.embedding, held)
    print(report(accuracy, efficiency))
    meta = {"taps": args.taps, "heads": str(args.count), "draft_vocab": str(args.draft_vocab)}
    export(args.out, heads, full.ids, meta)
    record = dict(
        command="python train/heads.py "
        + " ".join(f"--{k.replace('_', '-')} {v}" for k, v in vars(args).items() if k not in ("gguf", "distill", "out", "resident")),
        generated_tokens=len(data.tokens),
        training_positions=positions,
        validation_positions=len(held),
        draft_vocab_coverage=float((full.index[data.tokens.long()] >= 0).float().mean()),
        validation_top_1_5_16={f"head {j + 2}": [round(float(x), 4) for x in a] for j, a in enumerate(accuracy)},
        validation_block_efficiency=round(efficiency, 4),
    )
    Path(args.out).with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
