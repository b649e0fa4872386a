import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { Tokenizer } from "@huggingface/tokenizers";
import { withExactSplits } from "../../shared/tokenizer-json.ts";
import { SEPARATOR } from "./token-file.ts";

/** A tokenizer.json with what the trainer must know of it. */
export interface LoadedTokenizer {
  readonly encode: (text: string) => number[];
  readonly vocabSize: number;
  /** Hex SHA-256 of the file: the identity stored in packs. */
  readonly hash: string;
}

export async function loadTokenizer(path: string): Promise<LoadedTokenizer> {
  const bytes = await readFile(path);
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

/**
 * The token file of a text input, made on first use and kept in `cacheDir`: `.u16` is taken as it is; `.txt`
 * (documents separated by two blank lines) and `.jsonl` (every string in a row's prompt, response, text and turns
 * is one document), also `.xz`, are tokenised.
 */
export async function tokenFileOf(path: string, tokenizer: LoadedTokenizer, cacheDir: string): Promise<string> {
  if (path.endsWith(".u16")) return path;
  const { size, mtimeMs } = await stat(path);
  const key = createHash("sha256").update(`${path}\0${size}\0${mtimeMs}\0${tokenizer.hash}`).digest("hex").slice(0, 16);
  const target = join(cacheDir, `${basename(path)}.${key}.u16`);
  if (existsSync(target)) return target;
  await mkdir(cacheDir, { recursive: true });
  const file = await open(`${target}.part`, "w");
  try {
    for await (const document of documentsOf(path)) {
      await file.write(new Uint8Array(Uint16Array.from([...tokenizer.encode(document), SEPARATOR]).buffer));
    }
    await file.write(new Uint8Array(Uint16Array.of(SEPARATOR).buffer));
  } finally {
    await file.close();
  }
  await rename(`${target}.part`, target);
  return target;
}

async function* documentsOf(path: string): AsyncGenerator<string> {
  const plain = path.replace(/\.xz$/, "");
  const lines = readLines(path);
  if (plain.endsWith(".jsonl")) {
    for await (const line of lines) if (line.trim() !== "") yield* rowTexts(JSON.parse(line));
  } else if (plain.endsWith(".txt")) {
    yield* splitDocuments(lines);
  } else {
    throw new Error(`${path}: expected .txt, .jsonl (both also .xz) or .u16`);
  }
}

async function* readLines(path: string): AsyncGenerator<string> {
  if (!path.endsWith(".xz")) {
    yield* createInterface({ input: createReadStream(path), crlfDelay: Infinity });
    return;
  }
  const child = spawn("xz", ["-dc", path], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<number | null>((done, failed) => child.on("close", done).on("error", failed));
  yield* createInterface({ input: child.stdout, crlfDelay: Infinity });
  const code = await ended;
  if (code !== 0) throw new Error(`xz -dc ${path} ended with code ${code}`);
}

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
  const fields = [row.prompt, row.response, row.text, ...(Array.isArray(row.turns) ? row.turns : [])];
  for (const field of fields) if (typeof field === "string" && field !== "") yield field;
}
