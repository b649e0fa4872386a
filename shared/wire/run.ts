import type { CommittedToken, FinishReason } from "../decode/advance.ts";
import type { Block, Verified } from "../decode/block.ts";
import type { RunRequest } from "../decode/drafting-session.ts";
import { treeFault } from "../draft-tree.ts";
import type { StepTiming } from "../engine.ts";
import { LIMITS } from "../limits.ts";
import { RESCORER_TYPES } from "../manifest.ts";
import type { Echo } from "../messages.ts";
import type { RescorerSpec } from "../rescore/index.ts";
import type { Fields } from "./fields.ts";
import * as pack from "./packed.ts";
import { decodeLoad, decodeLogProbs, loadFields, logProbFields, times } from "./result.ts";
import { decodeTree, treeFields } from "./tree.ts";

const FINISHES: readonly (FinishReason | null)[] = [null, "stop", "length"];
/** Tokens that end a completion, per bundle. */
const EOS_TOKENS = 64;
const HASH_LENGTH = 64;
/** The largest float16. */
const LONGEST_MS = 65_504;

/** How a run drafts, and its blocks, as fields of a frame (codec.ts). */
export function runFields(request: RunRequest): unknown[] {
  const { rescorer, pack: hash, maxNodes, autoNodes, prediction, limits, guided, verified } = request;
  const { maxTokens, eosTokens } = limits;
  const draft = [rescorerFields(rescorer), hash, maxNodes, autoNodes];
  return [...draft, maxTokens, ...pack.tokens(eosTokens), verified, ...pack.tokens(prediction ?? []), guided];
}

/** Throws StepError "bad_frame", as all that follows. */
export function decodeRun(fields: Fields): RunRequest {
  const rescorer = decodeRescorer(fields.array());
  const hash = fields.nullable(() => fields.text(HASH_LENGTH));
  const maxNodes = fields.integer(0, LIMITS.draftNodes);
  const autoNodes = fields.flag();
  const maxTokens = fields.integer(1, LIMITS.contextTokens);
  const eosTokens = [...fields.tokens(0, EOS_TOKENS)];
  const limits = { maxTokens, eosTokens };
  const verified = fields.flag();
  const prediction = fields.tokens(0, LIMITS.contextTokens);
  const request = { rescorer, pack: hash, maxNodes, autoNodes, limits, guided: fields.flag(), verified };
  return prediction.length === 0 ? request : { ...request, prediction };
}

function rescorerFields(rescorer: RescorerSpec): unknown[] {
  if (rescorer.type === "none") return ["none"];
  const { type, order, alpha, prompt } = rescorer;
  return [type, order, alpha, prompt ?? false, ...(type === "ngram" ? [rescorer.pBest] : [])];
}

function decodeRescorer(fields: Fields): RescorerSpec {
  const type = fields.text(16);
  const known = RESCORER_TYPES.find((one) => one === type);
  const spec = known === undefined || known === "neural" ? null : rescorerSpec(known, fields);
  if (spec === null) throw fields.fault("no rescorer of that name");
  fields.end();
  return spec;
}

function rescorerSpec(type: RescorerSpec["type"], fields: Fields): RescorerSpec {
  if (type === "none") return { type };
  const order = fields.integer(2, LIMITS.ngramOrder);
  const alpha = fields.number(0, 1);
  const prompt = fields.flag();
  return type === "tree"
    ? { type, order, alpha, prompt }
    : { type, order, alpha, prompt, pBest: fields.integer(1, LIMITS.pBest) };
}

export function echoFields({ stamp, heldMs, load }: Echo): unknown[] {
  return [stamp, pack.float32([heldMs, load.passMs]), ...loadFields(load)];
}

export function decodeEcho(fields: Fields): Echo {
  const stamp = fields.integer(0, 0xffffffff);
  const [heldMs, passMs] = times(fields, 2);
  const load = { ...decodeLoad(fields), passMs: passMs! };
  fields.end();
  return { stamp, heldMs: heldMs!, load };
}

/** Steps are counted up to here and again from 0: enough to tell that no block is lost or comes twice. */
const BLOCK_NUMBERS = 128;

/** The number of a block by that of its step in the session. */
export function blockNumber(step: number): number {
  return step % BLOCK_NUMBERS;
}

/** Times are float16. */
export function blockFields({ index, committed, drafted, verified, finish, timing }: Block): unknown[] {
  const last = committed.at(-1);
  const logProbs = committed.every((token) => token.logProbs !== null)
    ? committed.map((token) => token.logProbs!)
    : null;
  return [
    blockNumber(index),
    ...pack.tokens(committed.map(({ token }) => token)),
    last?.kind === "bonus",
    drafted,
    FINISHES.indexOf(finish),
    pack.float16([timing.queueMs, timing.modelMs, timing.engineMs].map((ms) => Math.min(ms, LONGEST_MS))),
    logProbs === null ? null : logProbFields(logProbs),
    verified && [...treeFields(verified.tree), Uint8Array.from(verified.accepted)],
  ];
}

/** `index` is the block's number only. */
export function decodeBlock(fields: Fields): Block {
  const index = fields.integer(0, BLOCK_NUMBERS - 1);
  const tokens = fields.tokens(1, LIMITS.draftNodes + 1);
  const bonus = fields.flag();
  const drafted = fields.integer(0, LIMITS.draftNodes);
  const finish = FINISHES[fields.integer(0, FINISHES.length - 1)] ?? null;
  const timing = decodeTiming(fields);
  const logProbs = fields.nullable(() => decodeLogProbs(fields.array(), tokens.length));
  const verified = fields.nullable(() => decodeVerified(fields.array()));
  const committed = Array.from(tokens, (token, i): CommittedToken => {
    const kind = bonus && i === tokens.length - 1 ? "bonus" : "accepted";
    return { token, kind, logProbs: logProbs?.[i] ?? null };
  });
  return { index, committed, drafted, verified, cachedTokens: 0, finish, timing };
}

function decodeTiming(fields: Fields): StepTiming {
  const [queueMs, modelMs, engineMs] = fields.float16(3);
  for (const ms of [queueMs!, modelMs!, engineMs!]) if (!(ms >= 0)) throw fields.fault("a time below zero");
  return { queueMs: queueMs!, modelMs: modelMs!, engineMs: engineMs! };
}

function decodeVerified(fields: Fields): Verified {
  const tree = decodeTree(fields);
  const accepted = Array.from(fields.bytes(LIMITS.draftNodes));
  const fault = treeFault(tree, 2 ** 32);
  if (fault !== null || accepted.some((node) => node >= tree.tokens.length)) throw fields.fault("no verified tree");
  fields.end();
  return { tree, accepted };
}
