import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseSuiteOptions } from "../../bench/suite/options.ts";
import { LIVE_METHODS } from "../../bench/suite/sets.ts";
import { readStored, type StoredReplay } from "../../bench/suite/stored.ts";
import { ROOT } from "../../scripts/paths.ts";

let dir = "";
const at = (name: string) => join(dir, name);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-suite-"));
  await data("lambada", (split) => ({ prompt: "Once upon a time there was", references: ["a king"], split }));
  await data("spec_bench", (split, i) => ({
    turns: [`Tell me about number ${i}.`, "And more?"],
    category: i % 2 === 0 ? "qa" : "math",
    split,
  }));
});

afterAll(() => rm(dir, { recursive: true, force: true }));

async function data(name: string, row: (split: string, i: number) => object): Promise<void> {
  const lines = [0, 1, 2, 3, 4, 5].map((i) =>
    JSON.stringify({ id: `${name}/${i}`, category: name, ...row(i < 4 ? "test" : "tune", i) }),
  );
  await writeFile(at(`${name}.jsonl`), lines.join("\n"));
  execFileSync("xz", ["-0", at(`${name}.jsonl`)]);
}

async function run(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args], { cwd: ROOT });
  return stdout;
}

function suite(stage: string, ...args: string[]): Promise<string> {
  const common = ["--bundle", "tiny", "--traces", at("traces"), "--data", dir, "--sets", "spec_bench,lambada"];
  return run("bench/commands/eval.ts", "--suite", stage, ...common, "--scale", "0.1", ...args);
}

describe("the suite on the tiny bundle", () => {
  test("traces, tunes, replays to the same counts again, decodes live and is reported", async () => {
    // Test files run side by side; threads that spin for one another would only take turns.
    const one = ["--threads", "1"];
    expect(await suite("trace", ...one)).toContain("4 files");
    await run(
      "bench/commands/tune.ts",
      ...["--traces", at("traces"), "--methods", "ngram-2,ngram-3"],
      "--alphas",
      "0,0.4",
      "--out",
      at("tune.json"),
    );
    const tune = await readStored(at("tune.json"), "tune");
    expect(Object.keys(tune?.result["ngram-3"] ?? {})).toEqual(expect.arrayContaining(["qa", "lambada", "overall"]));

    const methods = "ar,none,ngram-2,ngram-3,0gram-4best,medusa-8,recycling-8,oracle-2,oracle-16,prompt-lookup";
    for (const out of ["replay.json", "again.json"])
      await suite("replay", "--methods", methods, "--tuned", at("tune.json"), "--out", at(out));
    const [first, second] = await Promise.all(["replay.json", "again.json"].map((f) => readStored(at(f), "replay")));
    expect(counts(second)).toEqual(counts(first));
    expect(first?.sets.map(({ set }) => set)).toEqual(["spec_bench", "lambada"]);
    expect(first?.sets[0]?.categories.qa?.none?.identical_to_plain).toBe(first?.sets[0]?.categories.qa?.none?.prompts);
    expect(first?.sets[1]?.scores?.means).toHaveProperty("accuracy");
    expect(first?.sets[1]?.categories.lambada?.["recycling-8"]?.block_efficiency).toBeGreaterThan(1);
    expect(first?.hardware.methods.none?.block_efficiency).toBe(first?.sets[0]?.overall.none?.block_efficiency);

    await suite(
      "live",
      ...one,
      "--methods",
      "ar,ngram-3,medusa-8",
      "--tuned",
      at("tune.json"),
      "--out",
      at("live.json"),
    );
    const live = await readStored(at("live.json"), "live");
    expect(live?.sets[0]?.overall["medusa-8"]?.speed_up).toBeGreaterThan(0);
    expect(live?.sets[0]?.overall.ar?.tokens_per_s).toBeGreaterThan(0);
    expect(live?.perplexity?.drafted).toBeCloseTo(live?.perplexity?.plain ?? 0, 2);

    await run("bench/commands/report.ts", "--results", dir, "--out", at("report.html"), "--figures", at("figures"));
    const page = await readFile(at("report.html"), "utf8");
    expect(page).toContain("Refinement, task by task");
    expect(page).not.toMatch(/undefined|NaN|\[object/);
    expect(await readFile(join(at("figures"), "oracle.svg"), "utf8")).toMatch(/^<svg /);
  }, 240_000);
});

/** All but when and how it ran. */
function counts(stored: StoredReplay | null | undefined) {
  return { ...stored, run: null };
}

describe("suite options", () => {
  test("have defaults, and 'default' stands for the stage's methods", () => {
    expect(parseSuiteOptions(["trace"])).toMatchObject({ stage: "trace", splits: ["tune", "test"], scale: 1 });
    expect(parseSuiteOptions(["live", "--methods", "default,tree-8"])?.methods).toEqual([...LIVE_METHODS, "tree-8"]);
    expect(LIVE_METHODS).toEqual(expect.arrayContaining(["ar", "none", "tree", "medusa-63", "llama.cpp"]));
    expect(parseSuiteOptions(["--help"])).toBeNull();
  });

  test.each([
    [[], "--suite"],
    [["sing"], "--suite"],
    [["trace", "--sets", "nope"], "--sets"],
    [["trace", "--scale", "0"], "--scale"],
    [["trace", "--split", "train"], "--split"],
  ])("%j is refused naming the option", (argv, option) => {
    expect(() => parseSuiteOptions(argv)).toThrow(option);
  });
});
