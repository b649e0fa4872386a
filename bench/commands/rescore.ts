import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Miniflare } from "miniflare";
import { build, type Rolldown } from "vite";
import { ROOT } from "../../scripts/paths.ts";
import { readPackHeader } from "../../shared/ngram/format.ts";
import { PairTables } from "../../shared/rescore/pair-scores.ts";
import { fraction } from "../eval/options.ts";
import { readCases } from "../rescore/inputs.ts";
import { randomPairFile, withQueries } from "../rescore/pairs.ts";
import { runSuite, type SuiteResult, type Table } from "../rescore/suite.ts";

type Inputs = readonly [pack: Uint8Array, tables: Uint8Array, lattices: Uint8Array];

const INPUTS = join(import.meta.dirname, "..", "rescore");
const PACK = join(ROOT, "models/smollm2-135m/packs/mixed.fdlm");
const PAIR = join(ROOT, "models/smollm2-135m/pair.safetensors");
const LATTICES = join(INPUTS, "lattices.bin");

export const RESCORE_HELP = `npm run bench -- rescore [options]
Time of refining one block with the n-gram rescorer, with pairs and with both, in Node and in workerd, over stored lattices
with random queries.
  --pack FILE     n-gram pack (models/smollm2-135m/packs/mixed.fdlm)
  --pair FILE     tables of pairs (models/smollm2-135m/pair.safetensors; random ones where there is no such file)
  --alpha X       its weight (0.2)
  --quick         few rounds, to see that it works`;

export async function benchRescore(args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      pack: { type: "string", default: PACK },
      pair: { type: "string" },
      alpha: { type: "string", default: "0.2" },
    },
  });
  const pack = new Uint8Array(await readFile(values.pack));
  const lattices = new Uint8Array(await readFile(LATTICES));
  const alpha = fraction("--alpha", values.alpha) ?? 0;
  const rounds = values.quick ? 5 : 100;
  const textTokens = values.quick ? 50_000 : 1_000_000;
  const tables = await pairFile(values.pair ?? null, readPackHeader(pack).vocabSize);
  const pair = new PairTables(tables);
  const cases = withQueries(readCases(lattices), pair.rank);
  const node = runSuite(pack, { alpha, cases, pair, rounds, textTokens, now: () => performance.now() });
  const workerd = await runInWorkerd([pack, tables, lattices], `?alpha=${alpha}&rounds=${rounds}&tokens=${textTokens}`);
  const result = report(pack, alpha, node, workerd);
  console.log(JSON.stringify(result, null, 2));
  if (!result.same_in_node_and_workerd || !result.brute_force_agrees) process.exitCode = 1;
  return result;
}

function report(pack: Uint8Array, alpha: number, node: SuiteResult, workerd: SuiteResult) {
  const { ngrams } = readPackHeader(pack);
  const both = <T>(pick: (result: SuiteResult) => T) => ({ node: pick(node), workerd: pick(workerd) });
  const medians = (name: string) => both(({ searches }) => mapTable(searches[name]!, (spread) => spread.median));
  return {
    pack: { ngrams, bytes_per_ngram: pack.length / ngrams, load_ms: node.loadMs, load_ms_workerd: workerd.loadMs },
    alpha,
    queries_per_s: both((result) => result.queriesPerS),
    ...Object.fromEntries(Object.keys(node.searches).map((name) => [`${name}_us`, medians(name)])),
    pair_us: both(({ pairs }) => pairs),
    ...Object.fromEntries(
      Object.keys(node.calibratedUs).map((name) => [`${name}_us`, both(({ calibratedUs }) => calibratedUs[name]!)]),
    ),
    brute_force_us: both((result) => result.bruteForceUs),
    brute_force_agrees: node.bruteForceAgrees && workerd.bruteForceAgrees,
    checksum: node.checksum.toString(16).padStart(8, "0"),
    same_in_node_and_workerd: node.checksum === workerd.checksum,
    spread_us: both(({ searches }) => searches),
    worst_us: both(({ worst }) => worst),
  };
}

function mapTable<T, U>(table: Table<T>, of: (value: T) => U): Table<U> {
  return Object.fromEntries(
    Object.entries(table).map(([order, row]) => [
      order,
      Object.fromEntries(Object.entries(row).map(([k, value]) => [k, of(value)])),
    ]),
  );
}

/** The file named, or the usual one if it is there. */
async function pairFile(path: string | null, vocabSize: number): Promise<Uint8Array> {
  if (path === null && !existsSync(PAIR)) return randomPairFile(vocabSize, 13);
  return new Uint8Array(await readFile(path ?? PAIR));
}

async function runInWorkerd(inputs: Inputs, query: string): Promise<SuiteResult> {
  const contents = await bundleWorker();
  const miniflare = new Miniflare({
    cf: false,
    telemetry: { enabled: false },
    workers: [
      {
        config: {
          name: "rescore",
          compatibilityDate: "2026-10-23",
          manifest: {
            mainModule: "worker.js",
            modulesRoot: INPUTS,
            modules: { "worker.js": { type: "esm", contents } },
          },
        },
      },
    ],
  });
  try {
    const [pack, tables] = inputs;
    const body = new Blob([Uint32Array.of(pack.length, tables.length), ...inputs]);
    const response = await miniflare.dispatchFetch(`http://rescore/${query}`, { method: "POST", body });
    if (response.status !== 200) throw new Error(`workerd answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as SuiteResult;
  } finally {
    await miniflare.dispose();
  }
}

async function bundleWorker(): Promise<string> {
  const output = await build({
    configFile: false,
    logLevel: "silent",
    build: {
      write: false,
      minify: false,
      target: "es2023",
      lib: { entry: join(INPUTS, "worker.ts"), formats: ["es"], fileName: "worker" },
    },
  });
  const [first] = Array.isArray(output) ? output : [output as Rolldown.RolldownOutput];
  return first!.output[0].code;
}
