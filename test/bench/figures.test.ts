import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { EvalSummary, MethodSummary } from "../../bench/eval/summary.ts";
import { RESULTS } from "../../bench/suite/options.ts";
import { readStored } from "../../bench/suite/stored.ts";
import { ROOT } from "../../scripts/paths.ts";

/** Figures in the documents are those of the runs kept in bench/results, as far as a run is kept. */

const README = readFileSync(join(ROOT, "README.md"), "utf8");
const MEASURED = readFileSync(join(ROOT, "docs", "measured.md"), "utf8");

/** A run as `npm run bench -- NAME --store` or `npm run eval -- --out` keeps it. */
interface Kept {
  readonly run: { readonly command: string; readonly commit: string };
}
interface KeptDecode extends Kept {
  readonly result: Readonly<
    Record<
      "ar_tokens_per_s" | "speculative_tokens_per_s" | "llama_cpp_tokens_per_s" | "speedup" | "block_efficiency",
      number
    >
  >;
}
interface KeptLoad extends Kept {
  readonly result: {
    readonly streams: Readonly<Record<string, Record<"plain_tok_s" | "default_tok_s" | "llama_cpp_tok_s", number>>>;
  };
}
interface KeptEval extends Kept {
  readonly summary: EvalSummary;
}

const pathOf = (name: string) => join(RESULTS, `${name}.json`);
const read = <T>(name: string) => JSON.parse(readFileSync(pathOf(name), "utf8")) as T;

/** The cells of the table row that begins with `first`, below `heading`. */
function rowOf(text: string, heading: string, first: string): string[] {
  const section = text.slice(text.indexOf(heading)).split("\n## ")[0]!;
  const row = section.split("\n").find((line) => line.startsWith(`| ${first} |`));
  return (row ?? "").split("|").map((cell) => cell.trim());
}

describe("figures", () => {
  test("of block efficiency are the stored replay's", async () => {
    const stored = await readStored(pathOf("replay"), "replay");
    const bench = stored!.sets.find(({ set }) => set === "spec_bench")!;
    const columns =
      "none,ngram-4,ngram-4-prompt,ngram-4-16best,pair,neural,path-lm,path,tree-16,tree,medusa-63,oracle-16,prompt-lookup,recycling-63".split(
        ",",
      );
    const titles: Readonly<Record<string, string>> = { qa: "question answering", rag: "RAG" };
    const cell = ({ block_efficiency: efficiency, gain_over_none: gain }: MethodSummary, gains: boolean) => {
      const change = gain === null || !gains ? "" : ` (${gain < 0 ? "-" : "+"}${Math.abs(100 * gain).toFixed(1)} %)`;
      return `${efficiency!.toFixed(2)}${change}`;
    };
    for (const [category, methods] of Object.entries({ ...bench.categories, all: bench.overall })) {
      const cells = columns.map((name) => cell(methods[name]!, category === "all" && name !== "none"));
      expect(rowOf(MEASURED, "## Block efficiency", titles[category] ?? category).slice(2, -1)).toEqual(cells);
    }
    const few = "none,ngram-4,neural,ngram-4-prompt,path,medusa-63,tree-16,tree,oracle-16".split(",");
    for (const { title, prompts, categories, overall } of stored!.sets) {
      const methods = Object.keys(categories).length > 1 ? overall : Object.values(categories)[0]!;
      const cells = [String(prompts), ...few.map((name) => cell(methods[name]!, false))];
      expect(rowOf(MEASURED, "## Block efficiency", title).slice(2, 2 + cells.length)).toEqual(cells);
    }
    const of = (name: string) => cell(bench.overall[name]!, name !== "none");
    const short = {
      "heads alone": of("none"),
      "refined by the n-gram model, one path": of("ngram-4"),
      "with the prompt's n-grams": of("ngram-4-prompt"),
      "16 best paths": of("ngram-4-16best"),
      "re-ranked by the local neural rescorer, one path": of("neural"),
      "calibrated tree of 16 nodes, of 63": `${of("tree-16")}, ${of("tree")}`,
    };
    for (const [title, figures] of Object.entries(short)) expect(rowOf(README, "## Measured", title)[2]).toBe(figures);
  });

  // Below: of runs that take a quiet machine, kept with the commands of bench/README.md.
  test.skipIf(!existsSync(pathOf("decode")))("of one stream are the stored run's", () => {
    const { result } = read<KeptDecode>("decode");
    const { ar_tokens_per_s: plain, speculative_tokens_per_s: drafted, speedup } = result;
    const cells = [plain.toFixed(1), `${drafted.toFixed(1)} (${speedup.toFixed(2)}x)`];
    const llama = result.llama_cpp_tokens_per_s.toFixed(1);
    expect(rowOf(README, "## Measured", "one stream, tokens/s").slice(2, 5)).toEqual([...cells, llama]);
    expect(rowOf(MEASURED, "## Speed", "plain decoding")[2]).toBe(`${cells[0]} tokens/s`);
    expect(rowOf(MEASURED, "## Speed", "with drafts, default settings")[2]).toBe(
      `${drafted.toFixed(1)} tokens/s (${speedup.toFixed(2)}x), block efficiency ${result.block_efficiency.toFixed(2)}`,
    );
  });

  test.skipIf(!existsSync(pathOf("load")))("of many streams are the stored run's", () => {
    const { streams } = read<KeptLoad>("load").result;
    for (const [title, n] of Object.entries({ "4 streams, tokens/s of all": 4, "32 streams": 32 })) {
      const { plain_tok_s: plain, default_tok_s: drafted, llama_cpp_tok_s: llama } = streams[n]!;
      const gained = `${drafted.toFixed(1)} (${(drafted / plain).toFixed(2)}x)`;
      expect(rowOf(README, "## Measured", title).slice(2, 5)).toEqual([plain.toFixed(1), gained, llama.toFixed(1)]);
    }
  });

  test.skipIf(!existsSync(pathOf("identity")))("of identical texts are the stored run's", () => {
    const { overall } = read<KeptEval>("identity").summary;
    const { ar: _, ...refined } = overall;
    for (const [name, method] of Object.entries(refined)) {
      const said = `${method.identical_to_plain} of ${method.completions}`;
      expect(MEASURED, name).toContain(said);
      expect(rowOf(README, "## Measured", "greedy, refined by n-grams or trees, against plain decoding")[2]).toBe(
        `${said} prompts`,
      );
    }
  });

  test("of stored runs say by which command they were made", () => {
    for (const name of ["decode", "load", "identity", "replay", "tune", "live"]) {
      if (!existsSync(pathOf(name))) continue;
      const { run } = read<Kept>(name);
      expect(run.command, name).toMatch(/^npm run (bench|eval|tune) /);
      expect(run.commit, name).toMatch(/^[0-9a-f]{40}$/);
    }
  });
});
