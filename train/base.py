"""The frozen base model in plain PyTorch: a Llama-architecture decoder read from GGUF.

Shapes: B sequences, M new tokens each, T cached tokens, D hidden width. Weights and
activations are bfloat16 (the fast matrix path of AVX512-BF16 CPUs and of GPUs).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader, dequantize


@dataclass
class Config:
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    rope_theta: float
    eps: float


def _field(reader, key):
    return reader.get_field(key).contents()


def _unpermute(w, heads):
    """Undo llama.cpp's interleaving of rotary rows, back to the half-split order of Llama."""
    rows, cols = w.shape
    return w.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


class Base:
    """Batched forward pass with a static key/value cache; left-padded prompts."""

    def __init__(self, path, dtype=torch.bfloat16, device="cpu"):
        reader = GGUFReader(path)
        width = _field(reader, "llama.embedding_length")
        heads = _field(reader, "llama.attention.head_count")
        self.config = Config(
            layers=_field(reader, "llama.block_count"),
            width=width,
            heads=heads,
            kv_heads=_field(reader, "llama.attention.head_count_kv"),
            head_dim=width // heads,
            vocab=_field(reader, "llama.vocab_size"),
            rope_theta=_field(reader, "llama.rope.freq_base"),
            eps=_field(reader, "llama.attention.layer_norm_rms_epsilon"),
        )
        c = self.config
        raw = {t.name: np.array(dequantize(t.data, t.tensor_type)) for t in reader.tensors}

        def get(name):
            return torch.from_numpy(raw[name]).to(device, dtype)

        self.embedding = get("token_embd.weight")
        self.final_norm = get("output_norm.weight")
        self.packed = device == "cpu" and dtype == torch.bfloat16
        self.blocks = []
        for i in range(c.layers):
            p = f"blk.{i}."
            raw[p + "attn_q.weight"] = _unpermute(raw[p + "attn_q.weight"], c.heads)
            raw[p + "attn_k.weight"] = _unpermute(raw[p + "attn_k.weight"], c.kv_heads)
            qkv = np.concatenate([raw[p + f"attn_{n}.weight"] for n in "qkv"])
            up = np.concatenate([raw[p + "ffn_gate.weight"], raw[p + "ffn_up.weight"]])
            self.blocks.append(
                dict(
                    n1=get(p + "attn_norm.weight"),
                    n2=get(p + "ffn_norm.weight"),
                    qkv=self._pack(torch.from_numpy(qkv).to(device, dtype)),
                    o=self._pack(get(p + "attn_output.weight")),
                    up=self._pack(torch.from_numpy(up).to(device, dtype)),
                    down=self._pack(get(p + "ffn_down.weight")),
                )
            )
        inv = c.rope_theta ** (-torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        angle = torch.outer(torch.arange(8192).float(), inv)
        self.cos = torch.cat([angle.cos()] * 2, -1).to(device, dtype)
        self.sin = torch.cat([angle.sin()] * 2, -1).to(device, dtype)
        self.dtype, self.device = dtype, device

    def _pack(self, weight):
        """Laid out once as oneDNN's kernels want it, which linear would otherwise do in every call (a fifth of a step)."""
        return torch.ops.mkldnn._reorder_linear_weight(weight, 128) if self.packed else weight

    def _linear(self, x, weight):
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return F.linear(x, weight)

    def new_cache(self, batch, capacity):
        """(keys [layers, B, kv_heads, head_dim, capacity], values [layers, B, kv_heads, capacity, head_dim]).

        Keys lie transposed: one query row against them is then a product the CPU's matrix kernels do at
        memory speed, half the time of scaled_dot_product_attention.
        """
        c = self.config
        rows = (c.layers, batch, c.kv_heads)
        keys = torch.zeros((*rows, c.head_dim, capacity), dtype=self.dtype, device=self.device)
        return keys, torch.zeros((*rows, capacity, c.head_dim), dtype=self.dtype, device=self.device)

    def _rope(self, x, positions):
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    @torch.inference_mode()
    def forward(self, tokens, positions, cache, start, mask, taps=()):
        """One pass over `tokens` [B, M], written to cache slots start..start+M.

        positions [B, M]; mask [B, 1, M, start+M] additive. Returns (hidden [B, M, D] after the
        final norm, taps: list of [B, M, D] residual streams after the named blocks).
        """
        c = self.config
        B, M = tokens.shape
        end, tapped = start + M, []
        group = c.heads // c.kv_heads
        x = self.embedding[tokens]
        for i, w in enumerate(self.blocks):
            h = F.rms_norm(x, (c.width,), w["n1"], c.eps)
            q, k, v = self._linear(h, w["qkv"]).split(
                [c.width, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim], -1
            )
            q = self._rope(q.view(B, M, c.heads, c.head_dim).transpose(1, 2), positions)
            k = self._rope(k.view(B, M, c.kv_heads, c.head_dim).transpose(1, 2), positions)
            v = v.view(B, M, c.kv_heads, c.head_dim).transpose(1, 2)
            cache[0][i, ..., start:end] = k.transpose(-1, -2)
            cache[1][i, :, :, start:end] = v
            keys, values = cache[0][i, ..., :end], cache[1][i, :, :, :end]
            if M == 1:  # the query heads of one group read the same keys: no copy of the cache
                scores = (q.reshape(B, c.kv_heads, group, c.head_dim) @ keys).float() * c.head_dim**-0.5
                a = torch.softmax(scores + mask, -1).to(values.dtype) @ values
            else:
                past = keys.transpose(-1, -2).repeat_interleave(group, 1)
                a = F.scaled_dot_product_attention(q, past, values.repeat_interleave(group, 1), attn_mask=mask)
            a = a.reshape(B, c.heads, M, c.head_dim).transpose(1, 2).reshape(B, M, c.width)
            x = x + self._linear(a, w["o"])
            gate, up = self._linear(F.rms_norm(x, (c.width,), w["n2"], c.eps), w["up"]).chunk(2, -1)
            x = x + self._linear(F.silu(gate) * up, w["down"])
            if i in taps:
                tapped.append(x)
        return F.rms_norm(x, (c.width,), self.final_norm, c.eps), tapped

    @torch.inference_mode()
    def logits(self, hidden):
        return F.linear(hidden, self.embedding)
