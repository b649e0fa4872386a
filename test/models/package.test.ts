import { once } from "node:events";
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { create } from "tar";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureBundle } from "../../models/bundle.ts";
import { sealPackage } from "../../models/package.ts";
import { MODELS_DIR } from "../../models/source.ts";
import type { BundleManifest } from "../../shared/manifest.ts";

const kept = { cache: process.env.FOREDRAFT_CACHE, hub: process.env.FOREDRAFT_HUB };
const quiet = { onNotice: () => undefined };

let dir = "";
/** A package of `tiny`, its weights included, and its archive. */
let whole = "";
let archive = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-package-"));
  process.env.FOREDRAFT_CACHE = join(dir, "cache");
  whole = join(dir, "mine");
  await cp(join(MODELS_DIR, "tiny"), whole, { recursive: true });
  const source = JSON.parse(await readFile(join(whole, "source.json"), "utf8"));
  await writeFile(join(whole, "source.json"), JSON.stringify({ ...source, name: "mine" }));
  archive = await sealPackage(whole);
});
afterAll(async () => {
  for (const [name, value] of [
    ["FOREDRAFT_CACHE", kept.cache],
    ["FOREDRAFT_HUB", kept.hub],
  ] as const) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  await rm(dir, { recursive: true, force: true });
});

async function manifestOf(bundle: string): Promise<BundleManifest> {
  return JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8")) as BundleManifest;
}

/** A copy of the package, to be spoilt. */
async function copy(name: string): Promise<string> {
  const target = join(dir, name);
  await cp(whole, target, { recursive: true });
  return target;
}

describe("a package", () => {
  it("is compiled from its directory and from its archive to the same bundle, heads, packs and calibration included", async () => {
    const bundle = await ensureBundle(whole, quiet);
    expect(basename(bundle)).toBe("mine");
    const manifest = await manifestOf(bundle);
    const committed = await manifestOf(await ensureBundle("tiny", quiet));
    expect({ ...manifest, name: "tiny" }).toEqual(committed);
    expect(manifest.latticeHeads).toBeGreaterThan(0);
    expect(basename(archive)).toBe("mine.tar.gz");
    await rm(join(dir, "cache", "bundles"), { recursive: true });
    expect(await manifestOf(await ensureBundle(archive, quiet))).toEqual(manifest);
  });

  it("has the same archive whenever it is made", async () => {
    const before = await readFile(archive);
    await sealPackage(whole);
    expect(Buffer.compare(before, await readFile(archive))).toBe(0);
  });

  it("may have been archived as a directory", async () => {
    const file = join(dir, "folder.tgz");
    await create({ file, cwd: dir, gzip: true }, [basename(whole)]);
    expect(basename(await ensureBundle(file, quiet))).toBe("mine");
  });

  it("is fetched from the Hub", async () => {
    const bytes = await readFile(archive);
    const server = createServer(({ url }, response) => {
      const found = url === "/some/one/resolve/main/mine.tar.gz";
      response.writeHead(found ? 200 : 404, found ? { "content-length": bytes.length } : {});
      response.end(found ? bytes : undefined);
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    process.env.FOREDRAFT_HUB = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(basename(await ensureBundle("hf:some/one/mine.tar.gz", quiet))).toBe("mine");
    server.close();
  });

  it("does not take the name of a committed bundle", async () => {
    const other = await copy("other");
    await copyFile(join(MODELS_DIR, "tiny", "source.json"), join(other, "source.json"));
    await sealPackage(other);
    expect(basename(await ensureBundle(other, quiet))).toBe("tiny-package");
  });
});

describe("a package is refused", () => {
  it.each<[string, (copy: string) => Promise<unknown>, RegExp]>([
    ["without its list of files", (at) => rm(join(at, "foredraft.json")), /is no package: it has no foredraft\.json/],
    ["with a malformed list", (at) => writeFile(join(at, "foredraft.json"), "{"), /foredraft\.json/],
    [
      "that lists a file elsewhere",
      async (at) => {
        const file = { path: "../mine/source.json", bytes: 1, sha256: "0".repeat(64) };
        await writeFile(join(at, "foredraft.json"), JSON.stringify({ format: 1, files: [file] }));
      },
      /foredraft\.json: .*\n.*files\[0\]\.path/,
    ],
    ["without a file", (at) => rm(join(at, "heads.safetensors")), /heads\.safetensors is missing/],
    [
      "with a changed file",
      async (at) => {
        const heads = await readFile(join(at, "heads.safetensors"));
        heads[heads.length - 1]! ^= 1;
        await writeFile(join(at, "heads.safetensors"), heads);
      },
      /heads\.safetensors is not the file that foredraft\.json names/,
    ],
    [
      "with one file more",
      (at) => writeFile(join(at, "packs", "x.fdlm"), "x"),
      /x\.fdlm is not named in foredraft\.json/,
    ],
    [
      "whose source.json names what it does not hold",
      async (at) => {
        await rm(join(at, "heads.safetensors"));
        await sealPackage(at);
      },
      /source\.json names heads\.safetensors, which is not in it/,
    ],
  ])("%s", async (name, spoil, words) => {
    const at = await copy(name.replaceAll(/\W/g, "-"));
    await spoil(at);
    await expect(ensureBundle(at, quiet)).rejects.toThrow(words);
  });

  it("that is not there", async () => {
    await expect(ensureBundle(join(dir, "nothing"), quiet)).rejects.toThrow(/nothing is no package/);
    await expect(ensureBundle(join(dir, "nothing.tar.gz"), quiet)).rejects.toThrow(
      /there is no file .*nothing\.tar\.gz/,
    );
  });

  it("as an archive that is damaged, or holds links", async () => {
    const cut = join(dir, "cut.tar.gz");
    const bytes = await readFile(archive);
    await writeFile(cut, bytes.subarray(0, bytes.length / 2));
    await expect(ensureBundle(cut, quiet)).rejects.toThrow(/cut\.tar\.gz is no archive of a package/);
    const at = join(dir, "links");
    await mkdir(at);
    await symlink("/etc/hostname", join(at, "source.json"));
    const linked = join(dir, "linked.tar");
    await create({ file: linked, cwd: at }, ["source.json"]);
    await expect(ensureBundle(linked, quiet)).rejects.toThrow(/source\.json is no plain file/);
    expect((await readdir(join(dir, "cache", "packages"))).filter((name) => name.endsWith(".part"))).toEqual([]);
  });
});
