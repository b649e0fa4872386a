import { readFile, rename, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { z } from "zod";
import { createLattice, type Lattice, type PairQuery } from "../../shared/lattice.ts";
import { LIMITS } from "../../shared/limits.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import type { RunnersUp } from "../../shared/runners-up.ts";

/**
 * Everything a drafting method can see or be judged by, for one plain greedy completion: replaying a
 * rescorer over it needs no model. Lattice i belongs after output token i; the last one is not needed.
 */
export interface Generation {
  readonly id: string;
  readonly category: string;
  /** 0 for the first answer of the row. */
  readonly turn: number;
  readonly prompt: Uint32Array;
  /** Plain greedy tokens, the end-of-text token included. */
  readonly output: Uint32Array;
  /** [output] */
  readonly lattices: readonly Lattice[];
  /** Of every output token. */
  readonly runnersUp: RunnersUp;
}

const Header = z.object({
  bundle: z.string(),
  tokenizerHash: z.string(),
  vocabSize: z.number().int().positive(),
  heads: z.number().int().nonnegative(),
  topK: z.number().int().nonnegative(),
  /** RunnersUp.k. */
  runnersUp: z.number().int().nonnegative(),
  /** Numbers of a lattice's query, 2R; 0: no lattice has one. */
  query: z.number().int().nonnegative(),
  /** Whether lattices have the gates of heads that copy. */
  gated: z.boolean(),
  maxTokens: z.number().int().positive(),
  /** Of the draft heads' file that made the lattices; traces of the first version of this file lack it. */
  headsHash: z.string().optional(),
  /** Of the bundle's pair tables, which belong to the queries; none where it has no tables. */
  pairHash: z.string().optional(),
  /** The command that made it. */
  command: z.string(),
  generations: z.array(
    z.object({
      id: z.string(),
      category: z.string(),
      turn: z.number().int().nonnegative(),
      prompt: z.number().int().positive(),
      output: z.number().int().positive(),
    }),
  ),
});

/** What the generations themselves do not tell. */
export type TraceHeader = Omit<z.infer<typeof Header>, "generations" | "query" | "gated">;
export interface Trace {
  readonly header: TraceHeader;
  readonly generations: readonly Generation[];
}

/** Runners-up stored per token: as many as a session may ask for. */
export const TRACED_RUNNERS_UP = LIMITS.runnersUp;

export function traceHeader(manifest: BundleManifest, maxTokens: number, command: string): TraceHeader {
  const { name, tokenizer, architecture, latticeHeads, topK, graphs } = manifest;
  return {
    bundle: name,
    tokenizerHash: tokenizer.sha256,
    vocabSize: architecture.vocabSize,
    heads: latticeHeads,
    topK,
    runnersUp: TRACED_RUNNERS_UP,
    maxTokens,
    ...(graphs.heads === null ? {} : { headsHash: graphs.heads.sha256 }),
    ...(graphs.pair == null ? {} : { pairHash: graphs.pair.sha256 }),
    command,
  };
}

/** Throws an Error where the bundle is no longer the one that made the trace. */
export function checkTrace({ header }: Trace, manifest: BundleManifest): void {
  const changed =
    header.tokenizerHash !== manifest.tokenizer.sha256
      ? "tokenizer"
      : (header.headsHash ?? manifest.graphs.heads?.sha256) !== manifest.graphs.heads?.sha256
        ? "draft heads"
        : header.pairHash !== manifest.graphs.pair?.sha256
          ? "pair tables"
          : null;
  if (changed !== null)
    throw new Error(`the trace was made with other ${changed} than bundle ${manifest.name} has now: make it again`);
}

/**
 * File: gzip of magic "FDTR", u32 version, u32 header bytes, header (JSON), zeros to a multiple of 4,
 * then for each generation prompt [prompt], output [output], lattice tokens [output * heads * topK], runners-up
 * [output * runnersUp], all uint32, where there are queries their scales [output * 2] and where heads copy their gates
 * [output * heads], both float32, log-probabilities
 * [output * heads * topK] float16, gaps [output * runnersUp] uint8 and the queries' values [output * query] int8,
 * zero-padded to a multiple of 4 bytes. A lattice without a query has scales of 0.
 * Everything little-endian. gzip takes the high halves of token ids away again.
 */
const MAGIC = 0x52544446;
const VERSION = 3;
const PREFIX_BYTES = 12;

export function encodeTrace(trace: Trace): Uint8Array {
  const query = queryLength(trace.generations);
  const gated = trace.generations.some(({ lattices }) => lattices.some(({ gates }) => gates != null));
  const shape = cellsOf({ ...trace.header, query, gated });
  const sizes = trace.generations.map(({ id, category, turn, prompt, output }) => ({
    id,
    category,
    turn,
    prompt: prompt.length,
    output: output.length,
  }));
  const header = new TextEncoder().encode(JSON.stringify({ ...trace.header, query, gated, generations: sizes }));
  const start = align(PREFIX_BYTES + header.length);
  const bytes = new Uint8Array(sizes.reduce((at, size) => at + sectionBytes(size, shape), start));
  new Uint32Array(bytes.buffer, 0, 3).set([MAGIC, VERSION, header.length]);
  bytes.set(header, PREFIX_BYTES);
  let at = start;
  for (const generation of trace.generations) {
    const view = sectionViews(bytes, at, { prompt: generation.prompt.length, output: generation.output.length }, shape);
    view.prompt.set(generation.prompt);
    view.output.set(generation.output);
    for (const [i, lattice] of generation.lattices.entries()) {
      view.tokens.set(lattice.tokens, i * shape.lattice);
      view.logProbs.set(lattice.logProbs, i * shape.lattice);
      if (lattice.gates != null) view.gates.set(lattice.gates, i * shape.gates);
      if (lattice.query === null) continue;
      view.scales.set(lattice.query.scales, i * SCALES);
      view.values.set(lattice.query.values, i * query);
    }
    view.runnersUp.set(generation.runnersUp.tokens);
    view.gaps.set(generation.runnersUp.gaps);
    at = view.end;
  }
  return bytes;
}

/** Throws an Error saying what is wrong with the file. */
export function decodeTrace(bytes: Uint8Array): Trace {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  if (aligned.length < PREFIX_BYTES) throw new Error("trace: too short");
  const [magic, version, headerBytes] = new Uint32Array(aligned.buffer, aligned.byteOffset, 3);
  if (magic !== MAGIC) throw new Error("trace: not a trace file");
  if (version !== VERSION) throw new Error(`trace: version ${version}, this program reads ${VERSION}; make it again`);
  const start = align(PREFIX_BYTES + headerBytes!);
  const text = new TextDecoder().decode(aligned.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes!));
  const { generations: sizes, query, gated, ...header } = Header.parse(JSON.parse(text));
  const shape = cellsOf({ ...header, query, gated });
  const cells = shape.lattice;
  if (sizes.reduce((at, size) => at + sectionBytes(size, shape), start) !== aligned.length)
    throw new Error("trace: cut short");
  let at = start;
  const generations = sizes.map(({ id, category, turn, ...size }) => {
    const view = sectionViews(aligned, at, size, shape);
    at = view.end;
    const lattices = Array.from({ length: size.output }, (_, i) => {
      const logProbs = Float32Array.from(view.logProbs.subarray(i * cells, (i + 1) * cells));
      const tokens = view.tokens.subarray(i * cells, (i + 1) * cells);
      const gates = gated ? view.gates.subarray(i * shape.gates, (i + 1) * shape.gates) : null;
      return createLattice(header.heads, header.topK, tokens, logProbs, queryAt(view, i, query), gates);
    });
    const runnersUp = { k: header.runnersUp, tokens: view.runnersUp, gaps: view.gaps };
    return { id, category, turn, prompt: view.prompt, output: view.output, lattices, runnersUp };
  });
  return { header, generations };
}

