import { z } from "zod";

/** A row as bench/eval/rows.ts reads it, but for its id, category and split. */
type Asked = { readonly turns: readonly string[] } | { readonly prompt: string };

/** Where the rows of an evaluation set come from. Which of them are used, and for what, is in rows.json. */
export interface Source {
  readonly name: string;
  /** A repository at a commit, and a file in it. */
  readonly repository: string;
  readonly commit: string;
  readonly path: string;
  readonly bytes: number;
  /** Hex, of the file. */
  readonly sha256: string;
  readonly licence: string;
  /** The rows of its lines, each with the number that rows.json knows it by. Throws ZodError where a line is another. */
  readonly rows: (lines: readonly unknown[]) => readonly SourceRow[];
}

export type SourceRow = Asked & {
  readonly number: number;
  readonly category?: string;
  readonly references: readonly string[];
};

const gsm8k = z.object({ question: z.string(), answer: z.string() });
const humanEval = z.object({ task_id: z.string(), prompt: z.string(), canonical_solution: z.string() });
const mbpp = z.object({ task_id: z.number(), text: z.string(), code: z.string() });
const continuation = z.object({ instructions: z.string(), gold_ref: z.string() });
const passage = z.object({ text: z.string() });
const specBench = z.object({
  question_id: z.number(),
  category: z.string(),
  turns: z.array(z.string()),
  reference: z.array(z.union([z.string(), z.array(z.string())])).default([]),
});

/** MT-Bench's categories, of questions in two turns, are one of Spec-Bench's. */
const SPEC_BENCH_CATEGORIES: Readonly<Record<string, string>> = {
  translation: "translation",
  summarization: "summarization",
  qa: "qa",
  math_reasoning: "math",
  rag: "rag",
};

const continuations = (lines: readonly unknown[]) =>
  lines.map((line, number) => {
    const { instructions, gold_ref } = continuation.parse(line);
    return { number, prompt: instructions, references: [gold_ref] };
  });

const CONTINUATIONS = { repository: "DavidFanzz/llm_decoding", commit: "bdb025d9bdb2e9b20e18edaa5dc5b0db9e3ee046" };

export const SOURCES: readonly Source[] = [
  {
    name: "spec_bench",
    repository: "hemingkx/Spec-Bench",
    commit: "fd2c1cd7d2201ef71db4c5f4e455008f017967bf",
    path: "data/spec_bench/question.jsonl",
    bytes: 698_768,
    sha256: "4b6d33e79484f9841c487ee87d1cf6aa8c6066f61d5d482ff09e5a007fafdf04",
    licence: "Apache-2.0; articles to summarise are CNN/DailyMail's",
    rows: (lines) =>
      lines.map((line) => {
        const { question_id, category, turns, reference } = specBench.parse(line);
        const named = SPEC_BENCH_CATEGORIES[category] ?? "multi-turn";
        return { number: question_id, category: named, turns, references: reference.flat() };
      }),
  },
  {
    name: "gsm8k",
    repository: "openai/grade-school-math",
    commit: "3101c7d5072418e28b9008a6636bde82a006892c",
    path: "grade_school_math/data/test.jsonl",
    bytes: 749_738,
    sha256: "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    licence: "MIT",
    rows: (lines) =>
      lines.map((line, number) => {
        const { question, answer } = gsm8k.parse(line);
        return { number, turns: [`${question}\nSolve it step by step.`], references: [answer] };
      }),
  },
  {
    name: "humaneval",
    repository: "openai/human-eval",
    commit: "6d43fb980f9fee3c892a914eda09951f772ad10d",
    path: "data/HumanEval.jsonl.gz",
    bytes: 44_877,
    sha256: "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    licence: "MIT",
    rows: (lines) =>
      lines.map((line) => {
        const { task_id, prompt, canonical_solution } = humanEval.parse(line);
        return { number: Number(task_id.split("/")[1]), prompt, references: [canonical_solution] };
      }),
  },
  {
    name: "mbpp",
    ...CONTINUATIONS,
    path: "data/mbpp/test.jsonl",
    bytes: 287_032,
    sha256: "88d690200dbe7f37274844b41276646481b217c4995df688914b5fb3eced79ce",
    licence: "CC BY 4.0",
    rows: (lines) =>
      lines.map((line) => {
        const { task_id, text, code } = mbpp.parse(line);
        return { number: task_id, turns: [text], references: [code] };
      }),
  },
  {
    name: "lambada",
    repository: "BlinkDL/ChatRWKV",
    commit: "965e40b85288a91c94c02bfa56adc3ce0fa20a82",
    path: "misc/lambada_test.jsonl",
    bytes: 1_819_752,
    sha256: "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
    licence: "CC BY 4.0",
    rows: (lines) => {
      // Two passages occur twice.
      const texts = [...new Set(lines.map((line) => passage.parse(line).text))];
      return texts.map((text, number) => {
        const end = text.lastIndexOf(" ");
        return { number, prompt: text.slice(0, end), references: [text.slice(end + 1)] };
      });
    },
  },
  {
    name: "wikitext",
    ...CONTINUATIONS,
    path: "data/wikitext/test.jsonl",
    bytes: 617_961,
    sha256: "aa8b2bc37d1912a85567582391c9481b63669feea2c14babe97a85c58e7df79e",
    licence: "CC BY-SA 3.0",
    rows: continuations,
  },
  {
    name: "wikinews",
    ...CONTINUATIONS,
    path: "data/wikinews/test.jsonl",
    bytes: 1_031_751,
    sha256: "ec40f2c6705680397c7fc78761a744843e2647dd8ded2a752b469f063b816248",
    licence: "CC BY 2.5",
    rows: continuations,
  },
];
