import type { DraftTree } from "./draft-tree.ts";
import type { BundleInfo, OpenSpec, StepResult } from "./engine.ts";
import type { ErrorCode } from "./errors.ts";

/**
 * The step protocol. One WebSocket carries one session; every message is one binary frame (codec.ts).
 *
 *   edge -> gpu-worker: open (once, first), then step 0, 1, 2, ... each after the reply to the last.
 *                       Closing the socket ends the session and cancels what runs.
 *   gpu-worker -> edge: opened in answer to open, stepped to each step, failed to anything, once;
 *                       after failed the gpu-worker closes the socket.
 *
 * The bearer key travels in the upgrade request's Authorization header, the version in `open`. The
 * prompt crosses once; afterwards each side sends only what is new.
 */
export const PROTOCOL_VERSION = 3;

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
export type ClientMessage = OpenMessage | StepMessage;

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
export interface FailedMessage {
  readonly type: "failed";
  readonly code: ErrorCode;
  readonly message: string;
  readonly param: string | null;
  /** When to try again, where the engine can tell, s. */
  readonly retryAfterS: number | null;
}
export type ServerMessage = OpenedMessage | SteppedMessage | FailedMessage;
