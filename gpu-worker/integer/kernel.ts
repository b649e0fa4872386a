import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { kernelsAgree } from "./kernel-check.ts";
import { instantiate, type Kernel } from "./kernel-functions.ts";
import type { IntegerShape, Layout } from "./layout.ts";

/** Not a literal at its import: the package's types redefine those of Node. */
const COMPILER: string = "assemblyscript/asc";

interface Compiler {
  main(
    arguments_: readonly string[],
    files: {
      readonly readFile: (name: string) => string | null;
      readonly writeFile: (name: string, contents: string | Uint8Array) => void;
      readonly listFiles: () => readonly string[];
    },
  ): Promise<{ readonly error: Error | null; readonly stderr: { toString(): string } }>;
}

const SOURCES = join(import.meta.dirname, "assembly");
const FLAGS = [
  "-O3",
  "--converge",
  "--noAssert",
  "--runtime",
  "stub",
  "--enable",
  "simd",
  "--enable",
  "threads",
  "--importMemory",
  "--sharedMemory",
  "--initialMemory",
  "1",
  "--maximumMemory",
  "65536",
];

/**
 * The compiled kernel, made by AssemblyScript where `cacheDir` has none of these sources yet: a few seconds, once.
 * Throws Error with the compiler's words where it does not compile.
 */
export async function kernelCode(cacheDir: string): Promise<WebAssembly.Module> {
  return await fastest(await kernelBytes(cacheDir));
}

export async function kernelBytes(cacheDir: string): Promise<Uint8Array> {
  const names = (await readdir(SOURCES)).filter((name) => name.endsWith(".ts")).sort();
  const sources = new Map<string, string>();
  for (const name of names) sources.set(name, await readFile(join(SOURCES, name), "utf8"));
  const hash = createHash("sha256")
    .update(JSON.stringify([FLAGS, ...sources]))
    .digest("hex");
  const path = join(cacheDir, "kernels", `${hash.slice(0, 16)}.wasm`);
  const known = await readFile(path).catch(() => null);
  if (known !== null && WebAssembly.validate(known)) return known;
  const code = await compile(sources);
  await mkdir(dirname(path), { recursive: true });
  const part = `${path}.${randomUUID()}.part`;
  await writeFile(part, code);
  await rename(part, path);
  return code;
}

/**
 * V8's optimised code of the kernel, with vectors of 256 bits in place of 128 where that gives the same bits: such code
 * is an experiment of V8's, and half as fast again in attention.
 */
async function fastest(bytes: Uint8Array): Promise<WebAssembly.Module> {
  // Compiled once and well, here: the quick first compilation would serve for the first seconds.
  setFlagsFromString("--no-liftoff");
  setFlagsFromString("--no-wasm-lazy-compilation");
  const plain = new WebAssembly.Module(bytes);
  setFlagsFromString("--experimental-wasm-revectorize");
  // Other bytes, as V8 would find the code that it has for the same ones: an empty custom section named "w".
  const wide = new WebAssembly.Module(Uint8Array.of(...bytes, 0, 2, 1, 119));
  setFlagsFromString("--no-experimental-wasm-revectorize");
  return (await kernelsAgree(plain, wide)) ? wide : plain;
}

async function compile(sources: ReadonlyMap<string, string>): Promise<Uint8Array<ArrayBuffer>> {
  // Seldom needed, and slow to load.
  const asc = (await import(COMPILER)) as Compiler;
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
  const kernel = await instantiate(code, memory);
  const { width, heads, kvHeads, headDim, ffn, contextTokens, normEps } = shape;
  kernel.configure(
    width,
    heads,
    kvHeads,
    headDim,
    ffn,
    layout.pages,
    layout.arena,
    contextTokens,
    normEps,
    layout.headBlock,
    layout.ffnBlock,
  );
  return kernel;
}
