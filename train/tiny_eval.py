"""Block efficiency of models/tiny on its own greedy text, from the committed files alone.

  python train/tiny_eval.py --model models/tiny --cache .cache/tiny

Prompts are the user turns of validation chats. The base writes its greedy answer; walking over
it block by block (each head's first choice, no rescorer) counts the model calls a blockwise
decoder would have made for the same text.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from tokenizers import Tokenizer

from base import Base
from tiny_data import END_OF_TEXT, IM_END, IM_START


def prompts(cache, tokenizer, count, longest=320, part="valid"):
    """The first `count` chats of a part of the stream cut after the first "assistant\\n", as token ids."""
    tokens = np.load(Path(cache) / "stream.npz")[f"{part}_tokens"].astype(np.int64)
    ends, out, start = np.flatnonzero(tokens == END_OF_TEXT), [], 0
    opening = [IM_START, *tokenizer.encode("assistant\n").ids]
    for end in ends:
        doc, start = tokens[start:end].tolist(), end + 1
        cuts = [i for i in range(len(doc)) if doc[i : i + len(opening)] == opening]
        if cuts and cuts[0] + len(opening) <= longest:
            out.append(doc[: cuts[0] + len(opening)])
        if len(out) == count:
            break
    return out


@torch.inference_mode()
def greedy(base, rows, new, taps):
    """Greedy answers, left-padded in one batch. Per row: (tokens [n], hidden [n, F*D]), where
    hidden[i] is the state from which token i came."""
    longest = max(map(len, rows))
    B, cache = len(rows), base.new_cache(len(rows), longest + new)
    pad = torch.tensor([longest - len(r) for r in rows])
    tokens = torch.tensor([[0] * (longest - len(r)) + r for r in rows])
    start, chosen, states = 0, [], []
    for _ in range(new):
        M = tokens.shape[1]
        queries, keys = torch.arange(start, start + M), torch.arange(start + M)
        seen = (keys <= queries[:, None]) & ((keys >= pad[:, None, None]) | (keys == queries[:, None]))
        mask = torch.zeros(B, M, start + M).masked_fill_(~seen, -1e9)[:, None]
        positions = (queries[None] - pad[:, None]).clamp(min=0)
        hidden, tapped = base.forward(tokens, positions, cache, start, mask, taps)
        states.append(torch.cat([*tapped, hidden], -1)[:, -1])
        tokens, start = base.logits(hidden[:, -1]).argmax(-1)[:, None], start + M
        chosen.append(tokens[:, 0])
    out = []
    for ids, state in zip(torch.stack(chosen, 1), torch.stack(states, 1)):
        stop = (ids == IM_END).nonzero()
        n = int(stop[0]) + 1 if len(stop) else new
        out.append((ids[:n], state[:n]))
    return out


def first_choices(base, heads, hidden, bonus):
    """Top-1 of every head, [n, rows], by the formula of heads.safetensors."""
    D = base.config.width
    z = torch.cat([hidden, base.embedding[bonus]], -1).unflatten(-1, (-1, D))
    z = F.rms_norm(z, (D,), eps=1e-5).flatten(-2) * heads["in_norm.weight"]
    u = F.silu(F.linear(z, heads["trunk.weight"]))
    rows = sum(name.endswith(".bias") for name in heads)
    states = [hidden[:, -D:] + F.linear(u, heads[f"head.{j}.weight"], heads[f"head.{j}.bias"]) for j in range(rows)]
    return F.linear(torch.stack(states, 1), base.embedding[heads["draft_ids"].long()]).argmax(-1)


def calls(tokens, drafts):
    """Model calls after prefill: one block is the accepted drafts and the bonus token after them.

    Prefill itself commits tokens[0] and its lattice drafts what follows it.
    """
    at, steps = 0, 0  # tokens[at] is the newest committed token; drafts[at] was made with it
    while at + 1 < len(tokens):
        run = 0
        while run < drafts.shape[1] and at + 1 + run < len(tokens) and drafts[at][run] == tokens[at + 1 + run]:
            run += 1
        at, steps = at + run + 1, steps + 1
    return steps


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--model", required=True)
    a.add_argument("--cache", required=True)
    a.add_argument("--prompts", type=int, default=48)
    a.add_argument("--new", type=int, default=128)
    args = a.parse_args()
    base = Base(str(Path(args.model) / "tiny.gguf"), torch.float32)
    with safe_open(str(Path(args.model) / "heads.safetensors"), "pt") as f:
        heads = {k: f.get_tensor(k).float() for k in f.keys()}
        taps = tuple(int(t) for t in f.metadata()["taps"].split(",") if t)
    tokenizer = Tokenizer.from_file(str(Path(args.cache) / "tokenizer.json"))
    rows = prompts(args.cache, tokenizer, args.prompts)
    total = steps = 0
    for i, (tokens, hidden) in enumerate(greedy(base, rows, args.new, taps)):
        drafts = first_choices(base, heads, hidden, tokens)
        total += len(tokens) - 1
        steps += calls(tokens, drafts)
        if i < 6:
            print(repr(tokenizer.decode(rows[i][-60:]))[-160:], "->", repr(tokenizer.decode(tokens.tolist())), "\n")
    print(json.dumps({"block_efficiency": round(total / steps, 3), "tokens": total, "steps": steps, "prompts": len(rows)}))


if __name__ == "__main__":
    main()
