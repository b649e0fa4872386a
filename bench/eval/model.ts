import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Bundles, type TextBundle } from "../../edge/text/bundles.ts";
import { Detokenizer } from "../../edge/text/detokenize.ts";
import { readBundle } from "../../gpu-worker/bundle.ts";
import type { NeuralModel } from "../../gpu-worker/neural.ts";
import { loadNeural } from "../../gpu-worker/onnx/neural.ts";
import type { BundleManifest } from "../../shared/manifest.ts";
import type { NgramModel } from "../../shared/ngram/model.ts";
import type { PairTables } from "../../shared/rescore/pair-scores.ts";
import type { EvalText } from "./cases.ts";
import type { Parts } from "./complete.ts";
import { type Method, usesNeural, usesPair } from "./methods.ts";

/** The edge's own loader over a compiled bundle directory: the same text, templates and checks. */
export interface LoadedBundle {
  readonly manifest: BundleManifest;
  readonly text: EvalText;
  /** What the methods draft from. */
  parts(methods: readonly Method[]): Promise<Parts>;
  /** Throws an Error where the bundle has none of that name. */
  pack(name: string): Promise<NgramModel>;
  /** The bundle's tables of pairs; null where it has none. */
  pair(): Promise<PairTables | null>;
  /** The local rescorer, for replays; null where no method needs it. The caller releases it. */
  neural(methods: readonly Method[]): Promise<NeuralModel | null>;
}

export async function loadBundle(bundleDir: string, name: string): Promise<LoadedBundle> {
  // Another precision's directory is not called as its bundle is.
  const bundles = new Bundles([name], (path) => readOrNull(join(bundleDir, path.slice(name.length + 1))));
  const bundle = await bundles.bundle(name);
  const { manifest } = bundle;
  const pair = () => bundles.pair(manifest);
  return {
    manifest,
    text: bundleText(bundle),
    async parts(methods) {
      const packs = new Map<string, NgramModel>();
      for (const { draft } of methods) {
        if (!("pack" in draft) || draft.pack === null || packs.has(draft.pack.name)) continue;
        packs.set(draft.pack.name, await bundles.pack(manifest, draft.pack));
      }
      return { packs, pair: methods.some(({ draft }) => usesPair(draft)) ? await pair() : null };
    },
    async pack(wanted) {
      const entry = manifest.packs.find((one) => one.name === wanted);
      if (entry === undefined) throw new Error(`bundle ${manifest.name} has no pack "${wanted}"`);
      return await bundles.pack(manifest, entry);
    },
    pair,
    async neural(methods) {
      if (!methods.some(({ draft }) => usesNeural(draft))) return null;
      const { neuralPath } = await readBundle(bundleDir);
      return neuralPath === null ? null : loadNeural(neuralPath);
    },
  };
}

async function readOrNull(path: string): Promise<Uint8Array<ArrayBuffer> | null> {
  try {
    return Uint8Array.from(await readFile(path));
  } catch {
    return null;
  }
}

function bundleText({ manifest, tokenizer, chatPrompt }: TextBundle): EvalText {
  return {
    prompt(text) {
      const tokens = tokenizer.encodeMarked(text);
      return Uint32Array.from(manifest.bosToken === null ? tokens : [manifest.bosToken, ...tokens]);
    },
    chat(messages) {
      if (chatPrompt === null) throw new Error(`bundle ${manifest.name} has no chat template: use rows with prompt`);
      return Uint32Array.from(chatPrompt(messages, []));
    },
    decode(tokens) {
      const detokenizer = new Detokenizer(tokenizer);
      return tokens.map((token) => detokenizer.push(token)).join("") + detokenizer.end();
    },
  };
}
