import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fileOfSet } from "../../bench/data/files.ts";
import { makeSet, PICKED } from "../../bench/data/make.ts";
import { SOURCES, type Source } from "../../bench/data/sources.ts";
import { readRows } from "../../bench/eval/rows.ts";

let dir: string;
let server: Server;
let base: string;
let served: Map<string, Buffer>;
let asked: string[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-data-"));
  served = new Map();
  asked = [];
  server = createServer((request, response) => {
    asked.push(request.url!);
    const body = served.get(request.url!);
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await rm(dir, { recursive: true, force: true });
});

const LINES: Readonly<Record<string, readonly object[]>> = {
  spec_bench: [
    { question_id: 7, category: "roleplay", turns: ["a", "b"] },
    { question_id: 9, category: "math_reasoning", turns: ["1+1?"], reference: [["2"]] },
  ],
  gsm8k: [{ question: "1+1?", answer: "2" }],
  humaneval: [{ task_id: "HumanEval/3", prompt: "def f():", canonical_solution: " pass", test: "" }],
  mbpp: [{ task_id: 11, text: "Add.", code: "+", test_list: [] }],
  lambada: [{ text: "a b c" }, { text: "a b c" }, { text: "d e" }],
  wikitext: [{ instructions: "The", gold_ref: "The end" }],
  wikinews: [{ instructions: "The", gold_ref: "The end" }],
};

/** Rows by hand, in order: [id, category, input, references]. */
const ROWS: Readonly<Record<string, readonly unknown[]>> = {
  spec_bench: [
    ["spec_bench/7", "multi-turn", ["a", "b"], []],
    ["spec_bench/9", "math", ["1+1?"], ["2"]],
  ],
  gsm8k: [["gsm8k/0", "gsm8k", ["1+1?\nSolve it step by step."], ["2"]]],
  humaneval: [["humaneval/3", "humaneval", "def f():", [" pass"]]],
  mbpp: [["mbpp/11", "mbpp", ["Add."], ["+"]]],
  lambada: [
    ["lambada/0", "lambada", "a b", ["c"]],
    ["lambada/1", "lambada", "d", ["e"]],
  ],
  wikitext: [["wikitext/0", "wikitext", "The", ["The end"]]],
  wikinews: [["wikinews/0", "wikinews", "The", ["The end"]]],
};

/** The same source with other lines, served. */
function standIn(source: Source): Source {
  const text = Buffer.from(LINES[source.name]!.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const content = source.path.endsWith(".gz") ? gzipSync(text) : text;
  served.set(`/${source.repository}/${source.commit}/${source.path}`, content);
  return { ...source, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
}

const gsm8k = SOURCES.find(({ name }) => name === "gsm8k")!;

describe("an evaluation set", () => {
  test.each(SOURCES)("$name is made of the lines of its source", async (source) => {
    const numbers = ROWS[source.name]!.map((row) => Number(/\d+$/.exec((row as string[])[0]!)![0]));
    await makeSet(standIn(source), { tune: numbers.slice(1), test: numbers.slice(0, 1) }, { dir, base });
    const rows = await readRows([await fileOfSet(dir, source.name)], { split: null, limit: null, perCategory: null });
    expect(rows.map(({ id, category, input, references }) => [id, category, inputOf(input), references])).toEqual(
      ROWS[source.name],
    );
    expect(rows.map(({ split }) => split)).toEqual(numbers.map((_, i) => (i === 0 ? "test" : "tune")));
  });

  test("is fetched once", async () => {
    const source = standIn(gsm8k);
    const picked = { tune: [], test: [0] };
    const first = await readFile(await makeSet(source, picked, { dir, base }), "utf8");
    expect(await readFile(await makeSet(source, picked, { dir, base }), "utf8")).toBe(first);
    expect(asked).toHaveLength(1);
  });

  test("is not made of another file, nor where there is none, and nothing half done is left", async () => {
    const source = { ...standIn(gsm8k), sha256: "0".repeat(64) };
    await expect(makeSet(source, PICKED.gsm8k!, { dir, base })).rejects.toThrow(
      /gsm8k: .* has another SHA-256 than 000/,
    );
    served.clear();
    await expect(makeSet(gsm8k, PICKED.gsm8k!, { dir, base })).rejects.toThrow(
      /gsm8k: .*test.jsonl could not be fetched: HTTP 404/,
    );
    expect(await readdir(join(dir, "sources"))).toEqual([]);
    await expect(fileOfSet(dir, "gsm8k")).rejects.toThrow(/npm run data/);
  });

  test("is not made where rows are missing", async () => {
    await expect(makeSet(standIn(gsm8k), { tune: [5], test: [0] }, { dir, base })).rejects.toThrow(
      "gsm8k: 1 rows of 2 are there",
    );
  });

  test("has rows to tune on and others to report", () => {
    expect(Object.keys(PICKED)).toEqual(SOURCES.map(({ name }) => name));
    for (const { tune, test } of Object.values(PICKED)) {
      expect(tune.length).toBeGreaterThan(20);
      expect(new Set([...tune, ...test]).size).toBe(tune.length + test.length);
    }
  });
});

function inputOf(input: Awaited<ReturnType<typeof readRows>>[number]["input"]): unknown {
  return input.kind === "prompt" ? input.prompt : input.turns;
}
