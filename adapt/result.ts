import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type EvalSummary, formatTable } from "../bench/eval/summary.ts";
import type { BundleSource } from "../models/source.ts";
import type { SpeculationDefaults } from "../shared/manifest.ts";

/** What is needed of the base weights to find them again. */
export interface BaseWeights {
  readonly path: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Where they were fetched from; null: a file of the user's. */
  readonly url: string | null;
}

/** source.json, as of a committed model. `withWeights`: the package holds the GGUF file. */
export async function writeSource(
  dir: string,
  source: BundleSource,
  weights: BaseWeights,
  withWeights: boolean,
  heads: string | null,
  defaults: SpeculationDefaults,
): Promise<void> {
  const file = basename(weights.path);
  if (withWeights) await copyFile(weights.path, join(dir, file));
  const urls = weights.url === null ? [] : [weights.url];
  const gguf = withWeights ? { file } : { sha256: weights.sha256, bytes: weights.bytes, urls };
  const { folder: _, gguf: __, ...rest } = source;
  await mkdir(join(dir, "packs"), { recursive: true });
  await writeFile(join(dir, "source.json"), `${JSON.stringify({ ...rest, gguf, heads, defaults }, null, 2)}\n`);
}

/** The figures and how they came about: report.json for programs, README.md for people. */
export async function writeReport(
  dir: string,
  name: string,
  summary: EvalSummary,
  made: Readonly<Record<string, string | number | null>>,
): Promise<void> {
  await writeFile(join(dir, "report.json"), `${JSON.stringify({ made, summary }, null, 2)}\n`);
  const facts = Object.entries(made).map(([what, value]) => `| ${what} | ${value ?? "none"} |`);
  const lines = [
    `# ${name}: drafts`,
    "",
    "Made by `npm run adapt` of foredraft. Serve it, then measure it, with",
    "",
    `    npm start -- --model ${name}.tar.gz`,
    `    npm run eval -- --bundle ${name}.tar.gz --prompts PROMPTS.jsonl`,
    "",
    "| | |",
    "|---|---|",
    ...facts,
    "",
    "Tokens per model call, on prompts that nothing was trained or fitted on; plain decoding is 1:",
    "",
    ...formatTable(summary)
      .split("\n")
      .map((line) => `    ${line}`.trimEnd()),
    "",
  ];
  await writeFile(join(dir, "README.md"), lines.join("\n"));
}
