import type { TokenId } from "../ids.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../ngram/model.ts";
import { NO_MATCH, PROMPT_ORDER, type PromptModel } from "../ngram/prompt.ts";
import { NO_RUNNERS_UP, type RunnersUp } from "../runners-up.ts";
import { CopyTrust } from "./copy-trust.ts";
import type { PairScores } from "./pair-scores.ts";
import { COMMITTED, type PathEnd } from "./path-end.ts";
import type { Recycled } from "./recycled.ts";

/** What a rescorer keeps of the committed tokens: the states of its models after them, and how copying went. */
export class History {
  readonly model: NgramModel | null;
  readonly prompt: PromptModel | null;
  readonly trust: CopyTrust | null;
  readonly recycled: Recycled | null;
  readonly pair: PairScores | null;
  private newest: TokenId = 0;
  private before: TokenId = 0;
  private lmState: LmState = EMPTY_STATE;
  private prefilled = false;

  private readonly prediction: ArrayLike<TokenId>;

  /** `prediction`: read by `prompt` as an answer that had followed the first tokens committed. */
  constructor(
    model: NgramModel | null,
    prompt: PromptModel | null,
    recycled: Recycled | null = null,
    prediction: ArrayLike<TokenId> | null = null,
    pair: PairScores | null = null,
  ) {
    this.prediction = prediction ?? [];
    this.pair = pair;
    this.recycled = recycled;
    this.model = model;
    this.prompt = prompt;
    this.trust = prompt === null ? null : new CopyTrust(prompt);
  }

  /** The path of no drafted tokens. */
  end(): PathEnd {
    const prompt = this.prompt?.state ?? NO_MATCH;
    const run = this.trust?.run ?? 0;
    return { depth: 0, lm: this.lmState, prompt, token: this.newest, before: this.before, rank: COMMITTED, run };
  }

  /** Earlier texts of the same tenant, the oldest first, before anything is committed: copies may come from them, too. */
  recall(texts: readonly ArrayLike<TokenId>[]): void {
    if (this.prompt === null) return;
    for (const text of texts) {
      for (let i = 0; i < text.length; i++) this.prompt.push(text[i]!);
      this.prompt.separate();
    }
  }

  /** The prompt first, then what each step committed. */
  commit(tokens: ArrayLike<TokenId>, runnersUp: RunnersUp = NO_RUNNERS_UP): void {
    if (tokens.length === 0) return;
    this.before = tokens.length > 1 ? tokens[tokens.length - 2]! : this.newest;
    this.newest = tokens[tokens.length - 1]!;
    this.recycled?.commit(tokens, runnersUp);
    for (let i = 0; i < tokens.length; i++) {
      // How the prompt repeats itself says little of how the answer will.
      if (this.prefilled) this.trust?.observe(tokens[i]!);
      this.prompt?.push(tokens[i]!);
    }
    if (!this.prefilled && this.prediction.length > 0) this.predict(tokens);
    this.prefilled = true;
    if (this.model !== null) this.lmState = this.model.after(this.lmState, tokens);
  }

  /** The prediction, then the end of the text again, so that it is what the answer goes on from. */
  private predict(text: ArrayLike<TokenId>): void {
    for (let i = 0; i < this.prediction.length; i++) this.prompt?.push(this.prediction[i]!);
    for (let i = Math.max(0, text.length - PROMPT_ORDER + 1); i < text.length; i++) this.prompt?.push(text[i]!);
  }
}
