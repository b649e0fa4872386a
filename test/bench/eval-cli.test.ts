import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";

const METHODS = "ar,none,ngram-2,0gram-4best,neural,oracle-4,prompt-lookup";
/** Test files run side by side; threads that spin for one another would only take turns. */
const ONE_THREAD = ["--threads", "1"];
let dir = "";

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-eval-"));
  const rows = [
    { id: "a", category: "chat", turns: ["Tell me about the sea.", "And the land?"] },
    { id: "b", category: "text", prompt: "Once upon a time there was" },
    { id: "c", category: "text", prompt: "The first of the" },
  ];
  await writeFile(join(dir, "rows.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
});

afterAll(() => rm(dir, { recursive: true, force: true }));

/** Runs the command as `npm run eval` would; the summary is the last line of stdout. */
async function evalCli(...args: string[]) {
  const { stdout } = await promisify(execFile)(process.execPath, ["bench/commands/eval.ts", ...args, "--json"], {
    cwd: ROOT,
  });
  const lines = stdout.trimEnd().split("\n");
  return JSON.parse(lines.at(-1) ?? "");
}

describe("npm run eval on the tiny bundle", () => {
  test("ends with one line of JSON in the contract's shape, every method true to plain decoding", async () => {
    const live = await evalCli(
      ...["--bundle", "tiny", ...ONE_THREAD, "--prompts", join(dir, "rows.jsonl"), "--methods", METHODS],
      ...["--max-tokens", "20", "--out", join(dir, "live.json")],
    );
    expect(Object.keys(live)).toEqual(["overall", "categories"]);
    expect(Object.keys(live.categories)).toEqual(["chat", "text"]);
    expect(Object.keys(live.overall)).toEqual(METHODS.split(","));
    for (const [method, counts] of Object.entries<Record<string, number>>(live.overall)) {
      expect(counts, method).toMatchObject({ prompts: 3, completions: 4, tokens: live.overall.ar.tokens });
      expect(counts.identical_to_plain! + counts.float_ties!, method).toBeGreaterThanOrEqual(3);
      expect(counts.block_efficiency, method).toBeCloseTo(counts.tokens! / counts.steps!);
    }
    expect(live.overall.ar.block_efficiency).toBe(1);
    const stored = JSON.parse(await readFile(join(dir, "live.json"), "utf8"));
    expect(stored.summary).toEqual(live);
    expect(stored.run.command).toContain("--max-tokens 20");
  });

  test("a stored trace replays to the counts of its own run, without prompts or model", async () => {
    const trace = join(dir, "rows.fdtr");
    const common = ["--methods", METHODS];
    const made = await evalCli(
      ...["--bundle", "tiny", ...ONE_THREAD, "--prompts", join(dir, "rows.jsonl"), "--max-tokens", "20"],
      ...["--save-trace", trace, ...common],
    );
    expect(await evalCli("--replay", trace, ...common)).toEqual(made);
  });

  test("a mistake is told in one line and fails", async () => {
    const failed = evalCli("--bundle", "tiny", "--prompts", join(dir, "none.jsonl"));
    await expect(failed).rejects.toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("none.jsonl") });
  });
});
