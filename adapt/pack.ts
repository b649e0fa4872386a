import { writeFile } from "node:fs/promises";
import type { BundleManifest } from "../shared/manifest.ts";
import { pruneThresholds } from "../train/ngram/options.ts";
import { writePack } from "../train/ngram/pack.ts";
import { SEPARATOR } from "../train/ngram/token-file.ts";
import { trainTable } from "../train/ngram/train.ts";
import type { Text } from "./text.ts";

const ORDER = 4;
const MOST_BYTES = 8 << 20;

/** Why there is no pack for this vocabulary; null: there can be one. */
export function packFault({ architecture }: BundleManifest): string | null {
  const { vocabSize } = architecture;
  return vocabSize < SEPARATOR
    ? null
    : `n-gram packs are trained for vocabularies below ${SEPARATOR}, this one has ${vocabSize}`;
}

/** An n-gram model of what the model itself wrote. */
export async function writeOwnPack(texts: readonly Text[], manifest: BundleManifest, target: string): Promise<void> {
  const tokens = Uint16Array.from(texts.flatMap(({ output }) => [...output, SEPARATOR]));
  const { vocabSize } = manifest.architecture;
  const thresholds = pruneThresholds(null, ORDER);
  const sources = [{ tokens, weight: 1, split: null }];
  const table = trainTable(sources, { order: ORDER, vocabSize, thresholds, maxBytes: MOST_BYTES });
  await writeFile(target, writePack(table, manifest.tokenizer.sha256));
}
