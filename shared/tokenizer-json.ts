/** GPT-2's split into words, numbers, runs of other characters, and white space. */
const WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

interface Step {
  readonly type?: unknown;
  readonly individual_digits?: unknown;
  readonly use_regex?: unknown;
  readonly pretokenizers?: readonly Step[];
}

/**
 * A parsed tokenizer.json in terms that @huggingface/tokenizers 0.2.0 carries out as the reference does.
 * Its own `Digits` overlooks numbers that are not decimal digits (½, ²) and its `ByteLevel` splits at
 * JavaScript's white space, which has U+FEFF and lacks U+0085. Its `Split` is right about both.
 */
export function withExactSplits<T extends object>(file: T): T {
  const step = (file as { pre_tokenizer?: Step | null }).pre_tokenizer;
  return step ? { ...file, pre_tokenizer: { type: "Sequence", pretokenizers: exact(step) } } : file;
}

function exact(step: Step): readonly object[] {
  if (step.type === "Sequence") return (step.pretokenizers ?? []).flatMap(exact);
  if (step.type === "Digits" && step.individual_digits === true) return [isolate("\\p{N}")];
  if (step.type === "ByteLevel" && step.use_regex !== false) return [isolate(WORDS), { ...step, use_regex: false }];
  return [step];
}

function isolate(regex: string): object {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}
