import { expect, test } from "vitest";
import { replayCases } from "../../bench/eval/cases.ts";
import { traceCompletion } from "../../bench/eval/complete.ts";
import { wireLattice } from "../../bench/eval/record.ts";
import {
  checkTrace,
  decodeTrace,
  encodeTrace,
  type Generation,
  type Trace,
  traceHeader,
} from "../../bench/eval/trace.ts";
import type { OpenSpec, StepEngine } from "../../shared/engine.ts";
import { createLattice } from "../../shared/lattice.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { TOY_MANIFEST, TOY_RANK, toyEngine } from "./toy-engine.ts";

const TOKENS = 12;
const pair = { path: "pair.safetensors", bytes: 0, sha256: "pp" };
const able: BundleManifest = { ...TOY_MANIFEST, graphs: { ...TOY_MANIFEST.graphs, pair } };
const plainHeader = traceHeader(TOY_MANIFEST, TOKENS, "");
const pairHeader = traceHeader(able, TOKENS, "");

/** Notes what sessions are opened with. */
function seen(into: OpenSpec[], engine: StepEngine = toyEngine()): StepEngine {
  return {
    open(spec, signal) {
      into.push(spec);
      return engine.open(spec, signal);
    },
  };
}

async function trace(manifest: BundleManifest, specs: OpenSpec[] = []): Promise<Generation> {
  const prompt = Uint32Array.of(7, 12, 5);
  const limits = { maxTokens: TOKENS, eosTokens: manifest.eosTokens };
  const task = { engine: seen(specs), model: manifest.name, prompt, limits, autoNodes: false };
  const { completion, lattices, runnersUp } = await traceCompletion(task, manifest);
  return { id: "a", category: "b", turn: 0, prompt, output: Uint32Array.from(completion.output), lattices, runnersUp };
}

test("a trace has the query of every lattice where the bundle has pair tables, and none elsewhere", async () => {
  const specs: OpenSpec[] = [];
  const queries = (await trace(able, specs)).lattices.map(({ query }) => query);
  expect(queries.map((query) => query?.values.length)).toEqual(queries.map(() => 2 * TOY_RANK));
  expect(new Set(queries.map((query) => query?.values.join())).size).toBeGreaterThan(1);
  expect((await trace(TOY_MANIFEST, specs)).lattices.every(({ query }) => query === null)).toBe(true);
  expect(specs.map((spec) => spec.pair)).toEqual([true, false]);
});

test("queries come through a file, and so does that there is none", async () => {
  const generation = await trace(able);
  const some = {
    ...generation,
    lattices: generation.lattices.map((lattice, i) => (i % 3 === 1 ? { ...lattice, query: null } : lattice)),
  };
  const generations = [generation, await trace(TOY_MANIFEST), some];
  expect(decodeTrace(encodeTrace({ header: pairHeader, generations }))).toEqual({ header: pairHeader, generations });
});

test("queries of several lengths are refused", async () => {
  const generation = await trace(able);
  const query = { values: new Int8Array(4), scales: [1, 1] } as const;
  const lattices = generation.lattices.map((lattice, i) => (i === 1 ? { ...lattice, query } : lattice));
  const mixed: Trace = { header: pairHeader, generations: [{ ...generation, lattices }] };
  expect(() => encodeTrace(mixed)).toThrow("queries of 8 and 4 numbers");
});

test("a trace of the version before is refused", () => {
  const bytes = encodeTrace({ header: plainHeader, generations: [] });
  expect(() => decodeTrace(bytes.map((byte, i) => (i === 4 ? 2 : byte)))).toThrow("version 2, this program reads 3");
});

test("what is kept of a lattice as it came over the wire is its query, too", () => {
  const query = { values: Int8Array.of(1, -2), scales: [0.5, 0.25] } as const;
  expect(wireLattice(createLattice(1, 1, Uint32Array.of(3), Float32Array.of(-1), query)).query).toEqual(query);
});

test("only a bundle with the same pair tables replays it", () => {
  const made = (header: Trace["header"]): Trace => ({ header, generations: [] });
  const retrained = { ...able, graphs: { ...able.graphs, pair: { ...pair, sha256: "qq" } } };
  expect(() => checkTrace(made(pairHeader), able)).not.toThrow();
  expect(() => checkTrace(made(plainHeader), TOY_MANIFEST)).not.toThrow();
  for (const [header, manifest] of [
    [pairHeader, retrained],
    [pairHeader, TOY_MANIFEST],
    [plainHeader, able],
  ] as const) {
    expect(() => checkTrace(made(header), manifest)).toThrow("other pair tables");
  }
});

test("a replayed session sees the query only if it asks for it", async () => {
  const generation = await trace(able);
  const signal = new AbortController().signal;
  for await (const { task } of replayCases([generation], { manifest: able, neural: null }, TOKENS)) {
    const specs: OpenSpec[] = [];
    await traceCompletion({ ...task, engine: seen(specs, task.engine) }, able);
    const [spec] = specs;
    const opened = async (wanted: boolean) => (await task.engine.open({ ...spec!, pair: wanted }, signal)).opened;
    expect((await opened(true)).lattice.query).toEqual(generation.lattices[0]!.query);
    expect((await opened(false)).lattice.query).toBeNull();
    expect((await task.engine.open(spec!, signal)).bundle.pair).toBe(true);
  }
});
