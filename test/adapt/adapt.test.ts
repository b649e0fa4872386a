import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { adapt } from "../../adapt/adapt.ts";
import { type AdaptOptions, parseAdaptOptions } from "../../adapt/options.ts";
import { patiently } from "../../adapt/work.ts";
import { loadBundle } from "../../bench/eval/model.ts";
import { ensureBundle } from "../../models/bundle.ts";
import { MODELS_DIR } from "../../models/source.ts";
import { StepError } from "../../shared/errors.ts";
import { Random } from "../helpers/random.ts";

/* All of `npm run adapt` but the draft heads, whose training needs torch, on the committed toy model. */

/** A package takes half a minute on a machine that is busy with other tests. */
const WHOLE_MS = 180_000;

const WORDS = "the cat dog house bird tree river sun moon big small red blue runs sees likes under over near".split(
  " ",
);
const TRAINED = 24;

const kept = process.env.FOREDRAFT_CACHE;
let dir = "";
let options: AdaptOptions;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-adapt-"));
  process.env.FOREDRAFT_CACHE = join(dir, "cache");
  const random = new Random(4);
  const rows = Array.from({ length: 30 }, (_, i) => {
    const words = Array.from({ length: 8 }, () => random.pick(WORDS)).join(" ");
    return JSON.stringify({
      id: `row ${i}`,
      category: i % 2 === 0 ? "even" : "odd",
      prompt: `Once upon a time ${words}`,
    });
  });
  const prompts = join(dir, "prompts.jsonl");
  await writeFile(prompts, `${rows.join("\n")}\n`);
  options = {
    model: join(MODELS_DIR, "tiny", "tiny.gguf"),
    prompts: [prompts],
    out: join(dir, "made", "package"),
    // Never spent: what is made does not depend on the machine.
    minutes: 1000,
    maxTokens: 32,
    python: null,
    threads: 1,
    withWeights: false,
  };
});
afterAll(async () => {
  if (kept === undefined) delete process.env.FOREDRAFT_CACHE;
  else process.env.FOREDRAFT_CACHE = kept;
  await rm(dir, { recursive: true, force: true });
});

const texts = async () =>
  (await readFile(join(options.out, ".adapt", "texts.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { id: string; output: number[] });

it(
  "stops when told to, goes on where it was, and makes a package that is served and drafts better than nothing",
  async () => {
    const stopping = new AbortController();
    const said: string[] = [];
    const shell = (signal: AbortSignal) => ({
      signal,
      say: (line: string) => void said.push(line),
      onProgress: (stage: string, done: number) => {
        if (stage === "text" && done > 0.4) stopping.abort();
      },
    });
    await expect(adapt(options, shell(stopping.signal))).rejects.toThrow();
    const before = await texts();
    expect(before.length).toBeGreaterThan(4);
    expect(before.length).toBeLessThan(TRAINED);

    const archive = await adapt(options, shell(new AbortController().signal));
    const all = await texts();
    expect(all.slice(0, before.length)).toEqual(before);
    expect(new Set(all.map(({ id }) => id)).size).toBe(TRAINED);
    expect(all).toHaveLength(TRAINED);
    expect(said).toContainEqual(expect.stringMatching(/no draft heads: --no-heads/));

    const bundleDir = await ensureBundle(archive, { onNotice: () => undefined });
    const { manifest } = await loadBundle(bundleDir, basename(bundleDir));
    expect(manifest.name).toBe("tiny-gguf-drafts");
    expect(manifest.packs.map(({ name }) => name)).toEqual(["self"]);
    expect(manifest.calibration?.pack).toBe("self");
    expect(manifest.defaults.rescorer).toMatchObject({ type: "tree", model: "self", prompt: true });

    const { summary } = JSON.parse(await readFile(join(options.out, "report.json"), "utf8"));
    expect(summary.overall["tree-16"].block_efficiency).toBeGreaterThan(1.2);
    expect(summary.overall["tree-16"].identical_to_plain).toBe(summary.overall.ar.prompts);
    expect(await readFile(join(options.out, "README.md"), "utf8")).toMatch(/tree-16/);

    // What is done is not done again.
    const traced: string[] = [];
    const noted = { ...shell(new AbortController().signal), onProgress: (stage: string) => void traced.push(stage) };
    await adapt(options, noted);
    expect(traced.filter((stage) => stage.startsWith("text") || stage.startsWith("trace"))).toEqual([]);
  },
  WHOLE_MS,
);

it(
  "takes no other model or prompts into what was begun, and says what is missing",
  async () => {
    const shell = { signal: new AbortController().signal, say: () => undefined, onProgress: () => undefined };
    const begun = { ...options, out: join(dir, "begun") };
    const stopping = new AbortController();
    const stopAtText = (stage: string) => void (stage === "text" && stopping.abort());
    const stopped = { ...shell, signal: stopping.signal, onProgress: stopAtText };
    await expect(adapt(begun, stopped)).rejects.toThrow();
    await expect(adapt({ ...begun, maxTokens: 16 }, shell)).rejects.toThrow(/begun with another model, other prompts/);
    const few = join(dir, "few.jsonl");
    await writeFile(few, '{"prompt": "Once"}\n');
    await expect(adapt({ ...options, prompts: [few], out: join(dir, "few") }, shell)).rejects.toThrow(
      /1 prompts, none of them for tune/,
    );
    const python = { ...options, python: join(dir, "no-python"), out: join(dir, "python") };
    const said: string[] = [];
    await adapt(python, { ...shell, say: (line) => void said.push(line) });
    expect(said).toContainEqual(expect.stringMatching(/no draft heads: .*too few|no draft heads: .*no-python/));
  },
  WHOLE_MS,
);

it("runs again what an engine was too busy for, and nothing else", async () => {
  let runs = 0;
  const failing = (times: number, error: Error) => async () => {
    if (++runs <= times) throw error;
    return runs;
  };
  const busy = new StepError("overloaded", "Busy.");
  expect(await patiently(failing(4, busy), () => undefined)).toBe(5);
  runs = 0;
  await expect(patiently(failing(5, busy), () => undefined)).rejects.toThrow("Busy.");
  runs = 0;
  await expect(patiently(failing(1, new Error("other")), () => undefined)).rejects.toThrow("other");
  expect(runs).toBe(1);
});

it.each([
  [[], /--model FILE\.gguf, --prompts FILE and --out DIR are needed/],
  [["--model", "tiny", "--prompts", "p", "--out", "o"], /--model takes a GGUF file/],
  [["--model", "a.gguf", "--prompts", "p", "--out", "o", "--minutes", "0"], /--minutes/],
])("refuses %j", (argv, words) => {
  expect(() => parseAdaptOptions(argv)).toThrow(words);
});
