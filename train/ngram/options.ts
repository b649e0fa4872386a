import { parseArgs } from "node:util";
import { LIMITS } from "../../shared/limits.ts";
import { MAX_TRAINED_ORDER } from "./counts.ts";
import { parseSplit, type Split } from "./token-file.ts";

/** A mistake in the command line. */
export class UsageError extends Error {}

const INPUTS = `
INPUT     .txt (documents separated by two blank lines) or .jsonl (each string of prompt, response, text and turns
          is a document), both also .xz; or .u16 or .u32, token ids made by train/ngram/token_ids.py, which is faster.
R:M       the documents whose number within their file is R modulo M
BYTES     a number, with K or M for KiB or MiB; or none`;

const HELP = {
  train: `train --tokenizer FILE [--out FILE.fdlm] [options] INPUT[@WEIGHT]...
  Trains a modified Kneser-Ney model. INPUT@3 counts an input's n-grams three times.
  --tokenizer FILE   tokenizer.json whose ids the model counts
  --out FILE.fdlm    the pack; without it nothing is written and --hold-out is measured on the unrounded model
  --order N          2 to ${MAX_TRAINED_ORDER} (4)
  --prune A,B,..     per order, n-grams occurring at most this often are left out (0,0,1,1)
  --max-bytes BYTES  entropy pruning brings the pack under this size (${LIMITS.packBytes >> 20}M)
  --hold-out R:M     documents not trained on; their perplexity is printed and put into FILE.json`,
  prune: `prune --max-bytes BYTES --out FILE.fdlm PACK
  A smaller pack by entropy pruning, without the text; training to that size gives a better one.`,
  info: `info PACK
  Order, sizes and tokenizer of a pack.`,
  perplexity: `perplexity PACK --tokenizer FILE [options] INPUT...
  --order N          use shorter histories than the pack has
  --only R:M         only these documents`,
  "import-arpa": `import-arpa --tokenizer FILE --out FILE.fdlm FILE.arpa
  A pack from an ARPA file whose words are decimal token ids.`,
  "export-arpa": `export-arpa --out FILE.arpa PACK
  Words are decimal token ids, for KenLM, SRILM or OpenGrm.`,
} as const;

export type CommandName = keyof typeof HELP;

const TAKES: Record<CommandName, readonly string[]> = {
  train: ["tokenizer", "out", "order", "prune", "max-bytes", "hold-out"],
  prune: ["out", "max-bytes"],
  info: [],
  perplexity: ["tokenizer", "order", "only"],
  "import-arpa": ["tokenizer", "out"],
  "export-arpa": ["out"],
};

const commands = Object.keys(HELP) as CommandName[];

/** Help for one command, or for all. */
export function helpText(command: CommandName | null): string {
  const texts = (command === null ? commands : [command]).map((name) => HELP[name]);
  return `usage: npm run ngram -- COMMAND ...\n\n${texts.join("\n\n")}\n${INPUTS}\n`;
}

export interface Options {
  readonly command: CommandName;
  readonly inputs: readonly string[];
  readonly help: boolean;
  readonly tokenizer: string | null;
  readonly out: string | null;
  readonly order: number | null;
  readonly prune: readonly number[] | null;
  /** Infinity: none */
  readonly maxBytes: number | null;
  readonly split: Split | null;
}

/** null: help on everything was asked for. Throws UsageError naming the option at fault. */
export function parseOptions(argv: readonly string[]): Options | null {
  const { values, positionals } = parse(argv);
  const [name, ...inputs] = positionals;
  if (name === undefined) {
    if (values.help) return null;
    throw new UsageError("no command");
  }
  const command = commands.find((known) => known === name);
  if (!command) throw new UsageError(`unknown command ${name}`);
  for (const option of Object.keys(values)) {
    if (option !== "help" && !TAKES[command].includes(option)) throw new UsageError(`${command} takes no --${option}`);
  }
  const split = values["hold-out"] ?? values.only;
  return {
    command,
    inputs,
    help: values.help ?? false,
    tokenizer: values.tokenizer ?? null,
    out: values.out ?? null,
    order: values.order === undefined ? null : wholeNumber("--order", values.order),
    prune: values.prune?.split(",").map((count) => wholeNumber("--prune", count)) ?? null,
    maxBytes: values["max-bytes"] === undefined ? null : parseBytes(values["max-bytes"]),
    split: split === undefined ? null : readSplit(split, values.only === undefined ? "without" : "only"),
  };
}

function parse(argv: readonly string[]) {
  const text = { type: "string" } as const;
  const options = { tokenizer: text, out: text, order: text, prune: text, "max-bytes": text, "hold-out": text };
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { ...options, only: text, help: { type: "boolean", short: "h" } },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${option}: ${text} is not a whole number`);
  return Number(text);
}

function parseBytes(text: string): number {
  if (text === "none") return Infinity;
  const match = /^(\d{1,12})([KM]?)$/.exec(text);
  if (!match) throw new UsageError(`--max-bytes: ${text} is not a size, e.g. 2M`);
  return Number(match[1]) * (match[2] === "M" ? 1 << 20 : match[2] === "K" ? 1 << 10 : 1);
}

function readSplit(text: string, part: Split["part"]): Split {
  try {
    return parseSplit(text, part);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Throws UsageError where `value` is missing. */
export function needed<T>(value: T | null, option: string): T {
  if (value === null) throw new UsageError(`--${option} is needed`);
  return value;
}

/** Thresholds of count pruning for `order`, lmplz's rules: the first is 0, none is below the one before. */
export function pruneThresholds(given: readonly number[] | null, order: number): readonly number[] {
  const thresholds = given ?? Array.from({ length: order }, (_, n) => (n < 2 ? 0 : 1));
  if (thresholds.length !== order || thresholds[0] !== 0 || thresholds.some((t, n) => t < (thresholds[n - 1] ?? 0)))
    throw new UsageError(`--prune ${thresholds.join(",")}: ${order} counts, the first 0, none below the one before`);
  return thresholds;
}
