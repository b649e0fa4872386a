"""The local rescorer's language model: one recurrent layer between the base's shared embeddings.

D is the base's width, H the state's, E its token embedding (frozen, not part of the file):
  x      = E[token] / rms(E[token])
  r, z   = sigmoid(input x + hidden h)         the reset and update gates
  n      = tanh(input_n x + r * (hidden_n h))  biases left out here
  h'     = (1 - z) n + z h
  logits = E (output h' + bias)
A gated recurrent unit (Cho et al. 2014), with its second bias as in cuDNN's form.
"""

import math
import os

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

EPS = 1e-5


class Recurrent(torch.nn.Module):
    def __init__(self, width, size, dtype=torch.bfloat16):
        """Products are taken in `dtype`, bfloat16 being the fast matrix path; all else is float32."""
        super().__init__()
        self.width, self.size, self.dtype = width, size, dtype

        def matrix(rows, columns):
            return torch.nn.Parameter(torch.randn(rows, columns) / math.sqrt(columns))

        self.input, self.input_bias = matrix(3 * size, width), torch.nn.Parameter(torch.zeros(3 * size))
        self.hidden, self.hidden_bias = matrix(3 * size, size), torch.nn.Parameter(torch.zeros(3 * size))
        self.output, self.output_bias = matrix(width, size), torch.nn.Parameter(torch.zeros(width))

    def gates(self, embedded):
        """embedded [..., D], rows of E -> the input's share of the gates [..., 3H]."""
        x = F.rms_norm(embedded.float(), (self.width,), eps=EPS)
        return self._times(x, self.input) + self.input_bias

    def advance(self, gates, h):
        """One token: gates [B, 3H], h [B, H] -> h' [B, H]."""
        size = self.size
        inner = self._times(h, self.hidden) + self.hidden_bias
        r, z = torch.sigmoid(gates[:, : 2 * size] + inner[:, : 2 * size]).chunk(2, -1)
        n = torch.tanh(gates[:, 2 * size :] + r * inner[:, 2 * size :])
        return n + z * (h - n)

    def states(self, embedded, h, fresh=None):
        """embedded [B, T, D] -> the state after every token [B, T, H]; fresh [B, T]: 0 forgets h before that token."""
        gates, out = self.gates(embedded), []
        for t in range(embedded.shape[1]):
            h = self.advance(gates[:, t], h if fresh is None else h * fresh[:, t, None])
            out.append(h)
        return torch.stack(out, 1)

    def out(self, h):
        """[..., H] -> [..., D], to be multiplied with rows of E."""
        return self._times(h, self.output) + self.output_bias

    def _times(self, x, w):
        return (x.to(self.dtype) @ w.to(self.dtype).T).float()


def save(path, model, meta):
    """Writes neural.safetensors (see models/README.md)."""
    tensors = {}
    for name, p in model.named_parameters():
        tensors[name.replace("_bias", ".bias") if "bias" in name else f"{name}.weight"] = p.detach().half().contiguous()
    save_file(tensors, path, metadata={"cell": "gru", **meta})
    os.chmod(path, 0o644)


def load(path, dtype=torch.bfloat16):
    with safe_open(path, "pt") as f:
        tensors = {k: f.get_tensor(k).float() for k in f.keys()}
    width, size = tensors["output.weight"].shape
    model = Recurrent(width, size, dtype)
    model.load_state_dict({k.replace(".weight", "").replace(".bias", "_bias"): v for k, v in tensors.items()})
    return model
