"""Small random models of every architecture in models/architectures, with what they should compute.

  python train/small_models.py --out test/models/small [--only qwen3]

Per model NAME.gguf (matrices F16, vectors F32, tensors laid out as llama.cpp's converter does) and in NAME.json, from
`transformers` in float32 on the same weights: the logits of some positions of a text, and a greedy continuation with
the lead of each chosen token over the next one. Everything is seeded.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import tokenizers
import torch
import transformers as tf

TOKENS = 288
CONTEXT = 128
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = ["the cat sat on the mat and the dog ran after it", "there is nothing more to say than that", "one and two"]
PROMPT, CONTINUED, SHOWN = 24, 32, (0, 7, 23)

plain = dict(
    vocab_size=TOKENS,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=CONTEXT,
    pad_token_id=3,
    bos_token_id=1,
    eos_token_id=2,
    attn_implementation="eager",
)
rope = lambda theta, **more: dict(rope_parameters=dict(rope_type="default", rope_theta=theta) | more)
gemma = dict(head_dim=16, query_pre_attn_scalar=16, sliding_window=8, tie_word_embeddings=True)
MODELS = {
    "llama": ("LLAMA", tf.LlamaConfig(**plain, tie_word_embeddings=False, **rope(10000.0))),
    # Frequencies scaled each by its own factor, as of Llama 3.1.
    "llama3": ("LLAMA", tf.LlamaConfig(**plain, tie_word_embeddings=True, **rope(
        500000.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32,
    ))),
    "mistral": ("LLAMA", tf.MistralConfig(**plain, sliding_window=8, **rope(10000.0))),
    "qwen2": ("QWEN2", tf.Qwen2Config(**plain, tie_word_embeddings=True, **rope(1e6))),
    "qwen3": ("QWEN3", tf.Qwen3Config(**plain, head_dim=16, tie_word_embeddings=True, **rope(1e6))),
    "smollm3": ("SMOLLM3", tf.SmolLM3Config(
        **plain | dict(num_hidden_layers=4), tie_word_embeddings=True, **rope(5e6),
    )),
    "gemma2": ("GEMMA2", tf.Gemma2Config(
        **plain, **gemma, attn_logit_softcapping=5.0, final_logit_softcapping=10.0, **rope(10000.0),
    )),
    "gemma3": ("GEMMA3", tf.Gemma3TextConfig(
        **plain | dict(num_hidden_layers=6), **gemma, rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            full_attention=dict(rope_type="linear", rope_theta=1e6, factor=8.0),
        ),
    )),
    "phi3": ("PHI3", tf.Phi3Config(**plain, sliding_window=None, **rope(10000.0))),
    "gemma": ("GEMMA", tf.GemmaConfig(**plain, head_dim=16, tie_word_embeddings=True, **rope(10000.0))),
}


def random_model(config, seed):
    """Weights that float16 holds exactly, so large that attention and choices are sharp."""
    torch.manual_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for name, p in model.named_parameters():
        if name.endswith("norm.weight"):
            at = 0.0 if "gemma" in config.model_type else 1.0
            p.data = at + 0.5 * (torch.rand_like(p) - 0.5)
        elif p.dim() == 1:
            p.data = torch.randn_like(p)
        else:
            scale = 1.0 if "embed" in name else 1.5 / p.shape[1] ** 0.5
            p.data = (scale * torch.randn_like(p)).half().float()
    return model


def bpe():
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=CONTROL, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    file = json.loads(tokenizer.to_str())["model"]
    return list(file["vocab"]), [" ".join(pair) for pair in file["merges"]]


def add_bpe(writer, pre):
    tokens, merges = bpe()
    kinds = [gguf.TokenType.CONTROL if t in CONTROL else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT)


def add_spm(writer):
    """Bytes, then pieces that join up from the left, likelier ones first."""
    pieces = ["\u2581", *"etaonhdsrm", "th", "the", "\u2581the", "an", "and", "\u2581and", "at", "on", "\u2581t", "\u2581a",
              "er", "re", "ha", "hat", "\u2581s", "no", "to", "\u2581m"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))] + pieces[: TOKENS - 259]
    kind = gguf.TokenType
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256 + [kind.NORMAL] * (TOKENS - 259)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(TOKENS - 259)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)


def interleaved(w, heads):
    """Half-split rotary rows in the order llama.cpp's converter gives them for some architectures."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def llama3_factors(config):
    """As llama.cpp's converter computes rope_freqs.weight."""
    p = config.rope_parameters
    dim = config.hidden_size // config.num_attention_heads
    longest = p["original_max_position_embeddings"] / p["low_freq_factor"]
    shortest = p["original_max_position_embeddings"] / p["high_freq_factor"]
    for i in range(0, dim, 2):
        wave = 2 * np.pi * p["rope_theta"] ** (i / dim)
        smooth = (p["original_max_position_embeddings"] / wave - p["low_freq_factor"]) / (
            p["high_freq_factor"] - p["low_freq_factor"]
        )
        if wave < shortest:
            yield 1.0
        elif wave > longest:
            yield p["factor"]
        else:
            yield 1 / ((1 - smooth) / p["factor"] + smooth)


