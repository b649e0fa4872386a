import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import { LIMITS } from "../../shared/limits.ts";
import { loadPack, readPackHeader } from "../../shared/ngram/format.ts";
import { arpaLines, readArpa } from "./arpa.ts";
import { keepWithin, pruneTable, pruningCosts } from "./entropy-prune.ts";
import { modelHistories, tableOfPack } from "./from-pack.ts";
import { writePack } from "./pack.ts";
import { perplexityOf } from "./perplexity.ts";
import { type LoadedTokenizer, loadTokenizer, tokenFileOf } from "./text-source.ts";
import { parseSplit, readTokenFile, type Split, type TokenSource } from "./token-file.ts";
import { trainTable } from "./train.ts";

const USAGE = `usage: npm run ngram -- COMMAND

  train --tokenizer tokenizer.json --out FILE.fdlm [--order 4] [--prune 0,0,1,1] [--max-bytes N] [--hold-out 7:50] INPUT[@WEIGHT]...
  prune --max-bytes N --out FILE.fdlm PACK
  info PACK
  perplexity PACK --tokenizer tokenizer.json [--only 7:50] [--order N] INPUT...
  import-arpa --tokenizer tokenizer.json --out FILE.fdlm FILE.arpa
  export-arpa --out FILE.arpa PACK

INPUT: .txt or .txt.xz (documents separated by two blank lines), .jsonl or .jsonl.xz, or .u16 token ids (65535
ends a document). --hold-out R:M leaves out the documents whose number within their file is R modulo M; --only
reads just them. --max-bytes takes a suffix K or M (KiB, MiB).
`;

const CACHE = process.env.FOREDRAFT_CACHE ?? join(dirname(fileURLToPath(import.meta.url)), "../../.cache");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokenizer: { type: "string" },
    out: { type: "string" },
    order: { type: "string" },
    prune: { type: "string" },
    "max-bytes": { type: "string" },
    "hold-out": { type: "string" },
    only: { type: "string" },
  },
});
const [command = "", ...inputs] = positionals;

const commands: Record<string, () => Promise<void>> = {
  train,
  prune,
  info,
  perplexity,
  "import-arpa": importArpa,
  "export-arpa": exportArpa,
};

class UsageError extends Error {}

try {
  const run = commands[command];
  if (!run) throw new UsageError(command === "" ? "no command" : `unknown command ${command}`);
  await run();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  console.error(error instanceof UsageError ? `${message}\n\n${USAGE}` : `ngram: ${message}`);
  process.exitCode = 1;
}

function required(name: "tokenizer" | "out" | "max-bytes"): string {
  const value = values[name];
  if (value === undefined) throw new UsageError(`--${name} is needed`);
  return value;
}

function onlyInput(): string {
  if (inputs.length !== 1) throw new UsageError("one file is needed");
  return inputs[0]!;
}

function parseBytes(text: string): number {
  const match = /^(\d+)([KM]?)$/.exec(text);
  if (!match) throw new UsageError(`--max-bytes ${text}`);
  return Number(match[1]) * (match[2] === "M" ? 1 << 20 : match[2] === "K" ? 1 << 10 : 1);
}

async function sourcesOf(
  paths: readonly string[],
  tokenizer: LoadedTokenizer,
  split: Split | null,
): Promise<TokenSource[]> {
  if (paths.length === 0) throw new UsageError("no input");
  const sources: TokenSource[] = [];
  for (const input of paths) {
    const [, path = input, weight = "1"] = /^(.*?)(?:@([1-9]\d*))?$/.exec(input) ?? [];
    const file = await tokenFileOf(path, tokenizer, join(CACHE, "ngram"));
    sources.push({ tokens: readTokenFile(file), weight: Number(weight), split });
  }
  return sources;
}

async function save(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.part`, bytes);
  await rename(`${path}.part`, path);
  const { order, ngrams } = readPackHeader(bytes);
  console.log(
    JSON.stringify({ out: path, order, ngrams, bytes: bytes.length, bytes_per_ngram: bytes.length / ngrams }),
  );
}

async function train(): Promise<void> {
  const out = required("out");
  const tokenizer = await loadTokenizer(required("tokenizer"));
  const order = Number(values.order ?? 4);
  const thresholds = values.prune?.split(",").map(Number) ?? Array.from({ length: order }, (_, n) => (n < 2 ? 0 : 1));
  const sane =
    thresholds.length === order && thresholds.every((t, n) => Number.isInteger(t) && t >= (thresholds[n - 1] ?? 0));
  if (!sane || thresholds[0] !== 0)
    throw new UsageError(`--prune ${values.prune}: ${order} counts, the first 0, none below the one before`);
  const split = values["hold-out"] === undefined ? null : parseSplit(values["hold-out"], "without");
  const maxBytes = values["max-bytes"] === undefined ? LIMITS.packBytes : parseBytes(values["max-bytes"]);
  const bar = new SingleBar({ format: "{bar} {percentage}% {step}", hideCursor: true, noTTYOutput: true });
  bar.start(100, 0, { step: "tokenising" });
  try {
    const sources = await sourcesOf(inputs, tokenizer, split);
    const onProgress = (step: string, done: number) => bar.update(Math.round(100 * done), { step });
    const table = trainTable(sources, { order, vocabSize: tokenizer.vocabSize, thresholds, maxBytes, onProgress });
    bar.stop();
    await save(out, writePack(table, tokenizer.hash));
  } finally {
    bar.stop();
  }
}

async function prune(): Promise<void> {
  const out = required("out");
  const bytes = await readFile(onlyInput());
  const table = tableOfPack(loadPack(bytes));
  const keep = keepWithin(table, pruningCosts(table, modelHistories(table), 1), parseBytes(required("max-bytes")));
  await save(out, writePack(pruneTable(table, keep), readPackHeader(bytes).tokenizerHash));
}

async function info(): Promise<void> {
  const bytes = await readFile(onlyInput());
  const { shape } = loadPack(bytes);
  console.log(
    JSON.stringify({ ...readPackHeader(bytes), bytes: bytes.length, entries: shape.entries, contexts: shape.contexts }),
  );
}

async function perplexity(): Promise<void> {
  const [pack, ...rest] = inputs;
  if (pack === undefined) throw new UsageError("no pack");
  const tokenizer = await loadTokenizer(required("tokenizer"));
  const bytes = await readFile(pack);
  const { tokenizerHash } = readPackHeader(bytes);
  if (tokenizerHash !== tokenizer.hash)
    throw new Error(`${pack} counts tokens of ${tokenizerHash}, the tokenizer given is ${tokenizer.hash}`);
  const model = loadPack(bytes);
  const split = values.only === undefined ? null : parseSplit(values.only, "only");
  const sources = await sourcesOf(rest, tokenizer, split);
  console.log(JSON.stringify(perplexityOf(model.withOrder(Number(values.order ?? model.order)), sources)));
}

async function importArpa(): Promise<void> {
  const out = required("out");
  const tokenizer = await loadTokenizer(required("tokenizer"));
  const lines = createInterface({ input: createReadStream(onlyInput()), crlfDelay: Infinity });
  await save(out, writePack(await readArpa(lines, tokenizer.vocabSize), tokenizer.hash));
}

async function exportArpa(): Promise<void> {
  const out = required("out");
  const table = tableOfPack(loadPack(await readFile(onlyInput())));
  const lines = function* () {
    for (const line of arpaLines(table)) yield `${line}\n`;
  };
  await pipeline(Readable.from(lines()), createWriteStream(`${out}.part`));
  await rename(`${out}.part`, out);
}
