import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { Tokenizer } from "@huggingface/tokenizers";
import { withExactSplits } from "../../shared/tokenizer-json.ts";
import { isWide, tokensOf } from "./token-file.ts";

/** A tokenizer.json with what the trainer must know of it. */
export interface LoadedTokenizer {
  readonly encode: (text: string) => number[];
  readonly vocabSize: number;
  /** Hex SHA-256 of the file: the identity stored in packs. */
  readonly hash: string;
}

export async function readInputFile(path: string): Promise<Buffer> {
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new Error(error.code === "ENOENT" ? `${path}: no such file` : `${path}: ${error.message}`);
  });
}

export async function loadTokenizer(path: string): Promise<LoadedTokenizer> {
  const bytes = await readInputFile(path);
  const json: { model: { vocab: Record<string, number> }; added_tokens?: { id: number }[] } = JSON.parse(
    bytes.toString("utf8"),
  );
  const ids = [...Object.values(json.model.vocab), ...(json.added_tokens ?? []).map((token) => token.id)];
  const tokenizer = new Tokenizer(withExactSplits(json), {});
  return {
    encode: (text) => tokenizer.encode(text, { add_special_tokens: false }).ids,
    vocabSize: ids.reduce((a, b) => Math.max(a, b), -1) + 1,
    hash: createHash("sha256").update(bytes).digest("hex"),
  };
}

/** Told how much of the file, compressed or not, has been read: 0..1. */
export type OnRead = (done: number) => void;

/**
 * The token file of a text input, made on first use and kept in `cacheDir`: `.u16` and `.u32` are taken as they are; `.txt`
 * (documents separated by two blank lines) and `.jsonl` (every string in a row's prompt, response, text and turns
 * is one document; a turn may be a row with a text itself), also `.xz`, are tokenised.
 */
export async function tokenFileOf(
  path: string,
  tokenizer: LoadedTokenizer,
  cacheDir: string,
  onRead: OnRead = () => undefined,
): Promise<string> {
  const { size, mtimeMs } = await stat(path).catch(() => {
    throw new Error(`${path}: no such file`);
  });
  if (/\.u(16|32)$/.test(path)) return path;
  const key = createHash("sha256").update(`${path}\0${size}\0${mtimeMs}\0${tokenizer.hash}`).digest("hex").slice(0, 16);
  const target = join(cacheDir, `${basename(path)}.${key}.${isWide(tokenizer.vocabSize) ? "u32" : "u16"}`);
  if (existsSync(target)) return target;
  await mkdir(cacheDir, { recursive: true });
  const file = await open(`${target}.part`, "w");
  try {
    const write = async (ids: readonly number[]) =>
      await file.write(new Uint8Array(tokensOf([ids], tokenizer.vocabSize).buffer));
    for await (const document of documentsOf(path, (bytes) => onRead(bytes / size))) {
      await write(tokenizer.encode(document));
    }
    await write([]);
  } finally {
    await file.close();
  }
  await rename(`${target}.part`, target);
  return target;
}

async function* documentsOf(path: string, onBytes: (read: number) => void): AsyncGenerator<string> {
  const plain = path.replace(/\.xz$/, "");
  if (plain.endsWith(".jsonl")) {
    let number = 0;
    for await (const line of readLines(path, onBytes)) {
      number++;
      if (line.trim() !== "") yield* rowTexts(parseRow(line, `${path}, line ${number}`));
    }
  } else if (plain.endsWith(".txt")) {
    yield* splitDocuments(readLines(path, onBytes));
  } else {
    throw new Error(`${path}: expected .txt, .jsonl (both also .xz), .u16 or .u32`);
  }
}

function parseRow(line: string, where: string): Record<string, unknown> {
  try {
    const row: unknown = JSON.parse(line);
    if (typeof row === "object" && row !== null) return row as Record<string, unknown>;
  } catch {
    // Said below, with the place.
  }
  throw new Error(`${where}: not a JSON object`);
}

async function* readLines(path: string, onBytes: (read: number) => void): AsyncGenerator<string> {
  const file = createReadStream(path);
  file.on("data", () => onBytes(file.bytesRead));
  if (!path.endsWith(".xz")) {
    yield* linesOf(file);
    return;
  }
  const child = spawn("xz", ["-dc"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<number | null>((done, failed) => child.on("close", done).on("error", failed));
  // A reader that stops early would leave xz waiting on a full pipe, and this process waiting for xz.
  const piped = pipeline(file, child.stdin).catch(() => undefined);
  try {
    yield* linesOf(child.stdout);
    const code = await ended;
    if (code !== 0) throw new Error(`xz -dc < ${path} ended with code ${code}`);
  } finally {
    child.kill();
    file.destroy();
    await Promise.allSettled([piped, ended]);
  }
}

/** Lines end at a line feed and nowhere else: `readline` ends them at U+2028 too, which JSON strings may hold. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield withoutReturn(line);
  }
  rest += decoder.decode();
  if (rest !== "") yield withoutReturn(rest);
}

const withoutReturn = (line: string): string => (line.endsWith("\r") ? line.slice(0, -1) : line);

/** Documents are separated by two blank lines or more. */
export async function* splitDocuments(lines: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string> {
  let document: string[] = [];
  let blank = 0;
  for await (const line of lines) {
    if (line === "") {
      blank++;
      continue;
    }
    if (blank >= 2 && document.length > 0) {
      yield document.join("\n");
      document = [];
    } else if (document.length > 0) {
      for (; blank > 0; blank--) document.push("");
    }
    blank = 0;
    document.push(line);
  }
  if (document.length > 0) yield document.join("\n");
}

function* rowTexts(row: Record<string, unknown>): Generator<string> {
  const turns = Array.isArray(row.turns) ? row.turns.map((turn) => turn?.text ?? turn) : [];
  for (const field of [row.prompt, row.response, row.text, ...turns]) {
    if (typeof field === "string" && field !== "") yield field;
  }
}