def write(path, kind, config, model, matrices):
    arch = gguf.MODEL_ARCH[kind]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    # Of a file named after Phi-3 llama.cpp asks for tokens that only the published ones have.
    writer.add_name(path.stem.replace("phi3", "ph-3"))
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(TOKENS)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    p = config.rope_parameters
    if "full_attention" in p:
        p = p["full_attention"]
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(p["factor"])
    writer.add_rope_freq_base(p["rope_theta"])
    if p["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", np.array([*llama3_factors(config)], np.float32))
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if getattr(config, "attn_logit_softcapping", None):
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if config.model_type in ("mistral", "gemma", "gemma2", "gemma3_text", "phi3"):
        add_spm(writer)
    else:
        add_bpe(writer, {"llama": "llama-bpe", "smollm3": "smollm"}.get(config.model_type, config.model_type)
                .replace("qwen3", "qwen2"))
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, p in model.named_parameters():
        base, suffix = name.rsplit(".", 1)
        values = p.detach().numpy()
        if kind in ("LLAMA", "SMOLLM3") and base.endswith(("q_proj", "k_proj")):
            values = interleaved(values, config.num_attention_heads if base.endswith("q_proj") else config.num_key_value_heads)
        if "gemma" in config.model_type and base.endswith("norm"):
            values = values + 1
        writer.add_tensor(f"{names.get_name(base)}.{suffix}", values.astype(matrices if p.dim() > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.inference_mode()
def expected(model, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 259, (PROMPT,), generator=generator).tolist()
    logits = model(torch.tensor([tokens])).logits[0]
    shown = [[round(v, 4) for v in logits[at].tolist()] for at in SHOWN]
    greedy, lead = [], []
    for _ in range(CONTINUED):
        last = model(torch.tensor([tokens + greedy]), use_cache=False).logits[0, -1]
        best = last.topk(2).values
        lead.append(round(float(best[0] - best[1]), 4))
        greedy.append(int(last.argmax()))
    return dict(prompt=tokens, shown=list(SHOWN), logits=shown, greedy=greedy, lead=lead)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--only", choices=MODELS)
    a.add_argument("--f32", action="store_true", help="matrices in float32, not float16")
    args = a.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    made_with = f"transformers {tf.__version__}, torch {torch.__version__}, gguf"
    for seed, (name, (kind, config)) in enumerate(MODELS.items()):
        if args.only not in (None, name):
            continue
        model = random_model(config, seed)
        path = args.out / f"{name}.gguf"
        write(path, kind, config, model, np.float32 if args.f32 else np.float16)
        text = json.dumps(dict(made_with=made_with, **expected(model, seed)), separators=(",", ":"))
        path.with_suffix(".json").write_text(text + "\n")
        print(name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
