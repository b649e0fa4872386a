import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { z } from "zod";
import type { ChatMessage } from "../../edge/openai/params.ts";

/** What is asked of the model: raw text to continue, or chat whose user turns are answered in order. */
export type RowInput =
  | { readonly kind: "prompt"; readonly prompt: string }
  | { readonly kind: "chat"; readonly before: readonly ChatMessage[]; readonly turns: readonly string[] };

export interface EvalRow {
  readonly id: string;
  readonly category: string;
  /** "tune" or "test" where the file says so. */
  readonly split: string | null;
  readonly input: RowInput;
  /** Correct answers, for scoring: of all turns together, none where the set has none. */
  readonly references: readonly string[];
}

const Message = z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() });
const Line = z.object({
  id: z.union([z.string(), z.number()]).optional(),
  category: z.string().min(1).optional(),
  split: z.string().nullish(),
  prompt: z.string().min(1).optional(),
  messages: z.array(Message).min(1).optional(),
  turns: z.array(z.string().min(1)).min(1).optional(),
  references: z.array(z.union([z.string(), z.array(z.string())])).default([]),
});

/** Checks one line. Throws an Error naming `where` and the field at fault. */
export function parseRow(line: string, where: string, fallbackId: string): EvalRow {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw new Error(`${where}: not JSON`);
  }
  const parsed = Line.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new Error(`${where}: ${issue?.path.join(".") || "row"}: ${issue?.message ?? "invalid"}`);
  }
  const { id, category, split, references } = parsed.data;
  return {
    id: String(id ?? fallbackId),
    category: category ?? "all",
    split: split ?? null,
    input: rowInput(parsed.data, where),
    references: references.flat(),
  };
}

function rowInput(line: z.infer<typeof Line>, where: string): RowInput {
  const { prompt, messages, turns } = line;
  const given = [prompt, messages, turns].filter((field) => field !== undefined).length;
  if (given !== 1) throw new Error(`${where}: needs exactly one of prompt, messages, turns; has ${given}`);
  if (prompt !== undefined) return { kind: "prompt", prompt };
  if (turns !== undefined) return { kind: "chat", before: [], turns };
  const last = messages?.at(-1);
  if (last?.role !== "user") throw new Error(`${where}: messages: the last one must be the user's`);
  return { kind: "chat", before: messages?.slice(0, -1) ?? [], turns: [last.content] };
}

export interface RowFilter {
  readonly split: string | null;
  /** Rows kept in all, and in each category; null keeps every row. The first ones in file order. */
  readonly limit: number | null;
  readonly perCategory: number | null;
}

/** Rows of JSONL files in order; `.xz` files are read through the `xz` program. */
export async function readRows(paths: readonly string[], filter: RowFilter): Promise<EvalRow[]> {
  const rows: EvalRow[] = [];
  const kept = new Map<string, number>();
  for (const path of paths) {
    let lineNumber = 0;
    for await (const line of readLines(path)) {
      lineNumber++;
      if (filter.limit !== null && rows.length >= filter.limit) return rows;
      if (line.trim() === "") continue;
      const name = basename(path);
      const row = parseRow(line, `${name}:${lineNumber}`, `${name}/${lineNumber}`);
      if (filter.split !== null && row.split !== filter.split) continue;
      const seen = kept.get(row.category) ?? 0;
      if (filter.perCategory !== null && seen >= filter.perCategory) continue;
      kept.set(row.category, seen + 1);
      rows.push(row);
    }
  }
  return rows;
}

/** The prompt, or the first message of a chat, of each row. */
export async function firstMessages(paths: readonly string[], filter: RowFilter): Promise<string[]> {
  const rows = await readRows(paths, filter);
  return rows.map(({ input }) => (input.kind === "prompt" ? input.prompt : input.turns[0]!));
}

async function* readLines(path: string): AsyncGenerator<string> {
  if (!path.endsWith(".xz")) {
    yield* splitLines(createReadStream(path));
    return;
  }
  const xz = spawn("xz", ["-dc", "--", path], { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(xz, "close");
  try {
    yield* splitLines(xz.stdout);
    const [code] = await closed;
    if (code !== 0) throw new Error(`xz could not read ${path} (exit ${code})`);
  } finally {
    // A reader that stops early must not leave the child waiting on a full pipe.
    xz.kill();
    await closed.catch(() => undefined);
  }
}

async function* splitLines(stream: Readable): AsyncGenerator<string> {
  stream.setEncoding("utf8");
  yield* createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
}
