import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunRequest } from "../../shared/decode/run-request.ts";
import { StepError } from "../../shared/errors.ts";
import { GrammarError } from "../../shared/grammar/expression.ts";
import type { Grammars } from "../../shared/grammar/grammars.ts";
import type { TokenGrammar } from "../../shared/grammar/token-grammar.ts";
import type { BundleManifest, FileEntry } from "../../shared/manifest.ts";
import { loadPack } from "../../shared/ngram/format.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { createRescorer, engineWork, type RescorerSpec, rescorerModule, settings } from "../../shared/rescore/index.ts";
import { pairLack } from "../../shared/rescore/module.ts";
import { PairTables } from "../../shared/rescore/pair-scores.ts";
import type { Rescorer } from "../../shared/rescore/rescorer.ts";
import { readGrammars } from "../grammars.ts";

/** What drafts of a run are made from. */
export type Drafted = Pick<RunRequest, "rescorer" | "pack" | "prediction">;

type Parts = Pick<BundleManifest, "packs" | "calibration" | "graphs" | "tokenizer" | "eosTokens">;

/** What drafts beside the model: the rescorers of shared/ with this bundle's packs, each loaded when first asked for. */
export class Drafting {
  readonly #bundleDir: string;
  readonly #manifest: Parts;
  readonly #packs = new Map<string, Promise<NgramModel>>();
  #pairs: Promise<PairTables> | null = null;
  #grammars: Promise<Grammars> | null = null;

  private constructor(bundleDir: string, manifest: Parts) {
    this.#bundleDir = bundleDir;
    this.#manifest = manifest;
  }

  /** Of a bundle that the model's process has checked. */
  static async of(bundleDir: string): Promise<Drafting> {
    const manifest = JSON.parse(await readFile(join(bundleDir, "manifest.json"), "utf8")) as Parts;
    return new Drafting(bundleDir, manifest);
  }

  /** Rejects with StepError "unsupported" where this bundle lacks what it takes. */
  async rescorer({ rescorer: spec, pack, prediction }: Drafted): Promise<Rescorer> {
    const missing = rescorerModule(spec.type).needs(this.#manifest);
    if (missing !== null) throw lacks(`a ${missing}`);
    const { calibration } = this.#manifest;
    const model = pack === null ? null : await this.#pack(pack);
    const pair = engineWork(spec).pair ? await this.#pair(spec) : null;
    return createRescorer(spec, model, calibration, prediction, pair);
  }

  /** Rejects with StepError "invalid_request" where the grammar is none. */
  async grammar(source: string): Promise<TokenGrammar> {
    const { tokenizer, eosTokens } = this.#manifest;
    this.#grammars ??= readGrammars(join(this.#bundleDir, tokenizer.path), eosTokens);
    const grammars = await this.#grammars;
    try {
      return grammars.of(source);
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error;
      throw new StepError("invalid_request", `The grammar cannot be used: ${error.message}.`, "grammar");
    }
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
    return loadPack(await this.#read(path, hash, "that n-gram pack"));
  }

  async #pair(spec: RescorerSpec): Promise<PairTables> {
    const { pair: entry } = this.#manifest.graphs;
    const missing = rescorerModule(spec.type).calibrated ? pairLack(this.#manifest, settings(spec)) : null;
    if (missing !== null || entry == null) throw lacks(`a ${missing ?? "table of pairs"}`);
    const loading = this.#pairs ?? this.#loadPair(entry);
    this.#pairs = loading;
    loading.catch(() => {
      this.#pairs = null;
    });
    return await loading;
  }

  async #loadPair({ path, sha256 }: FileEntry): Promise<PairTables> {
    return new PairTables(await this.#read(path, sha256, "that table of pairs"));
  }

  async #read(path: string, hash: string, what: string): Promise<Uint8Array> {
    const bytes = await readFile(join(this.#bundleDir, path));
    if (createHash("sha256").update(bytes).digest("hex") !== hash) throw lacks(`${what}: its file has changed`);
    return bytes;
  }
}

function lacks(what: string): StepError {
  return new StepError("unsupported", `The engine's bundle lacks ${what}.`);
}