/** Throws an Error where they differ in length. */
function queryLength(generations: readonly Generation[]): number {
  const lattices = generations.flatMap((generation) => generation.lattices);
  const lengths = new Set(lattices.flatMap(({ query }) => query?.values.length ?? []));
  if (lengths.size > 1) throw new Error(`trace: queries of ${[...lengths].join(" and ")} numbers`);
  return [...lengths][0] ?? 0;
}

function queryAt({ scales, values }: Pick<SectionViews, "scales" | "values">, i: number, query: number) {
  const [m = 0, q = 0] = scales.subarray(i * SCALES, (i + 1) * SCALES);
  const found: PairQuery = { values: values.subarray(i * query, (i + 1) * query), scales: [m, q] };
  return m === 0 ? null : found;
}

interface SectionSize {
  readonly prompt: number;
  readonly output: number;
}

function align(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** Numbers per output token. */
interface Cells {
  readonly lattice: number;
  readonly runnersUp: number;
  readonly scales: number;
  readonly gates: number;
  readonly query: number;
}

/** What a file has of each lattice beside candidates. */
interface Extras {
  /** Numbers of a query; 0: there are none. */
  readonly query: number;
  readonly gated: boolean;
}

/** Of m and of q. */
const SCALES = 2;

function cellsOf({ heads, topK, runnersUp, query, gated }: TraceHeader & Extras): Cells {
  return { lattice: heads * topK, runnersUp, scales: query === 0 ? 0 : SCALES, gates: gated ? heads : 0, query };
}

function sectionBytes({ prompt, output }: SectionSize, { lattice, runnersUp, scales, gates, query }: Cells): number {
  const words = prompt + output * (1 + lattice + runnersUp + scales + gates);
  return words * 4 + align(output * (lattice * 2 + runnersUp + query));
}

type SectionViews = ReturnType<typeof sectionViews>;

function sectionViews(bytes: Uint8Array, at: number, size: SectionSize, shape: Cells) {
  const { lattice, runnersUp, scales, gates, query } = shape;
  const { prompt, output } = size;
  let next = bytes.byteOffset + at;
  const take = (count: number, width: number) => {
    const from = next;
    next += count * width;
    return [bytes.buffer, from, count] as const;
  };
  return {
    prompt: new Uint32Array(...take(prompt, 4)),
    output: new Uint32Array(...take(output, 4)),
    tokens: new Uint32Array(...take(output * lattice, 4)),
    runnersUp: new Uint32Array(...take(output * runnersUp, 4)),
    scales: new Float32Array(...take(output * scales, 4)),
    gates: new Float32Array(...take(output * gates, 4)),
    logProbs: new Float16Array(...take(output * lattice, 2)),
    gaps: new Uint8Array(...take(output * runnersUp, 1)),
    values: new Int8Array(...take(output * query, 1)),
    end: at + sectionBytes(size, shape),
  };
}

export async function writeTrace(path: string, trace: Trace): Promise<void> {
  const packed = await promisify(gzip)(encodeTrace(trace));
  await writeFile(`${path}.part`, packed);
  await rename(`${path}.part`, path);
}

export async function readTrace(path: string): Promise<Trace> {
  const unpacked = await promisify(gunzip)(await readFile(path));
  return decodeTrace(unpacked);
}
