import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { describe, expect, test } from "vitest";
import { ROOT } from "../scripts/paths.ts";
import { ERRORS } from "../shared/errors.ts";

/** What a reader or a reviewer would otherwise have to watch for, over every file that git would keep. */

const LISTED = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: ROOT });
const BINARY = /\.(png|jpg|ico|gguf|safetensors|fdlm|npz|bin|woff2)$/;
const files = LISTED.toString()
  .split("\0")
  .filter((file) => file !== "" && !BINARY.test(file))
  .flatMap((path) => {
    try {
      return [{ path, text: readFileSync(join(ROOT, path), "utf8") }];
    } catch {
      return []; // Deleted, not yet committed.
    }
  });
const code = files.filter(({ path }) => /\.(ts|mjs|js|py)$/.test(path));
const typescript = files.filter(({ path }) => path.endsWith(".ts"));

/** "path:line: text" of every line that matches. */
function linesMatching(pattern: RegExp, among: readonly { path: string; text: string }[]): string[] {
  return among.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
  );
}

/** Every module a file imports: repository paths for relative ones, names for packages. */
function importsOf({ path, text }: { path: string; text: string }): string[] {
  const statements =
    /^(?:import|export)\s+(?:type\s+)?(?:[\w*{},\s]+?\sfrom\s+)?["']([^"'\n]+)["']|\bimport\(\s*(?:["']([^"'\n]+)["']|(\w+)\s*\))/gm;
  return [...text.matchAll(statements)].map((match) => {
    const name = match[1] ?? match[2] ?? constantOf(match[3] ?? "", text);
    return name.startsWith(".") ? posix.join(posix.dirname(path), name) : name;
  });
}

/** The text that a file's constant stands for; its name where it has none, which no rule allows. */
function constantOf(name: string, text: string): string {
  return new RegExp(`^const ${name}(?:: string)? = "([^"\\n]+)";$`, "m").exec(text)?.[1] ?? `the value of ${name}`;
}

/** Imports that `allowed` does not name: packages, or how names begin; and what it allows without need. */
function importsAgainst(from: string, allowed: readonly string[]): string[] {
  const imports = typescript
    .filter(({ path }) => path.startsWith(from))
    .flatMap((file) => importsOf(file).map((name) => ({ path: file.path, name })));
  const allows = (start: string, name: string) =>
    /\w$/.test(start) ? name === start || name.startsWith(`${start}/`) : name.startsWith(start);
  const stale = allowed.filter((start) => !imports.some(({ name }) => allows(start, name)));
  return [
    ...imports.flatMap(({ path, name }) =>
      allowed.some((start) => allows(start, name)) ? [] : [`${path} -> ${name}`],
    ),
    ...stale.map((start) => `${from} may import ${start}, and does not`),
  ];
}

/** Files that import each other, types included, each circle in the order in which it was walked. */
function circlesAmong(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const circles: string[][] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) circles.push(trail.slice(at));
    if (done.has(path)) return;
    done.add(path);
    for (const next of graph.get(path) ?? []) walk(next, [...trail, path]);
  };
  for (const path of graph.keys()) walk(path, []);
  return circles;
}

