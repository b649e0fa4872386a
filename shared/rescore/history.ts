import type { TokenId } from "../ids.ts";
import { EMPTY_STATE, type LmState, type NgramModel } from "../ngram/model.ts";
import { NO_MATCH, type PromptModel, type PromptState } from "../ngram/prompt.ts";

/** What a rescorer keeps of the committed tokens: the states of its models after them. */
export class History {
  readonly prompt: PromptModel | null;
  newest: TokenId = 0;
  lmState: LmState = EMPTY_STATE;
  private readonly model: NgramModel | null;

  constructor(model: NgramModel | null, prompt: PromptModel | null) {
    this.model = model;
    this.prompt = prompt;
  }

  get promptState(): PromptState {
    return this.prompt?.state ?? NO_MATCH;
  }

  commit(tokens: ArrayLike<TokenId>): void {
    const { model, prompt } = this;
    if (tokens.length === 0) return;
    this.newest = tokens[tokens.length - 1]!;
    if (prompt !== null) for (let i = 0; i < tokens.length; i++) prompt.push(tokens[i]!);
    if (model === null) return;
    // A state remembers order - 1 tokens, so only a prompt's end matters.
    const first = Math.max(0, tokens.length - (model.order - 1));
    if (first > 0) this.lmState = EMPTY_STATE;
    for (let i = first; i < tokens.length; i++) {
      model.score(this.lmState, tokens[i]!);
      this.lmState = model.next;
    }
  }
}
