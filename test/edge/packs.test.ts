import { describe, expect, test } from "vitest";
import { planDraft } from "../../edge/completion/draft-plan.ts";
import { parseCompletion } from "../../edge/openai/params.ts";
import type { PackStore, StoredPack } from "../../edge/packs/pack-store.ts";
import { checkPack, LoadedPacks, TenantPacks } from "../../edge/packs/tenant-packs.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import { CALIBRATION_VERSION } from "../../shared/rescore/calibration.ts";
import { writePack } from "../../train/ngram/pack.ts";
import { toyModel } from "../ngram/helpers.ts";
import { manifestOf, TOKENIZER_HASH, tokenizer } from "./fixture.ts";

const packOf = (seed: number) =>
  new Uint8Array(
    writePack(toyModel({ seed, order: 3, vocabSize: tokenizer.size, documents: 2, length: 50 }).table, TOKENIZER_HASH),
  );
const FILE = packOf(1);
const TOY = manifestOf("toy");

/** In memory; one tenant's. */
class Shelf implements PackStore {
  readonly kept = new Map<string, { readonly pack: StoredPack; bytes: Uint8Array<ArrayBuffer> }>();
  reads = 0;
  async list() {
    return [...this.kept.values()].map(({ pack }) => pack);
  }
  async read({ name }: StoredPack) {
    this.reads++;
    return this.kept.get(name)?.bytes ?? null;
  }
  async put(pack: Omit<StoredPack, "created">, bytes: Uint8Array<ArrayBuffer>) {
    this.kept.set(pack.name, { pack: { ...pack, created: 1 }, bytes });
    return true;
  }
  async remove(name: string | null) {
    const gone = [...this.kept.keys()].filter((one) => name === null || one === name);
    for (const one of gone) this.kept.delete(one);
    return gone.length;
  }
}

async function stocked(names: readonly string[], loaded = new LoadedPacks(), tenant = "ann") {
  const shelf = new Shelf();
  const packs = new TenantPacks(tenant, shelf, loaded);
  for (const [i, name] of names.entries()) {
    const file = packOf(i + 1);
    await packs.put(await checkPack(name, file, [TOY]), file);
  }
  return { shelf, packs };
}

describe("a tenant's packs", () => {
  test("are read once while they are used, and again by another tenant that has the same file", async () => {
    const loaded = new LoadedPacks();
    const ann = await stocked(["a", "b", "c"], loaded);
    const find = async (name: string) => (await ann.packs.find(name))!;
    const model = await ann.packs.load(await find("a"));
    expect(await ann.packs.load(await find("a"))).toBe(model);
    expect(ann.shelf.reads).toBe(1);
    const bob = await stocked(["a"], loaded, "bob");
    expect(await bob.packs.load((await bob.packs.find("a"))!)).not.toBe(model);
    expect(bob.shelf.reads).toBe(1);
    for (const name of ["b", "c", "a"]) await ann.packs.load(await find(name));
    expect(ann.shelf.reads).toBe(4);
  });

  test("are forgotten once removed, also where another isolate did that", async () => {
    const { shelf, packs } = await stocked(["a"]);
    const pack = (await packs.find("a"))!;
    await packs.load(pack);
    shelf.kept.clear();
    expect(await packs.find("a")).toBe(null);
    await expect(packs.load(pack)).rejects.toMatchObject({ code: "not_found" });
    expect(shelf.reads).toBe(2);
  });

  test("are not used where the store has spoilt them", async () => {
    const { shelf, packs } = await stocked(["a"]);
    shelf.kept.get("a")!.bytes = FILE.with(FILE.length - 1, 1 ^ FILE.at(-1)!);
    await expect(packs.load((await packs.find("a"))!)).rejects.toMatchObject({ code: "internal" });
  });
});

describe("a request with a tenant's pack", () => {
  const { speculation } = parseCompletion({ prompt: "a", speculation: { rescorer: { type: "tree", model: "mine" } } });
  const shipped = { name: "general", path: "x", bytes: 1, sha256: "ab", order: 4, ngrams: 1 };
  const calibration = { version: CALIBRATION_VERSION, command: "", pack: "general", weights: { "heads+lm": [] } };
  const plan = async (manifest: Partial<BundleManifest>, rescorer: object) => {
    const own = { ...(await checkPack("mine", FILE, [TOY])), created: 0 };
    const asked = { ...speculation, rescorer: { ...speculation.rescorer, ...rescorer } };
    return planDraft(asked, manifestOf("toy", manifest), { own, predicted: false, allowed: null });
  };

  test("runs at a gpu-worker by the model's pack, or without one", async () => {
    const both = await plan({ packs: [shipped] }, { type: "ngram" });
    expect(both).toMatchObject({ pack: null, ownPack: { name: "mine" }, rescorer: { alpha: 0.3 } });
    expect(both.elsewhere).toEqual({ rescorer: both.rescorer, pack: "ab" });
    const alone = await plan({}, { type: "ngram" });
    expect(alone.rescorer).toMatchObject({ alpha: 0.3, order: 3 });
    expect(alone.elsewhere).toEqual({ rescorer: { ...alone.rescorer, alpha: 0 }, pack: null });
    const unused = await plan({ packs: [shipped] }, { type: "ngram", params: { alpha: 0 } });
    expect(unused).toMatchObject({ pack: null, ownPack: null, elsewhere: { pack: null } });
  });

  test("is refused where the model's tokenizer is another one, or its trees know no packs", async () => {
    const other = { path: "tokenizer.json", bytes: 1, sha256: "00" };
    await expect(plan({ tokenizer: other }, { type: "ngram" })).rejects.toMatchObject({
      param: "speculation.rescorer.model",
    });
    await expect(plan({ calibration: { ...calibration, pack: null, weights: {} } }, {})).rejects.toMatchObject({
      param: "speculation.rescorer.alpha",
    });
    expect(await plan({ calibration }, {})).toMatchObject({ ownPack: { name: "mine" } });
  });
});
