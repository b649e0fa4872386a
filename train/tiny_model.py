"""The `tiny` model: a Llama-architecture decoder with block heads, trained jointly.

Shapes: B rows, T tokens, D width, N chosen positions, n lattice rows (heads 2..n+1). The block
heads use the parametrisation of heads.safetensors (see models/README.md) and, as in Stern et
al. 2018, the output embedding of the base, which is also its input embedding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class TinyConfig:
    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 384
    vocab: int = 2048
    context: int = 1024
    rope_theta: float = 10000.0
    eps: float = 1e-5
    taps: tuple = (1,)
    lattice_rows: int = 7
    head_width: int = 256

    @property
    def head_dim(self):
        return self.width // self.heads


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        kv = c.kv_heads * c.head_dim
        self.c = c
        self.attn_norm = nn.Parameter(torch.ones(c.width))
        self.ffn_norm = nn.Parameter(torch.ones(c.width))
        self.qkv = nn.Linear(c.width, c.width + 2 * kv, bias=False)
        self.output = nn.Linear(c.width, c.width, bias=False)
        self.gate_up = nn.Linear(c.width, 2 * c.ffn, bias=False)
        self.down = nn.Linear(c.ffn, c.width, bias=False)

    def forward(self, x, cos, sin):
        c, (B, T, _) = self.c, x.shape
        kv = c.kv_heads * c.head_dim
        q, k, v = self.qkv(F.rms_norm(x, (c.width,), self.attn_norm, c.eps)).split([c.width, kv, kv], -1)
        q, k, v = (y.view(B, T, -1, c.head_dim).transpose(1, 2) for y in (q, k, v))
        q, k = _rope(q, cos, sin), _rope(k, cos, sin)
        group = c.heads // c.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(a.transpose(1, 2).reshape(B, T, c.width))
        gate, up = self.gate_up(F.rms_norm(x, (c.width,), self.ffn_norm, c.eps)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def _rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Tiny(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embedding = nn.Embedding(c.vocab, c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.final_norm = nn.Parameter(torch.ones(c.width))
        inputs = (len(c.taps) + 2) * c.width
        self.in_norm = nn.Parameter(torch.ones(inputs))
        self.trunk = nn.Linear(inputs, c.head_width, bias=False)
        self.lattice = nn.ModuleList(nn.Linear(c.head_width, c.width) for _ in range(c.lattice_rows))
        inv = c.rope_theta ** (-torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        angle = torch.outer(torch.arange(c.context).float(), inv)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 if p is self.embedding.weight else p.shape[1] ** -0.5)
        for b in self.blocks:  # residual branches start small
            nn.init.normal_(b.output.weight, std=0.02)
            nn.init.normal_(b.down.weight, std=0.02)
        for head in self.lattice:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, tokens):
        """tokens [B, T] -> hidden [B, T, F*D]: the taps, then the state after the final norm."""
        c, T = self.c, tokens.shape[1]
        x, kept = self.embedding(tokens), []
        for i, block in enumerate(self.blocks):
            x = block(x, self.cos[:T], self.sin[:T])
            if i in c.taps:
                kept.append(x)
        return torch.cat([*kept, F.rms_norm(x, (c.width,), self.final_norm, c.eps)], -1)

    def logits(self, states):
        return F.linear(states, self.embedding.weight)

    def base_logits(self, hidden):
        return self.logits(hidden[..., -self.c.width :])

    def draft_states(self, hidden, bonus):
        """hidden [N, F*D] and the token that followed, [N] -> states [N, n, D] of heads 2..n+1."""
        c = self.c
        features = torch.cat([hidden, self.embedding(bonus)], -1).unflatten(-1, (-1, c.width))
        z = F.rms_norm(features, (c.width,), eps=c.eps).flatten(-2) * self.in_norm
        u = F.silu(self.trunk(z))
        return hidden[:, None, -c.width :] + torch.stack([head(u) for head in self.lattice], 1)
