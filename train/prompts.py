"""The prompt mixture for self-distillation, from the directory that holds train/ and corpus/.

Nothing from eval/ is read. Each prompt is a list of token ids, already in the chat template
(or raw, for plain continuation).
"""

import json
import lzma
import random
from pathlib import Path

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

# file -> (share of all prompts, longest prompt in tokens, instruction put before it)
CHAT = {
    "instruct": (0.20, 320),
    "instruct_oasst_eval": (0.12, 256),
    "prompts_only": (0.03, 256),
    "gsm8k_train": (0.13, 256),
    "qa": (0.10, 256),
    "t0_qa": (0.09, 360),
    "summ": (0.07, 480),
    "summ_wiki": (0.06, 480),
    "dialogue": (0.04, 320),
}
# The base answers these poorly, but it is its own text that the heads must foresee.
TRANSLATE = (0.06, 160)
PLAIN = {
    "wikipedia_en_good_featured": (0.03, 72),
    "web_c4_sample": (0.02, 72),
    "fiction_public_domain": (0.03, 96),
    "code_permissive": (0.03, 128),
    "textbooks_openstax_ccby": (0.01, 72),
}
SUMMARY_ASKS = (
    "Summarize: ",
    "Summarize this article in three or four sentences.\n\n",
    "Please give a brief summary of the text below.\n\n",
    "Summarize this conversation in one or two sentences.\n\n",
)


def _rows(path):
    with lzma.open(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def chat(turns):
    text = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    for i, turn in enumerate(turns):
        text += f"<|im_start|>{'assistant' if i % 2 else 'user'}\n{turn}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


def _turns(row, rng):
    if "turns" not in row:
        return [row["prompt"]]
    turns = [t["text"] for t in row["turns"]]
    if rng.random() < 0.5:
        lines = "\n".join(f"{t['role']}: {t['text']}" for t in row["turns"])
        return [SUMMARY_ASKS[3] + lines]
    cut = 1 + 2 * rng.randrange(min(3, (len(turns) + 1) // 2))
    return turns[:cut]


def mixture(root, tokenizer, count, seed, only=(), longest_of_all=480):
    """`count` prompts as (task, token ids), shuffled; the same for the same seed.

    `only` keeps the named tasks, in their proportions to one another; `longest_of_all` bounds every prompt, in tokens.
    """
    root, rng, out = Path(root), random.Random(seed), []
    shares = {name: share for name, (share, _) in {**CHAT, **PLAIN, "translate": TRANSLATE}.items()}
    if only:
        total = sum(shares[name] for name in only)
        shares = {name: shares[name] / total if name in only else 0 for name in shares}

    def encode(text, longest):
        longest = min(longest, longest_of_all)
        ids = tokenizer.encode(text).ids
        if len(ids) > longest:  # keep the template's two ends, drop the middle
            ids = ids[: longest - 40] + ids[-40:]
        return ids

    for name, (_, longest) in CHAT.items():
        rows = _rows(root / "train" / f"{name}.jsonl.xz")
        for row in rng.choices(rows, k=round(count * shares[name])):
            turns = _turns(row, rng)
            if name == "summ_wiki" and rng.random() < 0.5:
                turns = [rng.choice(SUMMARY_ASKS) + turns[0].split("\n\n", 1)[-1]]
            out.append((name, encode(chat(turns), longest)))
    for name, (_, longest) in PLAIN.items():
        with lzma.open(root / "corpus" / f"{name}.txt.xz", "rt", encoding="utf-8") as f:
            text = f.read(40_000_000)
        for _ in range(round(count * shares[name])):
            at = rng.randrange(len(text) - 2000)
            at = text.find("\n", at, at + 1500) + 1 or at
            ids = tokenizer.encode(text[at : at + 6 * longest]).ids
            out.append((name, ids[: rng.randrange(8, longest)]))
    sentences = [r["response"] for r in _rows(root / "train" / "qa.jsonl.xz") if 40 < len(r["response"]) < 300]
    for _ in range(round(count * shares["translate"])):
        language = rng.choice(["French", "German", "Spanish", "English", "Italian"])
        ask = f"Translate to {language}: {rng.choice(sentences)}"
        out.append(("translate", encode(chat([ask]), TRANSLATE[1])))
    rng.shuffle(out)
    return [(task, ids) for task, ids in out if ids]
