import type { Block } from "./decode/block.ts";
import type { RunEnd } from "./decode/drafting-session.ts";
import type { Hint } from "./decode/hints.ts";
import type { RunRequest } from "./decode/run-request.ts";
import type { DraftTree } from "./draft-tree.ts";
import type { BundleInfo, Load, OpenSpec, StepResult } from "./engine.ts";
import type { ErrorCode } from "./errors.ts";

/**
 * The step protocol. One WebSocket carries one session; every message is one binary frame (codec.ts).
 *
 *   edge -> gpu-worker: open (once, first), then either steps 0, 1, 2, ..., each after the reply to the last,
 *                       or run, after which the gpu-worker drafts itself: credit says how far it may be ahead,
 *                       hint proposes tokens, pause ends the run. Closing the socket ends the session and cancels what runs.
 *   gpu-worker -> edge: opened in answer to open; stepped to each step; to run, blocks, and paused after the last
 *                       one where the completion has not ended; alive while an answer takes long; failed to
 *                       anything, once, after which the gpu-worker closes the socket.
 *
 * The bearer key travels in the upgrade request's Authorization header, the version in `open`. The
 * prompt crosses once; afterwards each side sends only what is new.
 */
export const PROTOCOL_VERSION = 5;

export interface OpenMessage {
  readonly type: "open";
  readonly version: number;
  readonly spec: OpenSpec;
}
export interface StepMessage {
  readonly type: "step";
  readonly index: number;
  readonly draft: DraftTree;
}
export interface RunMessage {
  readonly type: "run";
  /** Steps made in the session so far: a message that was meant for another place in it is refused. */
  readonly steps: number;
  readonly request: RunRequest;
  /** Tokens that may be sent before more credit. */
  readonly credit: number;
}
/** More credit; the block after it returns `stamp`, so that the round trip can be told. */
export interface CreditMessage {
  readonly type: "credit";
  readonly tokens: number;
  readonly stamp: number;
}
export interface PauseMessage {
  readonly type: "pause";
}
/** For the drafts of a run: taken in time, cut to what is left of it, or dropped, but never waited for or answered. */
export interface HintMessage {
  readonly type: "hint";
  readonly hint: Hint;
}
export type ClientMessage = OpenMessage | StepMessage | RunMessage | CreditMessage | PauseMessage | HintMessage;

export interface OpenedMessage {
  readonly type: "opened";
  readonly bundle: BundleInfo;
  /** Prompt tokens that had been computed before. */
  readonly cachedTokens: number;
  readonly result: StepResult;
}
export interface SteppedMessage {
  readonly type: "stepped";
  readonly index: number;
  readonly result: StepResult;
}
export interface BlockMessage {
  readonly type: "block";
  readonly block: Block;
  /** null where no credit came since the last. */
  readonly echo: Echo | null;
}
/** The newest stamp that came with credit, how long ago that was, ms, and how busy the gpu-worker is. */
export interface Echo {
  readonly stamp: number;
  readonly heldMs: number;
  readonly load: Load;
}
export interface PausedMessage {
  readonly type: "paused";
  readonly end: RunEnd;
}
/** The answer takes time, but somebody works on it: sent about twice a second. */
export interface AliveMessage {
  readonly type: "alive";
}
export interface FailedMessage {
  readonly type: "failed";
  readonly code: ErrorCode;
  readonly message: string;
  readonly param: string | null;
  /** When to try again, where the engine can tell, s. */
  readonly retryAfterS: number | null;
}
export type ServerMessage =
  | OpenedMessage
  | SteppedMessage
  | BlockMessage
  | PausedMessage
  | AliveMessage
  | FailedMessage;
