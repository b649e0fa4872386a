import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { StepError } from "../shared/errors.ts";
import type { BundleManifest } from "../shared/manifest.ts";
import { loadPack } from "../shared/ngram/format.ts";
import type { NgramModel } from "../shared/ngram/model.ts";
import { createRescorer, type RescorerSpec, rescorerModule } from "../shared/rescore/index.ts";
import type { Rescorer } from "../shared/rescore/rescorer.ts";

type Parts = Pick<BundleManifest, "packs" | "calibration" | "graphs">;

/** What drafts beside the model: the rescorers of shared/ with this bundle's packs, each loaded when first asked for. */
export class Drafting {
  readonly #bundleDir: string;
  readonly #manifest: Parts;
  readonly #packs = new Map<string, Promise<NgramModel>>();

  private constructor(bundleDir: string, manifest: Parts) {
    this.#bundleDir = bundleDir;
    this.#manifest = manifest;
  }

  /** Of a bundle that the model's process has checked. */
  static async of(bundleDir: string): Promise<Drafting> {
    const manifest = JSON.parse(await readFile(join(bundleDir, "manifest.json"), "utf8")) as Parts;
    return new Drafting(bundleDir, manifest);
  }

  /** `pack`: SHA-256, hex. Rejects with StepError "unsupported" where this bundle lacks what it takes. */
  async rescorer(spec: RescorerSpec, pack: string | null): Promise<Rescorer> {
    const missing = rescorerModule(spec.type).needs(this.#manifest);
    if (missing !== null) throw lacks(`a ${missing}`);
    return createRescorer(spec, pack === null ? null : await this.#pack(pack), this.#manifest.calibration);
  }

  async #pack(hash: string): Promise<NgramModel> {
    const entry = this.#manifest.packs.find(({ sha256 }) => sha256 === hash);
    if (entry === undefined) throw lacks("that n-gram pack");
    const loading = this.#packs.get(hash) ?? this.#load(entry.path, hash);
    this.#packs.set(hash, loading);
    loading.catch(() => this.#packs.delete(hash));
    return await loading;
  }

  async #load(path: string, hash: string): Promise<NgramModel> {
    const bytes = await readFile(join(this.#bundleDir, path));
    if (createHash("sha256").update(bytes).digest("hex") !== hash)
      throw lacks("that n-gram pack: its file has changed");
    return loadPack(bytes);
  }
}

function lacks(what: string): StepError {
  return new StepError("unsupported", `The engine's bundle lacks ${what}.`);
}
