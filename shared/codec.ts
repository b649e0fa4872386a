import { Packr, Unpackr } from "msgpackr";
import { assert } from "./assert.ts";
import { CERTAIN, type DraftTree, treeFault } from "./draft-tree.ts";
import type { BundleInfo, Load, OpenSpec, StepResult, StepTiming, TokenLogProbs } from "./engine.ts";
import { isErrorCode, StepError } from "./errors.ts";
import { ROOT } from "./ids.ts";
import { createLattice, type Lattice } from "./lattice.ts";
import { LIMITS } from "./limits.ts";
import { type ClientMessage, PROTOCOL_VERSION, type ServerMessage } from "./messages.ts";
import { Fields } from "./wire/fields.ts";
import * as pack from "./wire/packed.ts";
import { checkFrame } from "./wire/plain-frame.ts";

/*
 * A frame is one msgpack array, its first element the message's kind. Lists of numbers are byte fields:
 * little-endian token ids (16 bits where every id of the field fits, else 32; the width precedes them),
 * float16 bits for lattice log-probabilities, one byte per parent with 255 for the root.
 *
 * Arrays and byte fields rather than msgpackr's records and typed arrays: nothing has to be agreed on
 * beforehand, no code is generated at run time, and any msgpack library can speak this.
 */
const KIND = { open: 0, step: 1, opened: 2, stepped: 3, failed: 4 } as const;

const ROOT_BYTE = 255;
const NAME_LENGTH = 128;
const MESSAGE_LENGTH = 1024;
const RETRY_AFTER_S = 3600;
/** Any id that fits; the engine compares with its own vocabulary. */
const ANY_VOCABULARY = 2 ** 32;

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

export function encodeClient(message: ClientMessage): Uint8Array {
  if (message.type === "step") {
    const { tokens, parents, chances } = message.draft;
    const bytes = Uint8Array.from(parents, (p) => (p === ROOT ? ROOT_BYTE : p));
    return encode([KIND.step, message.index, ...pack.tokens(tokens), bytes, chances]);
  }
  const { model, prompt, heads, topK, sampling, logProbs, neural, fixed, tenant } = message.spec;
  const { temperature, topP, seed } = sampling;
  const head = [KIND.open, message.version, model, ...pack.tokens(prompt)];
  return encode([...head, heads, topK, temperature, topP, seed, logProbs, neural, fixed, tenant]);
}

/** Throws StepError: "protocol_mismatch" for an `open` of another version, "bad_frame" for all else. */
export function decodeClient(bytes: Uint8Array): ClientMessage {
  const fields = decode(bytes);
  const kind = fields.integer(0, 1);
  if (kind === KIND.open) {
    const version = fields.integer(0, 0xffff);
    if (version !== PROTOCOL_VERSION) {
      const versions = `version ${version} of the step protocol; this side speaks ${PROTOCOL_VERSION}`;
      throw new StepError("protocol_mismatch", `The other side speaks ${versions}.`);
    }
    const spec = decodeSpec(fields);
    fields.end();
    return { type: "open", version, spec };
  }
  const index = fields.integer(0, 0xffffffff);
  const tokens = fields.tokens(0, LIMITS.draftNodes);
  const parents = Int16Array.from(fields.bytes(LIMITS.draftNodes), (p) => (p === ROOT_BYTE ? ROOT : p));
  const chances = Uint8Array.from(fields.bytes(LIMITS.draftNodes));
  fields.end();
  const draft: DraftTree = { tokens, parents, chances };
  const fault = treeFault(draft, ANY_VOCABULARY);
  if (fault !== null) throw new StepError("bad_frame", `Malformed draft tree: ${fault}.`);
  return { type: "step", index, draft };
}

