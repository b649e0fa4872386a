"""What draft heads need of a frozen base: its embeddings, of any architecture's GGUF file."""

from dataclasses import dataclass

import numpy as np
import torch
from gguf import GGUFReader, dequantize


@dataclass
class Sizes:
    width: int
    vocab: int


class Embeddings:
    """embedding [V, D] of inputs and output [V, D], which may be the same one; bfloat16."""

    def __init__(self, path):
        tensors = {t.name: t for t in GGUFReader(path).tensors if t.name in ("token_embd.weight", "output.weight")}
        read = lambda name: torch.from_numpy(np.array(dequantize(tensors[name].data, tensors[name].tensor_type))).bfloat16()
        self.embedding = read("token_embd.weight")
        self.output = read("output.weight") if "output.weight" in tensors else self.embedding
        self.config = Sizes(width=self.embedding.shape[1], vocab=self.embedding.shape[0])
