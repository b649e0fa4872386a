"""Turns a checkpoint of train/tiny.py into models/tiny and checks what was written.

  python train/tiny_export.py --cache .cache/tiny --out models/tiny

tiny.gguf: Llama architecture, matrices F16 and norms F32, query and key rows in llama.cpp's
order, so that any reader of Llama GGUFs takes it. heads.safetensors: see models/README.md.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from base import Base
from tiny_data import END_OF_TEXT, IM_END, IM_START, SPECIAL, SYSTEM
from tiny_model import Tiny

# The chat template in the GGUF metadata of SmolLM2-135M-Instruct (Apache-2.0), byte for byte.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" + SYSTEM + "<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def load(path):
    state = torch.load(path, weights_only=False)
    model = Tiny(state["config"])
    model.load_state_dict(state["model"])
    return model.eval()


def _interleave(w, heads):
    """Half-split rotary rows, as trained, to the order llama.cpp keeps them in."""
    rows, cols = w.shape
    return w.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def tensors(model):
    """(GGUF name, array) of the base model: matrices float16, vectors float32."""
    c, kv = model.c, model.c.kv_heads * model.c.head_dim
    yield "token_embd.weight", model.embedding.weight
    yield "output_norm.weight", model.final_norm
    for i, b in enumerate(model.blocks):
        q, k, v = b.qkv.weight.split([c.width, kv, kv])
        gate, up = b.gate_up.weight.chunk(2)
        parts = dict(
            attn_norm=b.attn_norm,
            ffn_norm=b.ffn_norm,
            attn_q=_interleave(q, c.heads),
            attn_k=_interleave(k, c.kv_heads),
            attn_v=v,
            attn_output=b.output.weight,
            ffn_gate=gate,
            ffn_up=up,
            ffn_down=b.down.weight,
        )
        for name, w in parts.items():
            yield f"blk.{i}.{name}.weight", w


def write_gguf(path, model, tokenizer):
    c = model.c
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name("foredraft tiny")
    w.add_license("apache-2.0")
    w.add_languages(["en"])
    w.add_block_count(c.layers)
    w.add_context_length(c.context)
    w.add_embedding_length(c.width)
    w.add_feed_forward_length(c.ffn)
    w.add_head_count(c.heads)
    w.add_head_count_kv(c.kv_heads)
    w.add_rope_freq_base(c.rope_theta)
    w.add_rope_dimension_count(c.head_dim)
    w.add_layer_norm_rms_eps(c.eps)
    w.add_vocab_size(c.vocab)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    inner = json.loads(tokenizer.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in inner["merges"]]
    normal, special = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(sorted(inner["vocab"], key=inner["vocab"].get))
    w.add_token_types([special if i < len(SPECIAL) else normal for i in range(c.vocab)])
    w.add_token_merges(merges)
    w.add_bos_token_id(IM_START)
    w.add_eos_token_id(IM_END)
    w.add_unk_token_id(END_OF_TEXT)
    w.add_pad_token_id(IM_END)
    w.add_add_space_prefix(False)
    w.add_add_bos_token(False)
    w.add_chat_template(CHAT_TEMPLATE)
    for name, value in tensors(model):
        array = value.detach().float().numpy()
        w.add_tensor(name, array.astype(np.float16 if array.ndim == 2 else np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_heads(path, model):
    c = model.c

    def half(p):
        return p.detach().to(torch.float16).contiguous()

    out = {
        "in_norm.weight": half(model.in_norm),
        "trunk.weight": half(model.trunk.weight),
        "draft_ids": torch.arange(c.vocab, dtype=torch.int32),
    }
    for j, head in enumerate(model.lattice):
        out[f"head.{j}.weight"], out[f"head.{j}.bias"] = half(head.weight), half(head.bias)
    meta = {"taps": ",".join(map(str, c.taps)), "heads": str(c.lattice_rows), "draft_vocab": str(c.vocab)}
    save_file(out, str(path), metadata=meta)


@torch.inference_mode()
def compare(path, model, tokens):
    """Largest difference of log-probabilities between the file, read by train/base.py, and the
    trained model, over `tokens` [T]."""
    base, T = Base(str(path), torch.float32), len(tokens)
    mask = torch.full((T, T), -1e9).triu(1)[None, None]
    hidden, _ = base.forward(tokens[None], torch.arange(T)[None], base.new_cache(1, T), 0, mask)
    read = base.logits(hidden)[0].log_softmax(-1)
    trained = model.base_logits(model(tokens[None]))[0].log_softmax(-1)
    return (read - trained).abs().max().item(), (read.argmax(-1) == trained.argmax(-1)).float().mean().item()


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--cache", required=True)
    a.add_argument("--out", required=True)
    args = a.parse_args()
    cache, out = Path(args.cache), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    model = load(cache / "checkpoint.pt")
    write_gguf(out / "tiny.gguf", model, Tokenizer.from_file(str(cache / "tokenizer.json")))
    write_heads(out / "heads.safetensors", model)
    tokens = torch.from_numpy(np.load(cache / "stream.npz")["valid_tokens"][:512].astype(np.int64))
    worst, same = compare(out / "tiny.gguf", model, tokens)
    print(f"read back: log-probabilities differ by at most {worst:.4f}, same argmax at {same:.1%}")
    if worst > 0.1:
        raise SystemExit("the file does not hold the trained model")


if __name__ == "__main__":
    main()
