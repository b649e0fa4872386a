import { StepError } from "../../shared/errors.ts";
import { Grammars } from "../../shared/grammar/grammars.ts";
import { LIMITS } from "../../shared/limits.ts";
import { type BundleManifest, type FileEntry, MANIFEST_FORMAT, type PackEntry } from "../../shared/manifest.ts";
import { loadPack, readPackHeader } from "../../shared/ngram/format.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import { PairTables } from "../../shared/rescore/pair-scores.ts";
import { sha256Hex } from "../sha256.ts";
import { type ChatPrompt, createChatPrompt } from "./chat-template.ts";
import { createTokenizer, type TextTokenizer } from "./tokenizer.ts";

/** What the edge needs of a bundle. */
export interface TextBundle {
  readonly manifest: BundleManifest;
  readonly tokenizer: TextTokenizer;
  readonly grammars: Grammars;
  /** null: the bundle has no chat template. */
  readonly chatPrompt: ChatPrompt | null;
}

/** Reads `<bundle name>/<path>`; null where there is no such file. */
export type ReadFile = (path: string) => Promise<Uint8Array<ArrayBuffer> | null>;

/** Packs kept in memory at once: an isolate has 128 MB, a pack up to 25. */
const PACKS_KEPT = 2;

/**
 * The bundles this deployment serves, each file loaded once and checked against its manifest. Only
 * finished objects are kept, never promises: in workerd one request must not wait for another's I/O.
 */
export class Bundles {
  readonly names: readonly string[];
  readonly #read: ReadFile;
  readonly #manifests = new Map<string, BundleManifest>();
  readonly #bundles = new Map<string, TextBundle>();
  readonly #packs = new Map<string, NgramModel>();
  readonly #pairs = new Map<string, PairTables>();

  /** `names`: the first is the default model. */
  constructor(names: readonly string[], read: ReadFile) {
    this.names = names;
    this.#read = read;
  }

  /** null: the default. Throws StepError "model_not_found", or "engine_unavailable" for missing files. */
  async manifest(name: string | null): Promise<BundleManifest> {
    const model = name ?? this.names[0];
    if (model === undefined || !this.names.includes(model)) {
      throw new StepError(
        "model_not_found",
        `The model '${model ?? ""}' does not exist; GET /v1/models lists those served.`,
        "model",
      );
    }
    const kept = this.#manifests.get(model);
    if (kept !== undefined) return kept;
    const bytes = await this.#read(`${model}/manifest.json`);
    if (bytes === null) throw new StepError("engine_unavailable", `The files of model '${model}' are not deployed.`);
    const manifest = checkManifest(JSON.parse(new TextDecoder().decode(bytes)), model);
    this.#manifests.set(model, manifest);
    return manifest;
  }

  /** Throws as `manifest` does, and "engine_unavailable" where a file differs from its manifest. */
  async bundle(name: string | null): Promise<TextBundle> {
    const manifest = await this.manifest(name);
    const kept = this.#bundles.get(manifest.name);
    if (kept !== undefined) return kept;
    const tokenizer = createTokenizer(await this.#file(manifest, manifest.tokenizer));
    const nameOf = (token: number | null | undefined) => (token == null ? "" : tokenizer.name(token));
    const names = { bos: nameOf(manifest.bosToken), eos: nameOf(manifest.eosTokens[0]) };
    const { chatTemplate } = manifest;
    const chatPrompt = chatTemplate === null ? null : createChatPrompt(chatTemplate, tokenizer, names);
    const grammars = new Grammars(tokenizer, manifest.eosTokens);
    const bundle: TextBundle = { manifest, tokenizer, grammars, chatPrompt };
    this.#bundles.set(manifest.name, bundle);
    return bundle;
  }

  async pack(manifest: BundleManifest, entry: PackEntry): Promise<NgramModel> {
    const kept = this.#packs.get(entry.sha256);
    if (kept !== undefined) return kept;
    const bytes = await this.#file(manifest, entry);
    if (readPackHeader(bytes).tokenizerHash !== manifest.tokenizer.sha256) {
      throw new StepError("engine_unavailable", `Pack '${entry.name}' was trained with another tokenizer.`);
    }
    const model = loadPack(bytes);
    this.#packs.set(entry.sha256, model);
    const oldest = this.#packs.keys().next();
    if (this.#packs.size > PACKS_KEPT && !oldest.done) this.#packs.delete(oldest.value);
    return model;
  }

  /** The bundle's tables of pairs; null where it has none. */
  async pair(manifest: BundleManifest): Promise<PairTables | null> {
    const { pair: entry } = manifest.graphs;
    if (entry == null) return null;
    const kept = this.#pairs.get(entry.sha256);
    if (kept !== undefined) return kept;
    const tables = new PairTables(await this.#file(manifest, entry));
    this.#pairs.set(entry.sha256, tables);
    return tables;
  }

  async #file(manifest: BundleManifest, entry: FileEntry): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.#read(`${manifest.name}/${entry.path}`);
    if (bytes === null || bytes.length > LIMITS.packBytes || (await sha256Hex(bytes)) !== entry.sha256) {
      throw new StepError(
        "engine_unavailable",
        `A file of model '${manifest.name}' is missing or damaged: ${entry.path}.`,
      );
    }
    return bytes;
  }
}

/** The manifest is written by our own compiler, so only what tells versions and names apart is checked. */
function checkManifest(value: unknown, name: string): BundleManifest {
  const manifest = value as BundleManifest;
  if (manifest?.format !== MANIFEST_FORMAT || manifest.name !== name) {
    throw new StepError("engine_unavailable", `The manifest of model '${name}' is of another version or model.`);
  }
  return manifest;
}
