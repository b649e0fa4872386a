"""Strings that tokenizers disagree about: whitespace, digits, scripts, emoji, code, special tokens."""

import random

WORDS = [
    "the", "The", " of", "don't", "I'll", "they've", "O'Brien's", "naïve", "café", "e-mail", "state-of-the-art",
    "3.14159", "1,000,000", "2024-11-23", "0x1F4A9", "10^9", "№5", "½", "x²", "¿Qué?", "Größe", "Ærø", "żółć",
    "Привет, мир!", "Ελληνικά", "שלום", "مرحبا بالعالم", "नमस्ते दुनिया", "こんにちは世界", "你好，世界。", "안녕하세요", "ไทย",
    "😀", "👍🏽", "👨‍👩‍👧‍👦", "🇫🇷", "❤️", "∑∞√≠", "→⇒", "“quoted”", "‘single’", "…", "—", "a\u0301", "\u200b", "\ufeff", "\u0085", "\u00a0",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start", "|>", "<repo_name>",
]  # fmt: skip
SPACES = ["", " ", "  ", "   ", "\n", "\n\n", "\t", "\t\t", " \n", "\r\n", "\u3000", "        "]
LINES = [
    "",
    " ",
    "\n",
    "def f(x: int) -> str:\n    return f\"{x:>10}\\n\"  # comment\n",
    "for (let i = 0; i < n; i++) {\n\tsum += a[i] ?? 0;\n}",
    "SELECT * FROM t WHERE a='b' AND c<>'d';",
    "<div class=\"a\">&nbsp;</div>",
    "{\"a\": [1, 2.5e-3, null, true]}",
    "https://example.com/a?b=c&d=%20#e",
    "\\frac{a}{b} $x_1^2$ \\alpha",
    "#include <stdio.h>\nint main(void) { return 0; }",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ALLCAPS lower MixedCase snake_case kebab-case camelCase",
    "!!!???...,,,;;;:::",
    "'s 't 're 've 'm 'll 'd 'S 'T",
    "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n",
    "0123456789 12345 1 22 333",
    "\u0000\u0001\u007f\u0080\u00ff",
    "ﬁﬂ ＡＢＣ １２３ ㎏",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈",
]


def texts(count=300, seed=5):
    """LINES, then mixtures of words and spaces."""
    rng = random.Random(seed)
    mixed = []
    for _ in range(count - len(LINES)):
        parts = [rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randint(1, 8))]
        mixed.append(rng.choice(SPACES) + "".join(parts))
    return LINES + mixed
