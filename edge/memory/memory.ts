import type { TokenId } from "../../shared/ids.ts";
import { within } from "../within.ts";

/** What is remembered of a tenant now. */
export interface MemoryState {
  /** Of which life of the memory: it begins anew when it is deleted. */
  readonly epoch: string;
  /** Tokens of earlier requests with their answers, uint32 little-endian, the oldest first. */
  readonly texts: readonly ArrayBuffer[];
}

export interface MemorySize {
  readonly texts: number;
  readonly tokens: number;
}

/** Where one tenant's texts are kept (memory-object.ts). */
export interface MemoryStore {
  /** `tokenizer`: hash of the one whose tokens are wanted. */
  recall(tokenizer: string): Promise<MemoryState>;
  /** Keeps a text unless the memory was deleted since `epoch`. */
  remember(epoch: string, tokenizer: string, text: ArrayBuffer): Promise<void>;
  size(): Promise<MemorySize>;
  /** Removes everything. */
  forget(): Promise<void>;
}

/** Drafts do without what takes longer, ms. */
const ANSWER_MS = 500;

/** One request's use of its tenant's memory: what came before it, and a way to add it. Neither ever fails a request. */
export class Recollection {
  readonly texts: readonly Uint32Array[];
  readonly #remember: (text: Uint32Array<ArrayBuffer>) => Promise<void>;

  private constructor(texts: readonly Uint32Array[], remember: (text: Uint32Array<ArrayBuffer>) => Promise<void>) {
    this.texts = texts;
    this.#remember = remember;
  }

  static async of(store: MemoryStore, tokenizer: string, logError: (error: unknown) => void): Promise<Recollection> {
    try {
      const { epoch, texts } = await within(store.recall(tokenizer), ANSWER_MS);
      const remember = async (text: Uint32Array<ArrayBuffer>) => {
        await within(store.remember(epoch, tokenizer, text.buffer), ANSWER_MS).catch(logError);
      };
      return new Recollection(
        texts.map((text) => new Uint32Array(text)),
        remember,
      );
    } catch (error) {
      logError(error);
      return new Recollection([], async () => undefined);
    }
  }

  async remember(prompt: ArrayLike<TokenId>, completion: ArrayLike<TokenId>): Promise<void> {
    const text = new Uint32Array(prompt.length + completion.length);
    text.set(prompt);
    text.set(completion, prompt.length);
    await this.#remember(text);
  }
}