describe("imports", () => {
  test("are recognised by this file's own reading of them", () => {
    expect(
      importsOf({ path: "a/b.ts", text: 'import {\n x } from "../c.ts";\nexport * from "d";\nimport "node:fs";' }),
    ).toEqual(["c.ts", "d", "node:fs"]);
    expect(
      importsOf({
        path: "a/b.ts",
        text: 'const C: string = "./c.ts";\nimport("d"); import(C);\nawait import(computed)',
      }),
    ).toEqual(["d", "a/c.ts", "the value of computed"]);
    expect(importsAgainst("test/tidy", ["vitest", "hono"])).toEqual(
      expect.arrayContaining(["test/tidy.test.ts -> scripts/paths.ts", "test/tidy may import hono, and does not"]),
    );
  });

  test("of shared/ stay in shared/, but for the frames' msgpackr, the rescorers' zod and the traces' OpenTelemetry", () => {
    const known = /^shared\/(rescore\/.* -> zod|telemetry\/tracing.ts -> @opentelemetry\/[\w-]+)$/;
    const outside = importsAgainst("shared/", ["shared/"]).filter((line) => !known.test(line));
    expect(outside).toEqual(["shared/wire/frame.ts -> msgpackr"]);
  });

  test("of edge/ reach edge/, shared/ and packages, nothing of Node's but what workerd has", () => {
    expect(importsAgainst("edge/", ["edge/", "shared/", "hono", "zod", "@huggingface/", "cloudflare:"])).toEqual([]);
  });

  test("of gpu-worker/ never reach the edge but for its routes, the models' compiler or tests", () => {
    const inside = ["gpu-worker/", "shared/", "node:", "onnxruntime-", "onnx-proto", "ws", "prom-client", "zod"];
    // The compiler of the kernel, which is loaded where there is no compiled one yet.
    const compiler = "gpu-worker/integer/kernel.ts -> assemblyscript/asc";
    // OpenAI's routes are the edge's, wherever they are answered.
    const routes = ["app", "config"].map((name) => `gpu-worker/api/api.ts -> edge/${name}.ts`);
    expect(importsAgainst("gpu-worker/", inside)).toEqual([...routes, compiler]);
  });

  test("of models/ and train/ do not reach the servers", () => {
    const both = ["models/", "shared/", "node:"];
    const compiler = ["@huggingface/", "onnx-proto", "cli-progress", "fs-native-extensions", "tar", "undici", "zod"];
    expect(importsAgainst("models/", [...both, ...compiler])).toEqual([]);
    expect(importsAgainst("train/", [...both, "train/", "@huggingface/"])).toEqual([]);
  });

  test("go round in no circle", () => {
    const graph = new Map(code.map((file) => [file.path, importsOf(file)]));
    expect(circlesAmong(graph).map((circle) => circle.join(" -> "))).toEqual([]);
    const round = { a: ["b", "c"], b: ["c"], c: ["d", "b"], d: ["e"] };
    expect(circlesAmong(new Map(Object.entries(round)))).toEqual([["b", "c"]]);
  });
});

/** What asc compiles rather than tsc, and biome neither lints nor lays out: AssemblyScript, in files that end like TypeScript's. */
const ASSEMBLY = "gpu-worker/integer/assembly/";

describe("the kernel's AssemblyScript", () => {
  const assembly = files.filter(({ path }) => path.startsWith(ASSEMBLY));
  const textOf = (path: string) => files.find((file) => file.path === path)?.text ?? "";

  test("is all of it reached from its index, imports nothing else, and is imported by nobody else", () => {
    const reached = new Set([`${ASSEMBLY}index`]);
    for (const path of reached) for (const name of importsOf({ path, text: textOf(`${path}.ts`) })) reached.add(name);
    expect([...reached].map((path) => `${path}.ts`).sort()).toEqual(assembly.map(({ path }) => path).sort());
    const others = typescript.filter(({ path }) => !path.startsWith(ASSEMBLY));
    expect(others.filter((file) => importsOf(file).some((name) => name.startsWith(ASSEMBLY)))).toEqual([]);
  });

  test("is what tsc and biome leave out, and nothing else of the gpu-worker is", () => {
    const folder = ASSEMBLY.slice(0, -1);
    const { exclude } = JSON.parse(textOf("tsconfig.json")) as { exclude: string[] };
    expect(exclude.filter((path) => path.startsWith("gpu-worker"))).toEqual([folder]);
    const { files: included } = JSON.parse(textOf("biome.json")) as { files: { includes: string[] } };
    expect(included.includes.filter((path) => path.startsWith("!gpu-worker"))).toEqual([`!${folder}`]);
  });

  test("has lines as short as biome makes them elsewhere, and no spaces at their ends", () => {
    expect(linesMatching(/^.{121}|\s$/, assembly)).toEqual([]);
  });

  test("exports what TypeScript is told of, with the same parameters", () => {
    const exported = [...textOf(`${ASSEMBLY}index.ts`).matchAll(/^export \{ ([^}]+) \} from/gm)];
    const names = exported.flatMap(([, list]) => list!.split(", ")).sort();
    const declared = [...textOf("gpu-worker/integer/kernel-functions.ts").matchAll(/^ {2}(\w+)\(([^)]*)\): void;$/gm)];
    expect(declared.map(([, name]) => name).sort()).toEqual(names);
    for (const [, name, parameters] of declared) {
      const definition = new RegExp(`^export function ${name}\\(([^)]*)\\): void \\{$`, "m");
      const [, defined] = assembly.flatMap(({ text }) => definition.exec(text) ?? []);
      expect(parametersOf(defined ?? ""), name).toEqual(parametersOf(parameters!));
    }
  });
});