export function encodeServer(message: ServerMessage): Uint8Array {
  switch (message.type) {
    case "opened":
      return encode([KIND.opened, bundleFields(message.bundle), message.cachedTokens, ...resultFields(message.result)]);
    case "stepped":
      return encode([KIND.stepped, message.index, ...resultFields(message.result)]);
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
  switch (fields.integer(KIND.opened, KIND.failed)) {
    case KIND.opened: {
      const bundle = decodeBundle(fields.array());
      const cachedTokens = fields.integer(0, LIMITS.contextTokens);
      const result = decodeResult(fields);
      return { type: "opened", bundle, cachedTokens, result };
    }
    case KIND.stepped: {
      const index = fields.integer(0, 0xffffffff);
      return { type: "stepped", index, result: decodeResult(fields) };
    }
    default: {
      const code = fields.text(NAME_LENGTH);
      if (!isErrorCode(code)) throw fields.fault("unknown error code");
      const message = fields.text(MESSAGE_LENGTH);
      const param = fields.nullable(() => fields.text(NAME_LENGTH));
      const retryAfterS = fields.nullable(() => fields.number(0, RETRY_AFTER_S));
      fields.end();
      return { type: "failed", code, message, param, retryAfterS };
    }
  }
}

function encode(message: readonly unknown[]): Uint8Array {
  const { buffer, byteOffset, byteLength } = packr.pack(message);
  assert(byteLength <= LIMITS.frameBytes, `a frame of ${byteLength} bytes`);
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function decode(bytes: Uint8Array): Fields {
  if (bytes.length > LIMITS.frameBytes) throw new StepError("bad_frame", "The frame is too large.");
  checkFrame(bytes);
  const values: unknown = unpackr.unpack(bytes);
  if (!Array.isArray(values)) throw new StepError("bad_frame", "The frame is no message.");
  return new Fields(values);
}

function decodeSpec(fields: Fields): OpenSpec {
  const model = fields.text(NAME_LENGTH);
  const prompt = fields.tokens(1, LIMITS.contextTokens);
  const heads = fields.integer(0, LIMITS.latticeHeads);
  const topK = fields.integer(1, LIMITS.topK);
  const temperature = fields.number(0, Number.MAX_VALUE);
  const topP = fields.number(Number.MIN_VALUE, 1);
  const seed = fields.integer(0, 0xffffffff);
  const logProbs = fields.nullable(() => fields.integer(0, LIMITS.topLogProbs));
  const neural = fields.nullable(() => fields.number(0, 1));
  const fixed = fields.flag();
  const tenant = fields.text(LIMITS.tenantLength);
  return { model, prompt, heads, topK, sampling: { temperature, topP, seed }, logProbs, neural, fixed, tenant };
}

function bundleFields(bundle: BundleInfo): unknown[] {
  const { model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, costs, neural } = bundle;
  const { pass, row, wanted, context, heads } = costs;
  const times = pack.float32([pass, row, wanted, context, heads]);
  return [model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, times, neural];
}

function decodeBundle(fields: Fields): BundleInfo {
  const model = fields.text(NAME_LENGTH);
  const tokenizerHash = fields.text(64);
  const vocabSize = fields.integer(1, 0xffffffff);
  const contextTokens = fields.integer(1, 0xffffffff);
  const latticeHeads = fields.integer(0, LIMITS.latticeHeads);
  const topK = fields.integer(0, LIMITS.topK);
  const provider = fields.text(NAME_LENGTH);
  const [pass, row, wanted, context, heads] = times(fields, 5);
  const costs = { pass: pass!, row: row!, wanted: wanted!, context: context!, heads: heads! };
  const neural = fields.flag();
  fields.end();
  return { model, tokenizerHash, vocabSize, contextTokens, latticeHeads, topK, provider, costs, neural };
}

function resultFields({ accepted, bonus, lattice, logProbs, threshold, timing, load }: StepResult): unknown[] {
  return [
    Uint8Array.from(accepted),
    bonus,
    lattice.heads,
    lattice.k,
    ...pack.tokens(lattice.tokens),
    pack.float16(lattice.logProbs),
    threshold,
    pack.float32([timing.queueMs, timing.modelMs, timing.engineMs, load.passMs]),
    load.running,
    load.waiting,
    Math.round(load.kvUsed * 255),
    logProbs === null ? null : logProbFields(logProbs),
  ];
}

function decodeResult(fields: Fields): StepResult {
  const accepted = Array.from(fields.bytes(LIMITS.draftNodes));
  if (accepted.some((node, i) => node >= LIMITS.draftNodes || node <= (accepted[i - 1] ?? -1))) {
    throw fields.fault("the accepted path does not descend");
  }
  const bonus = fields.integer(0, 0xffffffff);
  const lattice = decodeLattice(fields);
  const threshold = fields.integer(0, CERTAIN + 1);
  const [queueMs, modelMs, engineMs, passMs] = times(fields, 4);
  const timing: StepTiming = { queueMs: queueMs!, modelMs: modelMs!, engineMs: engineMs! };
  const running = fields.integer(0, 0xffff);
  const waiting = fields.integer(0, 0xffff);
  const load: Load = { running, waiting, kvUsed: fields.integer(0, 255) / 255, passMs: passMs! };
  const logProbs = fields.nullable(() => decodeLogProbs(fields.array(), accepted.length + 1));
  fields.end();
  return { accepted, bonus, lattice, logProbs, threshold, timing, load };
}

/** Rounding to float16 keeps the candidates' order; distinct log-probabilities may become equal. */
function decodeLattice(fields: Fields): Lattice {
  const heads = fields.integer(0, LIMITS.latticeHeads);
  const k = fields.integer(0, LIMITS.topK);
  const tokens = fields.tokens(heads * k, heads * k);
  const logProbs = fields.float16(heads * k);
  for (let row = 0; row < heads; row++) checkFalling(fields, logProbs.subarray(row * k, (row + 1) * k));
  return createLattice(heads, k, tokens, logProbs);
}

/** `count` times, ms. */
function times(fields: Fields, count: number): Float32Array {
  const all = fields.float32(count);
  for (const ms of all) if (!(ms >= 0 && ms < Infinity)) throw fields.fault("a time below zero");
  return all;
}

function logProbFields(entries: readonly TokenLogProbs[]): unknown[] {
  const top = entries[0]?.topTokens.length ?? 0;
  assert(
    entries.every((e) => e.topTokens.length === top && e.topLogProbs.length === top),
    "every token has the same number of alternatives",
  );
  return [
    top,
    pack.float32(entries.map((e) => e.logProb)),
    ...pack.tokens(entries.flatMap((e) => Array.from(e.topTokens))),
    pack.float32(entries.flatMap((e) => Array.from(e.topLogProbs))),
  ];
}

function decodeLogProbs(fields: Fields, count: number): TokenLogProbs[] {
  const top = fields.integer(0, LIMITS.topLogProbs);
  const chosen = fields.float32(count);
  const tokens = fields.tokens(count * top, count * top);
  const logProbs = fields.float32(count * top);
  fields.end();
  return Array.from(chosen, (logProb, i) => {
    const topLogProbs = logProbs.slice(i * top, (i + 1) * top);
    checkFalling(fields, [logProb]);
    checkFalling(fields, topLogProbs);
    return { logProb, topTokens: tokens.slice(i * top, (i + 1) * top), topLogProbs };
  });
}

function checkFalling(fields: Fields, logProbs: ArrayLike<number>): void {
  let last = 0;
  for (let i = 0; i < logProbs.length; i++) {
    const next = logProbs[i]!;
    if (!(next <= last)) throw fields.fault("log-probabilities do not fall from 0");
    last = next;
  }
}
