import { writeFile } from "node:fs/promises";
import type { BundleManifest } from "../shared/manifest.ts";
import { pruneThresholds } from "../train/ngram/options.ts";
import { writePack } from "../train/ngram/pack.ts";
import { tokensOf } from "../train/ngram/token-file.ts";
import { trainTable } from "../train/ngram/train.ts";
import type { Text } from "./text.ts";

const ORDER = 4;
const MOST_BYTES = 8 << 20;

/** An n-gram model of what the model itself wrote. */
export async function writeOwnPack(texts: readonly Text[], manifest: BundleManifest, target: string): Promise<void> {
  const { vocabSize } = manifest.architecture;
  const tokens = tokensOf(
    texts.map(({ output }) => output),
    vocabSize,
  );
  const thresholds = pruneThresholds(null, ORDER);
  const sources = [{ tokens, weight: 1, split: null }];
  const table = trainTable(sources, { order: ORDER, vocabSize, thresholds, maxBytes: MOST_BYTES });
  await writeFile(target, writePack(table, manifest.tokenizer.sha256));
}