/** Their names; a parameter that sets a global of its name ends in an underscore. */
function parametersOf(list: string): string[] {
  return [...list.matchAll(/(\w+?)_?: /g)].map(([, name]) => name!);
}

describe("every file", () => {
  test("of code is short enough to be read at once", () => {
    const long = code.map(({ path, text }) => `${path}: ${text.split("\n").length}`);
    expect(long.filter((line) => Number(line.split(": ")[1]) > 300)).toEqual([]);
  });

  test("keeps its types", () => {
    expect(linesMatching(/(:|\bas) any\b|<any>|@ts-(ignore|expect-error|nocheck)/, outsideThis(typescript))).toEqual(
      [],
    );
  });

  test("is finished", () => {
    expect(linesMatching(/\b(TO(?=DO)DO|FIX(?=ME)ME|XX(?=X)X|HACK)\b|\bdebugger\b/, outsideThis(code))).toEqual([]);
  });

  test("runs all its tests", () => {
    expect(linesMatching(/\b(it|test|describe)\.(only|todo)\b/, outsideThis(typescript))).toEqual([]);
  });

  test("names no machine and no package registry", () => {
    const paths = ["work", "farm", "root"].map((name) => `(^|[\\s"'\`(=:])/${name}/`);
    const hosts = ["registry\\.(npm|yarn)", "pypi\\.org", "python" + "hosted", "deb\\.(debian)"];
    expect(linesMatching(new RegExp([...paths, ...hosts].join("|")), outsideThis(files))).toEqual([]);
  });

  test("is small, large files being binary", () => {
    const large = files.filter(({ text }) => text.length > 512 * 1024).map(({ path }) => path);
    // The counts of every method on every set, and the page drawn from them with its charts in it.
    expect(large.sort()).toEqual(["bench/results/replay.json", "docs/report.html"]);
  });
});

/** What was trained here and cannot be fetched from elsewhere. */
const LARGE = [
  "models/smollm2-135m/heads.safetensors",
  "models/smollm2-135m/neural.safetensors",
  "models/smollm2-135m/packs/general.fdlm",
  "models/smollm2-135m/packs/mixed.fdlm",
  "models/smollm2-135m/pair.safetensors",
  "models/tiny/tiny.gguf",
];

test("nothing above 1 MB is kept, or was ever, but what was trained here", () => {
  const git = (args: readonly string[], input?: Buffer) =>
    execFileSync("git", args, { cwd: ROOT, input, maxBuffer: 2 ** 28 });
  const objects = git(["rev-list", "--objects", "HEAD"]);
  const sizes = git(["cat-file", "--batch-check=%(objecttype) %(objectsize) %(rest)"], objects).toString().split("\n");
  const large = sizes.flatMap((line) => {
    const [, bytes, path] = /^blob (\d+) (.*)$/.exec(line) ?? [];
    return Number(bytes) > 1024 * 1024 ? [path!] : [];
  });
  expect([...new Set(large)].sort()).toEqual(LARGE);
});

test("the lockfile carries no addresses", () => {
  expect(
    linesMatching(
      /"resolved": "https?:/,
      files.filter(({ path }) => path === "package-lock.json"),
    ),
  ).toEqual([]);
});

test("every error of the table is documented, with its status", () => {
  const docs = files
    .filter(({ path }) => path.startsWith("docs/"))
    .map(({ text }) => text)
    .join("\n");
  for (const [name, { status }] of Object.entries(ERRORS)) {
    expect(docs, name).toMatch(new RegExp(`\`${name}\`[^\\n]*${status}|${status}[^\\n]*\`${name}\``));
  }
});

/** This file spells out what it looks for. */
function outsideThis(among: typeof files): typeof files {
  return among.filter(({ path }) => path !== "test/tidy.test.ts");
}
