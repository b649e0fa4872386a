import { type DraftTree, treeFault } from "./draft-tree.ts";
import { isErrorCode, StepError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import { type ClientMessage, PROTOCOL_VERSION, type ServerMessage } from "./messages.ts";
import type { Fields } from "./wire/fields.ts";
import { decode, encode } from "./wire/frame.ts";
import { bundleFields, decodeBundle, decodeSpec, NAME_LENGTH, specFields } from "./wire/open.ts";
import { decodeResult, resultFields } from "./wire/result.ts";
import { blockFields, decodeBlock, decodeEcho, decodeRun, echoFields, runFields } from "./wire/run.ts";
import { decodeTree, treeFields } from "./wire/tree.ts";

/*
 * A frame is one msgpack array, its first element the message's kind. Lists of numbers are byte fields:
 * little-endian token ids (16 bits where every id of the field fits, else 32; the width precedes them),
 * float16 bits for lattice log-probabilities, one byte per parent with 255 for the root.
 *
 * Arrays and byte fields rather than msgpackr's records and typed arrays: nothing has to be agreed on
 * beforehand, no code is generated at run time, and any msgpack library can speak this.
 */
const KIND = {
  open: 0,
  step: 1,
  opened: 2,
  stepped: 3,
  failed: 4,
  run: 5,
  credit: 6,
  pause: 7,
  block: 8,
  paused: 9,
  alive: 10,
  hint: 11,
} as const;

const MESSAGE_LENGTH = 1024;
const RETRY_AFTER_S = 3600;
/** Any id that fits; the engine compares with its own vocabulary. */
const ANY_VOCABULARY = 2 ** 32;
const UINT32 = 0xffffffff;

export function encodeClient(message: ClientMessage): Uint8Array {
  switch (message.type) {
    case "open":
      return encode([KIND.open, message.version, ...specFields(message.spec)]);
    case "step":
      return encode([KIND.step, message.index, ...treeFields(message.draft)]);
    case "run":
      return encode([KIND.run, message.steps, message.credit, ...runFields(message.request)]);
    case "credit":
      return encode([KIND.credit, message.tokens, message.stamp]);
    case "pause":
      return encode([KIND.pause]);
    case "hint":
      return encode([KIND.hint, message.hint.anchor, ...treeFields(message.hint.tree)]);
  }
}

/** Throws StepError: "protocol_mismatch" for an `open` of another version, "bad_frame" for all else. */
export function decodeClient(bytes: Uint8Array): ClientMessage {
  const fields = decode(bytes);
  const message = clientMessage(fields.integer(0, KIND.hint), fields);
  fields.end();
  return message;
}

function clientMessage(kind: number, fields: Fields): ClientMessage {
  switch (kind) {
    case KIND.open: {
      const version = fields.integer(0, 0xffff);
      if (version !== PROTOCOL_VERSION) {
        const versions = `version ${version} of the step protocol; this side speaks ${PROTOCOL_VERSION}`;
        throw new StepError("protocol_mismatch", `The other side speaks ${versions}.`);
      }
      return { type: "open", version, spec: decodeSpec(fields) };
    }
    case KIND.step: {
      const index = fields.integer(0, UINT32);
      return { type: "step", index, draft: checkedTree(fields) };
    }
    case KIND.run: {
      const steps = fields.integer(0, UINT32);
      const credit = fields.integer(0, LIMITS.runCredit);
      return { type: "run", steps, credit, request: decodeRun(fields) };
    }
    case KIND.credit:
      return { type: "credit", tokens: fields.integer(0, LIMITS.runCredit), stamp: fields.integer(0, UINT32) };
    case KIND.pause:
      return { type: "pause" };
    case KIND.hint: {
      const anchor = fields.integer(1, LIMITS.contextTokens);
      return { type: "hint", hint: { anchor, tree: checkedTree(fields) } };
    }
    default:
      throw fields.fault("no message to a gpu-worker");
  }
}

function checkedTree(fields: Fields): DraftTree {
  const tree = decodeTree(fields);
  const fault = treeFault(tree, ANY_VOCABULARY);
  if (fault !== null) throw new StepError("bad_frame", `Malformed draft tree: ${fault}.`);
  return tree;
}

export function encodeServer(message: ServerMessage): Uint8Array {
  switch (message.type) {
    case "opened":
      return encode([KIND.opened, bundleFields(message.bundle), message.cachedTokens, ...resultFields(message.result)]);
    case "stepped":
      return encode([KIND.stepped, message.index, ...resultFields(message.result)]);
    case "block": {
      const { echo, block } = message;
      return encode([KIND.block, echo && echoFields(echo), ...blockFields(block)]);
    }
    case "paused":
      return encode([KIND.paused, message.end.steps, ...resultFields(message.end.result)]);
    case "alive":
      return encode([KIND.alive]);
    case "failed":
      return encode([
        KIND.failed,
        message.code,
        message.message.slice(0, MESSAGE_LENGTH),
        message.param?.slice(0, NAME_LENGTH) ?? null,
        message.retryAfterS,
      ]);
  }
}

/** Throws StepError "bad_frame". */
export function decodeServer(bytes: Uint8Array): ServerMessage {
  const fields = decode(bytes);
  const message = serverMessage(fields.integer(0, KIND.hint), fields);
  fields.end();
  return message;
}

function serverMessage(kind: number, fields: Fields): ServerMessage {
  switch (kind) {
    case KIND.opened: {
      const bundle = decodeBundle(fields.array());
      const cachedTokens = fields.integer(0, LIMITS.contextTokens);
      return { type: "opened", bundle, cachedTokens, result: decodeResult(fields) };
    }
    case KIND.stepped:
      return { type: "stepped", index: fields.integer(0, UINT32), result: decodeResult(fields) };
    case KIND.block: {
      const echo = fields.nullable(() => decodeEcho(fields.array()));
      return { type: "block", echo, block: decodeBlock(fields) };
    }
    case KIND.paused: {
      const steps = fields.integer(0, UINT32);
      return { type: "paused", end: { steps, result: decodeResult(fields) } };
    }
    case KIND.alive:
      return { type: "alive" };
    case KIND.failed: {
      const code = fields.text(NAME_LENGTH);
      if (!isErrorCode(code)) throw fields.fault("unknown error code");
      const message = fields.text(MESSAGE_LENGTH);
      const param = fields.nullable(() => fields.text(NAME_LENGTH));
      return {
        type: "failed",
        code,
        message,
        param,
        retryAfterS: fields.nullable(() => fields.number(0, RETRY_AFTER_S)),
      };
    }
    default:
      throw fields.fault("no message from a gpu-worker");
  }
}
