import type { CommittedToken, FinishReason } from "../decode/advance.ts";
import type { Block, Verified } from "../decode/block.ts";
import type { RunRequest } from "../decode/run-request.ts";
import { SOURCES, treeFault } from "../draft-tree.ts";
import type { StepTiming } from "../engine.ts";
import { EMPTY_LATTICE } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import type { Echo } from "../messages.ts";
import { RESCORER_TYPES, type RescorerSpec, rescorerModule, rescorerSpec, settings } from "../rescore/index.ts";
import type { ParamName } from "../rescore/params.ts";
import { NO_RUNNERS_UP } from "../runners-up.ts";
import type { Fields } from "./fields.ts";
import * as pack from "./packed.ts";
import {
  decodeLattice,
  decodeLoad,
  decodeLogProbs,
  decodeRunnersUp,
  latticeFields,
  loadFields,
  logProbFields,
  runnersUpFields,
  times,
} from "./result.ts";
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

/** Its type, then its settings in the order of its schema, null where left out. */
function rescorerFields(rescorer: RescorerSpec): unknown[] {
  const { type } = rescorer;
  const given = settings(rescorer);
  return [type, ...paramNames(type).map((name) => given[name] ?? null)];
}

function decodeRescorer(fields: Fields): RescorerSpec {
  const name = fields.text(16);
  const type = RESCORER_TYPES.find((one) => one === name);
  if (type === undefined) throw fields.fault("no rescorer of that name");
  const values = paramNames(type).map((param) => [param, fields.scalar()] as const);
  fields.end();
  const given = Object.fromEntries(values.filter(([, value]) => value !== null));
  const { success, data } = rescorerModule(type).paramsSchema.safeParse(given);
  if (!success) throw fields.fault("a rescorer's settings out of bounds");
  return rescorerSpec(type, data);
}

function paramNames(type: RescorerSpec["type"]): readonly ParamName[] {
  return Object.keys(rescorerModule(type).paramsSchema.shape) as ParamName[];
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
export function blockFields(block: Block): unknown[] {
  const { call, committed, drafted, verified, finish, timing, runnersUp = NO_RUNNERS_UP } = block;
  const last = committed.at(-1);
  const logProbs = committed.every((token) => token.logProbs !== null)
    ? committed.map((token) => token.logProbs!)
    : null;
  return [
    blockNumber(call),
    ...pack.tokens(committed.map(({ token }) => token)),
    last?.kind === "bonus",
    drafted,
    FINISHES.indexOf(finish),
    pack.float16([timing.queueMs, timing.modelMs, timing.engineMs].map((ms) => Math.min(ms, LONGEST_MS))),
    logProbs === null ? null : logProbFields(logProbs),
    verified && verifiedFields(verified),
    runnersUpFields(runnersUp),
  ];
}

/** `call` is the block's number only. */
export function decodeBlock(fields: Fields): Block {
  const call = fields.integer(0, BLOCK_NUMBERS - 1);
  const tokens = fields.tokens(1, LIMITS.draftNodes + 1);
  const bonus = fields.flag();
  const drafted = fields.integer(0, LIMITS.draftNodes);
  const finish = FINISHES[fields.integer(0, FINISHES.length - 1)] ?? null;
  const timing = decodeTiming(fields);
  const logProbs = fields.nullable(() => decodeLogProbs(fields.array(), tokens.length));
  const verified = fields.nullable(() => decodeVerified(fields.array()));
  const runnersUp = decodeRunnersUp(fields, tokens.length);
  const committed = Array.from(tokens, (token, i): CommittedToken => {
    const kind = bonus && i === tokens.length - 1 ? "bonus" : "accepted";
    return { token, kind, logProbs: logProbs?.[i] ?? null };
  });
  return { call, committed, runnersUp, drafted, verified, cachedTokens: 0, finish, timing };
}

function decodeTiming(fields: Fields): StepTiming {
  const [queueMs, modelMs, engineMs] = fields.float16(3);
  for (const ms of [queueMs!, modelMs!, engineMs!]) if (!(ms >= 0)) throw fields.fault("a time below zero");
  return { queueMs: queueMs!, modelMs: modelMs!, engineMs: engineMs! };
}

function verifiedFields({ tree, accepted, lattice = EMPTY_LATTICE }: Verified): unknown[] {
  const { sources = new Uint8Array(tree.tokens.length) } = tree;
  return [...treeFields(tree), Uint8Array.from(accepted), sources, ...latticeFields(lattice)];
}

function decodeVerified(fields: Fields): Verified {
  const tree = decodeTree(fields);
  const accepted = Array.from(fields.bytes(LIMITS.draftNodes));
  const sources = Uint8Array.from(fields.bytes(LIMITS.draftNodes));
  const lattice = decodeLattice(fields);
  const fault = treeFault(tree, 2 ** 32);
  if (sources.length !== tree.tokens.length || sources.some((source) => source >= SOURCES.length)) {
    throw fields.fault("no source of every node");
  }
  if (fault !== null || accepted.some((node) => node >= tree.tokens.length)) throw fields.fault("no verified tree");
  fields.end();
  return { tree: { ...tree, sources }, lattice, accepted };
}
