"""Writes the golden fixtures of test/models from reference implementations.

  python train/export_golden.py --gguf FILE --tokenizer TOKENIZER_JSON

FILE is the GGUF of models/smollm2-135m, TOKENIZER_JSON its published tokenizer. Also reads models/tiny.
Dequantised blocks come from `gguf`, logits and hidden states from `transformers` (float32) loading the
same GGUF files, token ids from `tokenizers`. Everything is seeded; the fixtures hold the versions used.
"""

import argparse
import base64
import json
from pathlib import Path

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors import safe_open

from base import Base
from golden_texts import texts
from neural_eval import rescored
from neural_model import load

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "test" / "models" / "golden"
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
]
CONTINUED = 12
TOP = 8


def save(name, value):
    path = OUT / name
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    path.write_text(text + "\n")
    print(path.relative_to(ROOT), path.stat().st_size, "bytes")


def encoded(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def blocks():
    """Two blocks of every supported type: random values quantised, or random bits where gguf cannot."""
    rng = np.random.default_rng(11)
    out = {}
    plain = (Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0)
    # Where the float16 scales lie in a block of random bits.
    scales = {Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}
    scales |= {Type.IQ4_NL: (0,), Type.IQ4_XS: (0,)}
    for kind in (*plain, *scales):
        size, width = gguf.GGML_QUANT_SIZES[kind]
        if kind in scales:
            data = rng.integers(0, 256, 2 * width, dtype=np.uint8)
            for block in range(2):
                for at in scales[kind]:
                    half = np.array([rng.uniform(0.01, 0.1)], np.float16).view(np.uint8)
                    data[block * width + at : block * width + at + 2] = half
        else:
            values = rng.normal(size=max(2 * size, 8)).astype(np.float32)
            data = gguf.quantize(values, kind).view(np.uint8)
        out[kind.name] = dict(type=int(kind), data=encoded(data), values=encoded(gguf.dequantize(data, kind)))
    return out


def reference(path):
    folder, name = str(path.parent), path.name
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return model.eval()


@torch.inference_mode()
def case(model, tokenizer, prompt, taps):
    """Greedy continuation of a prompt, and what the model says at each of its positions."""
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    start = len(ids)
    for _ in range(CONTINUED):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    out = model(torch.tensor([ids]), output_hidden_states=True)
    logits = out.logits[0]
    top = logits.topk(TOP, -1)
    gap = logits.topk(2, -1).values
    hidden = torch.cat([out.hidden_states[t + 1][0] for t in taps] + [out.hidden_states[-1][0]], -1)
    return dict(
        tokens=ids,
        prompt=start,
        argmax=logits.argmax(-1).tolist(),
        # How far the best logit is ahead: where it is small, rounding may choose another token.
        lead=[round(v, 4) for v in (gap[:, 0] - gap[:, 1]).tolist()],
        top_ids=top.indices[start - 1 :].tolist(),
        top_logits=[[round(v, 4) for v in row] for row in top.values[start - 1 :].tolist()],
        # The first values of every feature at the last position.
        hidden=[round(v, 4) for v in hidden[-1].view(len(taps) + 1, -1)[:, :16].flatten().tolist()],
    )


def golden(name, path, tokenizer):
    with safe_open(ROOT / "models" / name / "heads.safetensors", "pt") as heads:
        taps = [int(t) for t in heads.metadata()["taps"].split(",") if t]
    model = reference(path)
    cases = [case(model, tokenizer, p, taps) for p in PROMPTS]
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__}"
    save(f"{name}.logits.json", dict(made_with=made_with, taps=taps, cases=cases))


@torch.inference_mode()
def neural(name, path):
    """Local rescoring of random lattices after random tokens, in float32."""
    model = load(str(ROOT / "models" / name / "neural.safetensors"), torch.float32)
    embedding = Base(str(path), torch.float32).embedding
    rng = torch.Generator().manual_seed(5)
    cases = []
    for alpha, context in ((0.3, 1), (0.7, 12), (1.0, 40)):
        ids = torch.randint(len(embedding), (context + 1,), generator=rng)
        tokens = torch.randperm(len(embedding), generator=rng)[: 6 * 8].view(1, 6, 8)
        log_probs = (-3 * torch.rand(6, 8, generator=rng).cumsum(-1)[None]).round(decimals=4)
        # Rounded beforehand: what is left of a candidate that is mostly copied is sensitive to it.
        copied = log_probs.exp() * (1.5 * torch.rand(6, 8, generator=rng) - 0.5).clamp(0, 0.9)
        copied = (copied * 1e6).floor() / 1e6
        h = model.states(embedding[ids][None], torch.zeros(1, model.size))[:, -1]
        chosen, scores = rescored(model, embedding, h, tokens, log_probs, copied, alpha)
        cases.append(dict(
            alpha=alpha,
            committed=ids[:-1].tolist(),
            bonus=int(ids[-1]),
            tokens=tokens[0].tolist(),
            log_probs=[[round(v, 4) for v in row] for row in log_probs[0].tolist()],
            copied=[[round(v, 6) for v in row] for row in copied[0].tolist()],
            chosen=chosen[0].tolist(),
            scores=[[round(v, 4) for v in row] for row in scores[0].tolist()],
        ))
    save(f"{name}.neural.json", dict(made_with=f"torch {torch.__version__}", cases=cases))


def tokenization(name, tokenizer):
    strings = texts()
    ids = [" ".join(map(str, tokenizer.encode(t, add_special_tokens=False).ids)) for t in strings]
    save("strings.json", strings)
    save(f"{name}.tokens.json", dict(made_with=f"tokenizers {tokenizers.__version__}", ids=ids))


def tiny_tokenizer(path):
    """The tokenizer of tiny.gguf, put together by `tokenizers` from the file's metadata."""
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.get_field(f"tokenizer.ggml.{key}").contents()
    tokens, types = field("tokens"), field("token_type")
    merges = [tuple(m.split(" ")) for m in field("merges")]
    model = tokenizers.models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    out = tokenizers.Tokenizer(model)
    pre = tokenizers.pre_tokenizers
    out.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    special = [t for t, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL]
    out.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in special])
    return out


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--gguf", type=Path, required=True)
    a.add_argument("--tokenizer", required=True)
    args = a.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    save("blocks.json", dict(made_with="gguf (PyPI)", types=blocks()))
    tiny = ROOT / "models" / "tiny" / "tiny.gguf"
    for name, path, tokenizer in (
        ("smollm2-135m", args.gguf, tokenizers.Tokenizer.from_file(args.tokenizer)),
        ("tiny", tiny, tiny_tokenizer(tiny)),
    ):
        tokenization(name, tokenizer)
        golden(name, path, tokenizer)
    neural("tiny", tiny)


if __name__ == "__main__":
    main()
