import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { IntegerShape, Layout } from "./layout.ts";

/** The functions of assembly/, which documents them. Addresses and counts are int32. */
export interface Kernel {
  configure(
    width: number, heads: number, kvHeads: number, headDim: number, ffn: number, pages: number, arena: number,
    rotary: number, context: number, epsilon: number, headBlock: number, ffnBlock: number,
  ): void;
  embed(from: number, to: number, tokens: number, table: number, scales: number, x: number): void;
  addAndNormalise(
    from: number, to: number, rows: number, sums: number, starts: number, offsets: number, columnScales: number,
    scales: number, x: number, bytes: number, byteScales: number,
  ): void;
  splitHeads(
    from: number, to: number, rows: number, layer: number, sums: number, starts: number, offsets: number,
    columnScales: number, scales: number, positions: number, slots: number, queryScale: number, scratch: number,
    queries: number, queryScales: number,
  ): void;
  attend(
    from: number, to: number, layer: number, items: number, queries: number, queryScales: number, out: number,
    scratch: number,
  ): void;
  quantise(from: number, to: number, source: number, count: number, bytes: number, byteScales: number): void;
  gate(
    from: number, to: number, rows: number, sums: number, starts: number, offsets: number, columnScales: number,
    scales: number, scratch: number, bytes: number, byteScales: number,
  ): void;
  logits(
    from: number, to: number, rows: number, sums: number, starts: number, columns: number, offsets: number,
    columnScales: number, scales: number, best: number, floats: number,
  ): void;
  moveSlot(layers: number, from: number, to: number): void;
}

const SOURCES = join(import.meta.dirname, "assembly");
const FLAGS = [
  "-O3", "--converge", "--noAssert", "--runtime", "stub", "--enable", "simd", "--enable", "threads", "--importMemory",
  "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536",
];

/**
 * The compiled kernel, made by AssemblyScript where `cacheDir` has none of these sources yet: a few seconds, once.
 * Throws Error with the compiler's words where it does not compile.
 */
export async function kernelCode(cacheDir: string): Promise<WebAssembly.Module> {
  const names = (await readdir(SOURCES)).filter((name) => name.endsWith(".ts")).sort();
  const sources = new Map<string, string>();
  for (const name of names) sources.set(name, await readFile(join(SOURCES, name), "utf8"));
  const hash = createHash("sha256").update(JSON.stringify([FLAGS, ...sources])).digest("hex");
  const path = join(cacheDir, "kernels", `${hash.slice(0, 16)}.wasm`);
  const known = await readFile(path).catch(() => null);
  if (known !== null) return await WebAssembly.compile(known);
  const code = await compile(sources);
  await mkdir(dirname(path), { recursive: true });
  const part = `${path}.${process.pid}.part`;
  await writeFile(part, code);
  await rename(part, path);
  return await WebAssembly.compile(code);
}

async function compile(sources: ReadonlyMap<string, string>): Promise<Uint8Array<ArrayBuffer>> {
  // Seldom needed, and slow to load.
  const asc = await import("assemblyscript/asc");
  let code: Uint8Array | null = null;
  const { error, stderr } = await asc.main(["index.ts", "--outFile", "kernel.wasm", ...FLAGS], {
    readFile: (name) => sources.get(name) ?? null,
    writeFile: (_, contents) => void (code = contents as Uint8Array),
    listFiles: () => [],
  });
  if (error !== null || code === null) throw new Error(`the kernel does not compile: ${stderr.toString()}`);
  return new Uint8Array(code);
}

/** One thread's instance over the shared memory. */
export async function startKernel(
  code: WebAssembly.Module,
  memory: WebAssembly.Memory,
  shape: IntegerShape,
  layout: Layout,
): Promise<Kernel> {
  const instance = await WebAssembly.instantiate(code, {
    env: {
      memory,
      abort: () => {
        throw new Error("the kernel aborted");
      },
    },
  });
  const kernel = instance.exports as unknown as Kernel;
  const { width, heads, kvHeads, headDim, ffn, contextTokens, normEps } = shape;
  kernel.configure(
    width, heads, kvHeads, headDim, ffn, layout.pages, layout.arena, layout.rotary, contextTokens, normEps,
    layout.headBlock, layout.ffnBlock,
  );
  return kernel;
}
