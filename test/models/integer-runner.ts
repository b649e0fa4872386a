import { defaultCacheDir } from "../../gpu-worker/config.ts";
import { llamaTraits } from "../../gpu-worker/integer/layout.ts";
import { IntegerModel } from "../../gpu-worker/integer/model.ts";
import type { Segment } from "../../gpu-worker/model.ts";
import type { LlamaSizes } from "../../models/llama.ts";
import type { Traits } from "../../shared/manifest.ts";
import type { Forward, PlainRunner } from "./base-runner.ts";

/** Any pages in any order, enough for every test. */
const PAGES = Int32Array.of(9, 2, 14, 3, 0, 11, 5, 8);
const PAGE_TOKENS = 16;

/** An integer model as the plain runner of one sequence; what its draft heads would read is `hidden`. */
export class IntegerRunner implements PlainRunner {
  readonly #model: IntegerModel;
  length = 0;

  private constructor(model: IntegerModel) {
    this.#model = model;
  }

  /** @param weightsPath as models/compile/integer.ts writes it @param traits null: as Llama */
  static async open(
    weightsPath: string,
    config: LlamaSizes,
    taps: readonly number[],
    traits: Traits | null = null,
  ): Promise<IntegerRunner> {
    const { layers, width, heads, kvHeads, headDim, ffn, vocabSize, normEps, ropeFrequencies } = config;
    const sizes = { layers, width, heads, kvHeads, headDim, ffn, vocabSize, normEps };
    const none = { latticeHeads: 0, topK: 0, copyHeads: null };
    const contextTokens = PAGES.length * PAGE_TOKENS;
    const model = await IntegerModel.load({
      shape: {
        ...sizes,
        ...none,
        traits: traits ?? llamaTraits(sizes),
        contextTokens,
        taps,
        kvBytes: 16 << 20,
        members: 1,
      },
      ropeFrequencies: [...ropeFrequencies],
      weightsPath,
      cacheDir: defaultCacheDir(),
      headsPath: null,
    });
    return new IntegerRunner(model);
  }

  close(): Promise<void> {
    return this.#model.release();
  }

  reset(): void {
    this.length = 0;
  }

  async run(
    tokens: readonly number[],
    parents: readonly number[] | undefined = undefined,
    keep: readonly number[] = tokens.map((_, i) => i),
    rows: readonly number[] = tokens.map((_, i) => i),
  ): Promise<Forward> {
    const segment: Segment = {
      length: this.length,
      pages: PAGES,
      tokens: Uint32Array.from(tokens),
      parents: parents === undefined ? null : Int16Array.from(parents),
      wanted: "all",
      logits: true,
    };
    const { argmax, logits } = await this.#model.forward([segment]);
    this.#model.keep(segment, keep);
    this.length += keep.length;
    return {
      argmax: Int32Array.from(rows, (row) => argmax[row]!),
      logits: Float32Array.from(rows.flatMap((row) => [...logits(row)])),
      hidden: Float32Array.from(rows.flatMap((row) => [...this.#model.features(row)])),
    };
  }
}
