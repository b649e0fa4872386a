import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { cacheDir } from "../../models/cache.ts";
import { progressBar } from "../../models/progress.ts";
import { LIMITS } from "../../shared/limits.ts";
import { loadPack, readPackHeader } from "../../shared/ngram/format.ts";
import { arpaLines, readArpa } from "./arpa.ts";
import { MAX_TRAINED_ORDER } from "./counts.ts";
import { keepWithin, pruneTable, pruningCosts } from "./entropy-prune.ts";
import { modelHistories, tableOfPack } from "./from-pack.ts";
import {
  type CommandName,
  helpText,
  needed,
  type Options,
  parseOptions,
  pruneThresholds,
  UsageError,
} from "./options.ts";
import { writePack } from "./pack.ts";
import { type Perplexity, perplexityOf } from "./perplexity.ts";
import { type Scorer, TableModel } from "./table-model.ts";
import { type LoadedTokenizer, loadTokenizer, readInputFile, tokenFileOf } from "./text-source.ts";
import { countTokens, readTokenFile, type Split, type TokenSource } from "./token-file.ts";
import { trainTable } from "./train.ts";

const commands: Record<CommandName, (options: Options) => Promise<void>> = {
  train,
  prune,
  info,
  perplexity,
  "import-arpa": importArpa,
  "export-arpa": exportArpa,
};

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === null || options.help) console.log(helpText(options?.command ?? null));
  else await commands[options.command](options);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  console.error(`ngram: ${message}${error instanceof UsageError ? " (--help explains)" : ""}`);
  process.exitCode = 1;
}

/** One input file, with the name it is reported under. */
interface NamedSource extends TokenSource {
  readonly name: string;
}

async function sourcesOf(
  paths: readonly string[],
  tokenizer: LoadedTokenizer,
  split: Split | null,
  onProgress: (done: number) => void,
): Promise<NamedSource[]> {
  if (paths.length === 0) throw new UsageError("no input");
  const sources: NamedSource[] = [];
  for (const input of paths) {
    const [, path = input, weight = "1"] = /^(.*?)(?:@([1-9]\d*))?$/.exec(input) ?? [];
    const file = await tokenFileOf(path, tokenizer, join(cacheDir(), "ngram"), (done) =>
      onProgress((sources.length + done) / paths.length),
    );
    sources.push({ name: basename(path), tokens: readTokenFile(file), weight: Number(weight), split });
  }
  return sources;
}

function onlyInput({ inputs }: Options): string {
  if (inputs.length !== 1) throw new UsageError(`${inputs.length} files given, one is needed`);
  return inputs[0]!;
}

/** What FILE.json beside a pack says of its training; the bundle's manifest takes devPerplexity from it. */
interface Sidecar {
  readonly trainTokens: number;
  /** Of the pack, on the held-out documents of all inputs. */
  readonly devPerplexity: number;
  readonly devTokens: number;
  readonly inputs: readonly { readonly name: string; readonly tokens: number; readonly perplexity: number }[];
}

