import { mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { assembleAssets } from "../../scripts/assets.ts";
import { freePort, waitUntilReady } from "../../scripts/net.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-scripts-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function bundle(name: string, manifest: string): Promise<ReadonlyMap<string, string>> {
  const at = join(dir, "cache", name);
  await mkdir(join(at, "packs"), { recursive: true });
  await writeFile(join(at, "manifest.json"), manifest);
  await writeFile(join(at, "tokenizer.json"), "{}");
  await writeFile(join(at, "packs", "general.fdlm"), "pack");
  await writeFile(join(at, "base.onnx"), "weights");
  return new Map([[name, at]]);
}

describe("assets", () => {
  const read = (path: string) => readFile(join(dir, "assets", path), "utf8").catch(() => null);

  test("hold the demo page and what the edge reads of a bundle, not the weights", async () => {
    await assembleAssets(join(dir, "assets"), await bundle("a", "one"));
    expect(await read("index.html")).toMatch(/<html/);
    expect(await read("bundles/a/manifest.json")).toBe("one");
    expect(await read("bundles/a/tokenizer.json")).toBe("{}");
    expect(await read("bundles/a/packs/general.fdlm")).toBe("pack");
    expect(await read("bundles/a/base.onnx")).toBeNull();
    expect(await read("bundles/a/pair.safetensors")).toBeNull();
    const bundles = await bundle("a", "one");
    await writeFile(join(bundles.get("a")!, "pair.safetensors"), "tables");
    await assembleAssets(join(dir, "assets"), bundles);
    expect(await read("bundles/a/pair.safetensors")).toBe("tables");
  });

  test("follow a bundle that was compiled anew, and drop what it no longer has", async () => {
    const assets = join(dir, "assets");
    await assembleAssets(assets, await bundle("a", "one"));
    await rm(join(dir, "cache"), { recursive: true });
    const bundles = await bundle("a", "another");
    await rm(join(dir, "cache", "a", "packs", "general.fdlm"));
    await assembleAssets(assets, bundles);
    expect(await read("bundles/a/manifest.json")).toBe("another");
    expect(await read("bundles/a/packs/general.fdlm")).toBeNull();
  });

  test("that were damaged where they lie are laid again", async () => {
    const assets = join(dir, "assets");
    const bundles = await bundle("a", "one");
    await assembleAssets(assets, bundles);
    await rm(join(assets, "bundles", "a", "packs", "general.fdlm"));
    await writeFile(join(assets, "bundles", "a", "packs", "general.fdlm"), "pick");
    await assembleAssets(assets, bundles);
    expect(await read("bundles/a/packs/general.fdlm")).toBe("pack");
  });

  test("of another run stay, unless only these are wanted", async () => {
    const assets = join(dir, "assets");
    await assembleAssets(assets, await bundle("a", "one"));
    await assembleAssets(assets, await bundle("b", "two"));
    expect(await read("bundles/a/manifest.json")).toBe("one");
    await assembleAssets(assets, await bundle("b", "two"), "remove");
    expect(await read("bundles/a/manifest.json")).toBeNull();
    expect(await read("bundles/b/manifest.json")).toBe("two");
  });

  test("larger than Cloudflare takes are refused by name, and nothing half-written stays", async () => {
    const bundles = await bundle("a", "one");
    const pack = join(dir, "cache", "a", "packs", "general.fdlm");
    await truncate(pack, (25 << 20) + 1);
    await expect(assembleAssets(join(dir, "assets"), bundles)).rejects.toThrow(/general\.fdlm has 26214401 bytes/);
    await expect(stat(join(dir, "assets", "bundles", "a", "packs", "general.fdlm"))).rejects.toThrow();
  });
});

describe("ports", () => {
  test("that are taken are reported with the option that changes them", async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as { port: number };
    await expect(freePort("127.0.0.1", port, "--port")).rejects.toThrow(
      `port ${port} on 127.0.0.1 is in use; choose another with --port`,
    );
    await new Promise((done) => server.close(done));
    expect(await freePort("127.0.0.1", port, "--port")).toBe(port);
  });

  test("are chosen where none is named", async () => {
    const port = await freePort("127.0.0.1", 0, "--port");
    expect(port).toBeGreaterThan(0);
    // Where no connection can take it meanwhile.
    expect(port).toBeLessThan(32_768);
  });
});

test("waiting for a server ends at once when it is called off", async () => {
  const calledOff = AbortSignal.abort(new Error("called off"));
  await expect(waitUntilReady("http://127.0.0.1:9/readyz", 60_000, calledOff)).rejects.toThrow("called off");
});
