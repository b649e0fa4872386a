import { readFile, writeFile } from "node:fs/promises";
import type { Interval } from "../eval/bootstrap.ts";
import type { HmaxPoint } from "../eval/entropy.ts";
import type { HardwareCost } from "../eval/hardware.ts";
import type { ReliabilityBin } from "../eval/reliability.ts";
import type { RankShares } from "../eval/static-tree.ts";
import type { MethodSummary } from "../eval/summary.ts";
import type { Provenance } from "../provenance.ts";

/** Files under bench/results/: what the report is drawn from, nothing else. */
export const STORED_FORMAT = 1;

export interface StoredBase {
  readonly format: typeof STORED_FORMAT;
  readonly run: Provenance;
  readonly bundle: StoredBundle;
}

export interface StoredBundle {
  readonly name: string;
  /** Hex SHA-256 of the compiled heads. */
  readonly heads_sha256: string;
  readonly lattice_heads: number;
  readonly top_k: number;
  readonly packs: readonly { readonly name: string; readonly order: number; readonly bytes: number }[];
}

/** Where the numbers of one set come from. */
export interface StoredSource {
  readonly set: string;
  readonly title: string;
  /** The command that ran the model. */
  readonly trace_command: string;
  readonly prompts: number;
  readonly max_tokens: number;
}

/** Category -> method -> counts and what follows from them. */
export type StoredCategories = Readonly<Record<string, Readonly<Record<string, MethodSummary>>>>;

export interface StoredSet extends StoredSource {
  readonly categories: StoredCategories;
  /** Over all categories, where there are several. */
  readonly overall: Readonly<Record<string, MethodSummary>>;
  /** Method -> category -> alpha used. */
  readonly alphas: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Of the texts, which are the same whatever drafts; null where nothing is judged. */
  readonly scores: StoredScores | null;
}

export interface StoredScores {
  /** Judged. */
  readonly answers: number;
  /** Name of the score -> mean, 0..1. */
  readonly means: Readonly<Record<string, number>>;
}

export interface StoredHmax {
  readonly tasks: readonly HmaxPoint[];
  readonly prompts: readonly HmaxPoint[];
  /** Pearson's r of h_max and block efficiency. */
  readonly tasks_r: number | null;
  readonly prompts_r: number | null;
  readonly tasks_r_ci95: Interval | null;
  readonly prompts_r_ci95: Interval | null;
}

/** One step of an example: what was drafted, as text. */
export interface ExampleStep {
  readonly accepted: readonly string[];
  /** The rest of the best path. */
  readonly rejected: readonly string[];
  readonly bonus: string;
}

export interface Example {
  readonly id: string;
  readonly category: string;
  /** Tokens written before the first step shown. */
  readonly methods: Readonly<Record<string, readonly ExampleStep[]>>;
}

export interface StoredReplay extends StoredBase {
  readonly kind: "replay";
  readonly sets: readonly StoredSet[];
  /** MT-Bench's part of Spec-Bench by its own categories; null without it. */
  readonly mt_bench: StoredCategories | null;
  /** Method -> group of nodes -> by rising chance, over all sets. */
  readonly reliability: Readonly<Record<string, Readonly<Record<string, readonly ReliabilityBin[]>>>>;
  readonly h_max: StoredHmax;
  readonly hardware: { readonly set: string; readonly methods: Readonly<Record<string, HardwareRow>> };
  readonly examples: readonly Example[];
}

export interface HardwareRow extends HardwareCost {
  readonly block_efficiency: number;
  /** Mean per text. */
  readonly tokens: number;
  readonly steps: number;
  readonly drafted_nodes: number;
}

export interface LiveMethod {
  /** Median over prompts. */
  readonly tokens_per_s: number | null;
  /** Median over prompts of the method's speed over plain decoding's on the same prompt. */
  readonly speed_up: number | null;
  readonly speed_up_ci95: Interval | null;
  /** null of another program. */
  readonly block_efficiency: number | null;
  readonly tokens: number;
  readonly steps: number;
  readonly prompts: number;
  readonly identical_to_plain: number;
  readonly float_ties: number;
}

/** Category -> method -> how it went. */
export type StoredLiveCategories = Readonly<Record<string, Readonly<Record<string, LiveMethod>>>>;

export interface StoredLive extends StoredBase {
  readonly kind: "live";
  readonly provider: string;
  readonly cpu: string;
  readonly threads: number;
  readonly sets: readonly (Omit<StoredSource, "trace_command"> & {
    readonly categories: StoredLiveCategories;
    readonly overall: Readonly<Record<string, LiveMethod>>;
  })[];
  /** As StoredReplay has it. */
  readonly mt_bench: StoredLiveCategories | null;
  /** Of LAMBADA's last words under the base model, run plainly and run as a draft is. */
  readonly perplexity: { readonly targets: number; readonly plain: number; readonly drafted: number } | null;
}

/** Block efficiency at each alpha tried, and the best of them: the lowest one on a tie. */
export interface Tuned {
  readonly prompts: number;
  readonly best_alpha: number;
  readonly block_efficiency: number;
  /** Over plain blockwise parallel decoding of the same prompts. */
  readonly gain_over_none: number;
  readonly by_alpha: Readonly<Record<string, number>>;
}

/** Method -> category, or OVERALL -> what was found. */
export type TuneResult = Readonly<Record<string, Readonly<Record<string, Tuned>>>>;
export const OVERALL = "overall";

export interface StoredTune extends StoredBase {
  readonly kind: "tune";
  readonly sources: readonly StoredSource[];
  readonly result: TuneResult;
  /** Of all sources together: what static trees are made from. */
  readonly rank_shares: RankShares;
}

export type Stored = StoredReplay | StoredLive | StoredTune;

/** A stable layout: one line for each method or smaller thing, keys as they were put in, six significant digits. */
export async function writeStored(path: string, stored: Stored): Promise<void> {
  await writeFile(path, `${layOut(stored, 0)}\n`);
}

const LINE = 160;

function layOut(value: unknown, depth: number): string {
  const flat = JSON.stringify(value, (_, x: unknown) => (typeof x === "number" ? Number(x.toPrecision(6)) : x));
  if (typeof value !== "object" || value === null || flat.length <= LINE || depth > 6) return flat;
  const pad = " ".repeat(depth + 1);
  const inner = Array.isArray(value)
    ? value.map((item) => pad + layOut(item, depth + 1))
    : Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => `${pad}${JSON.stringify(key)}: ${layOut(item, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  return `${open}\n${inner.join(",\n")}\n${" ".repeat(depth)}${close}`;
}

/** Throws an Error where the file is of another kind or format; null where there is none. */
export async function readStored<Kind extends Stored["kind"]>(
  path: string,
  kind: Kind,
): Promise<Extract<Stored, { readonly kind: Kind }> | null> {
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) return null;
  const stored = JSON.parse(text) as Stored;
  if (stored.format !== STORED_FORMAT || stored.kind !== kind)
    throw new Error(`${path}: not a stored ${kind} run of format ${STORED_FORMAT}; make it again`);
  return stored as Extract<Stored, { readonly kind: Kind }>;
}

/** The alpha tuned for a method on a category; a category with few prompts takes the one of all together. */
export function tunedAlpha(tune: StoredTune | null, method: string, category: string): number | null {
  const groups = tune?.result[method];
  if (groups === undefined) return null;
  const own = groups[category];
  const chosen = own !== undefined && own.prompts >= MIN_TUNE_PROMPTS ? own : groups[OVERALL];
  return chosen?.best_alpha ?? null;
}

const MIN_TUNE_PROMPTS = 5;