async function save(path: string, bytes: Uint8Array, sidecar: Sidecar | null): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.part`, bytes);
  await rename(`${path}.part`, path);
  const beside = `${path.replace(/\.fdlm$/, "")}.json`;
  if (sidecar === null) await rm(beside, { force: true });
  else await writeFile(beside, `${JSON.stringify(sidecar, null, 2)}\n`);
  const { order, ngrams } = readPackHeader(bytes);
  const size = { order, ngrams, bytes: bytes.length, bytes_per_ngram: bytes.length / ngrams };
  console.log(JSON.stringify({ out: path, ...size, dev_perplexity: sidecar?.devPerplexity ?? null }));
}

async function train(options: Options): Promise<void> {
  const { out, split } = options;
  if (out === null && split === null) throw new UsageError("--out or --hold-out is needed");
  const order = options.order ?? MAX_TRAINED_ORDER;
  if (order < 2 || order > MAX_TRAINED_ORDER)
    throw new UsageError(`--order ${order}: training knows 2 to ${MAX_TRAINED_ORDER}`);
  const thresholds = pruneThresholds(options.prune, order);
  const maxBytes = options.maxBytes ?? LIMITS.packBytes;
  const tokenizer = await loadTokenizer(needed(options.tokenizer, "tokenizer"));
  const bar = progressBar();
  try {
    const onProgress = (step: string, done: number) => bar.update(step, done, 1);
    const sources = await sourcesOf(options.inputs, tokenizer, split, (done) => onProgress("tokenising", done));
    const table = trainTable(sources, { order, vocabSize: tokenizer.vocabSize, thresholds, maxBytes, onProgress });
    bar.stop();
    const held = split === null ? [] : sources.map((source) => heldOut(source, split));
    if (out === null) {
      const ngrams = table.levels.map((level) => level.count);
      console.log(JSON.stringify({ ngrams, ...perplexityOf(new TableModel(table), held) }));
      return;
    }
    const bytes = writePack(table, tokenizer.hash);
    await save(out, bytes, split === null ? null : sidecarOf(loadPack(bytes), countTokens(sources), held));
  } finally {
    bar.stop();
  }
}

function heldOut(source: NamedSource, split: Split): NamedSource {
  return { ...source, split: { ...split, part: "only" }, weight: 1 };
}

function sidecarOf(model: Scorer, trainTokens: number, held: readonly NamedSource[]): Sidecar {
  const of = ({ tokens, perplexity }: Perplexity) => ({ tokens, perplexity: Number(perplexity.toFixed(2)) });
  const all = of(perplexityOf(model, held));
  const inputs = held.map((source) => ({ name: source.name, ...of(perplexityOf(model, [source])) }));
  return { trainTokens, devPerplexity: all.perplexity, devTokens: all.tokens, inputs };
}

async function prune(options: Options): Promise<void> {
  const out = needed(options.out, "out");
  const maxBytes = needed(options.maxBytes, "max-bytes");
  const bytes = await readInputFile(onlyInput(options));
  const table = tableOfPack(loadPack(bytes));
  const keep = keepWithin(table, pruningCosts(table, modelHistories(table), 1), maxBytes);
  await save(out, writePack(pruneTable(table, keep), readPackHeader(bytes).tokenizerHash), null);
}

async function info(options: Options): Promise<void> {
  const bytes = await readInputFile(onlyInput(options));
  const { shape } = loadPack(bytes);
  const { entries, contexts } = shape;
  console.log(JSON.stringify({ ...readPackHeader(bytes), bytes: bytes.length, entries, contexts }));
}

async function perplexity(options: Options): Promise<void> {
  const [pack, ...rest] = options.inputs;
  if (pack === undefined) throw new UsageError("no pack");
  const tokenizer = await loadTokenizer(needed(options.tokenizer, "tokenizer"));
  const bytes = await readInputFile(pack);
  const { tokenizerHash } = readPackHeader(bytes);
  if (tokenizerHash !== tokenizer.hash)
    throw new Error(`${pack} counts tokens of ${tokenizerHash}, the tokenizer given is ${tokenizer.hash}`);
  const model = loadPack(bytes);
  const order = options.order ?? model.order;
  if (order < 1 || order > model.order)
    throw new UsageError(`--order ${order}: the pack has orders 1 to ${model.order}`);
  const bar = progressBar();
  try {
    const sources = await sourcesOf(rest, tokenizer, options.split, (done) => bar.update("tokenising", done, 1));
    bar.stop();
    console.log(JSON.stringify(perplexityOf(model.withOrder(order), sources)));
  } finally {
    bar.stop();
  }
}

async function importArpa(options: Options): Promise<void> {
  const out = needed(options.out, "out");
  const tokenizer = await loadTokenizer(needed(options.tokenizer, "tokenizer"));
  const lines = createInterface({ input: createReadStream(onlyInput(options)), crlfDelay: Infinity });
  await save(out, writePack(await readArpa(lines, tokenizer.vocabSize), tokenizer.hash), null);
}

async function exportArpa(options: Options): Promise<void> {
  const out = needed(options.out, "out");
  const table = tableOfPack(loadPack(await readInputFile(onlyInput(options))));
  const lines = function* () {
    for (const line of arpaLines(table)) yield `${line}\n`;
  };
  await pipeline(Readable.from(lines()), createWriteStream(`${out}.part`));
  await rename(`${out}.part`, out);
}
