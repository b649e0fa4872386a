import { type NodeIndex, ROOT, type TokenId } from "../ids.ts";
import type { Lattice } from "../lattice.ts";
import { LIMITS } from "../limits.ts";
import { EMPTY_STATE } from "../ngram/model.ts";
import { NO_MATCH, type PromptState } from "../ngram/prompt.ts";
import { SlotHeap } from "../slot-heap.ts";
import { CANDIDATES, type Continuations } from "./continuations.ts";
import type { History } from "./history.ts";
import { COMMITTED, type PathEnd } from "./path-end.ts";

const NODES = LIMITS.draftNodes;
/** Every node, the root too, may be expanded. */
const OPEN = (NODES + 1) * CANDIDATES;

/** P(next token | path) for every listed continuation of `end`, into `probabilities`. */
export interface NextTokenModel {
  readonly probabilities: Float64Array;
  estimate(after: Continuations, end: PathEnd): void;
}

/**
 * The tree of the likeliest paths. Best-first: the next node is the one with the highest path probability among all
 * that continue a node of the tree, or the root; on a tie the one met earlier. A node's probability is at most its
 * parent's, so the first n nodes are, of all trees of n nodes, one with the highest expected accepted length, which is
 * the sum of path probabilities. Nothing is allocated after construction.
 */
export class PathTree {
  /** Nodes so far. */
  count = 0;
  readonly tokens = new Uint32Array(NODES);
  readonly parents = new Int16Array(NODES);
  /** [count] probability that the node is accepted, falling. */
  readonly probabilities = new Float64Array(NODES);
  /** [count] DraftTree.sources */
  readonly sources = new Uint8Array(NODES);

  private readonly after: Continuations;
  private readonly model: NextTokenModel;
  private readonly depths = new Uint8Array(NODES);
  private readonly lmStates = new Uint32Array(NODES);
  private readonly promptStates = new Int32Array(NODES);
  private readonly ranks = new Int8Array(NODES);
  private readonly runs = new Uint16Array(NODES);
  private rootPrompt: PromptState = NO_MATCH;
  private rootToken: TokenId = 0;
  private maxDepth = 0;
  private unexpanded = false;
  /** Where the path being expanded ends. */
  private readonly end: { -readonly [field in keyof PathEnd]: PathEnd[field] } = {
    depth: 0,
    lm: EMPTY_STATE,
    prompt: NO_MATCH,
    token: 0,
    before: 0,
    rank: COMMITTED,
    run: 0,
  };

  /** Met continuations: of which node, which token, how likely the path. */
  private met = 0;
  private readonly metParents = new Int16Array(OPEN);
  private readonly metTokens = new Uint32Array(OPEN);
  private readonly metRanks = new Int8Array(OPEN);
  private readonly metSources = new Uint8Array(OPEN);
  private readonly metRuns = new Uint16Array(OPEN);
  private readonly metLm = new Uint32Array(OPEN);
  private readonly metProbabilities = new Float64Array(OPEN);
  /** Met continuations that are not nodes. */
  private readonly open = new SlotHeap(OPEN, (a, b) => this.before(a, b));

  constructor(after: Continuations, model: NextTokenModel) {
    this.after = after;
    this.model = model;
  }

  /** Starts at the newest committed token; paths get at most `maxDepth` long. */
  begin(lattice: Lattice, history: History, maxDepth: number): void {
    this.after.begin(lattice);
    this.count = 0;
    this.met = 0;
    this.open.clear();
    this.unexpanded = false;
    this.maxDepth = maxDepth;
    Object.assign(this.end, history.end());
    this.rootPrompt = this.end.prompt;
    this.rootToken = this.end.token;
    this.expand(ROOT, 1);
  }

  /** Probability of the next node; 0 where there is none. */
  peek(): number {
    this.expandNewest();
    return this.open.size === 0 || this.count === NODES ? 0 : this.metProbabilities[this.open.peek()]!;
  }

  /** Adds the next node, which there is where `peek` is above 0. */
  grow(): void {
    this.expandNewest();
    this.add(this.open.pop());
  }

  /**
   * Adds instead the likeliest continuation of `node`, which has none yet, and returns it; ROOT where that is less likely
   * than `least`. Nothing may be grown after it.
   */
  lengthen(node: NodeIndex, least: number): NodeIndex {
    this.expandNewest();
    if (this.count === NODES) return ROOT;
    let best = -1;
    for (let slot = 0; slot < this.met; slot++) {
      if (this.metParents[slot] === node && (best < 0 || this.before(slot, best))) best = slot;
    }
    return best < 0 || this.metProbabilities[best]! < least ? ROOT : this.add(best);
  }

  /** Makes a met continuation a node. */
  private add(slot: number): NodeIndex {
    const node = this.count++;
    const parent = this.metParents[slot]!;
    this.tokens[node] = this.metTokens[slot]!;
    this.parents[node] = parent;
    this.probabilities[node] = this.metProbabilities[slot]!;
    this.ranks[node] = this.metRanks[slot]!;
    this.sources[node] = this.metSources[slot]!;
    this.runs[node] = this.metRuns[slot]!;
    this.lmStates[node] = this.metLm[slot]!;
    this.depths[node] = parent === ROOT ? 1 : this.depths[parent]! + 1;
    this.unexpanded = true;
    return node;
  }

  /** Put off until a further node is wanted: the last one of a draft is never expanded. */
  private expandNewest(): void {
    if (!this.unexpanded) return;
    this.unexpanded = false;
    const node = this.count - 1;
    const { end } = this;
    const parent = this.parents[node]!;
    const before = parent === ROOT ? this.rootPrompt : this.promptStates[parent]!;
    end.depth = this.depths[node]!;
    end.lm = this.lmStates[node]!;
    end.token = this.tokens[node]!;
    end.before = parent === ROOT ? this.rootToken : this.tokens[parent]!;
    end.rank = this.ranks[node]!;
    end.run = this.runs[node]!;
    end.prompt = this.after.prompt?.follow(before, end.token) ?? NO_MATCH;
    this.promptStates[node] = end.prompt;
    this.expand(node, this.probabilities[node]!);
  }

  /** Meets the continuations of `end`, which is where `node` ends. */
  private expand(node: NodeIndex, probability: number): void {
    const { after, model, end } = this;
    if (end.depth >= this.maxDepth) return;
    after.list(end);
    model.estimate(after, end);
    for (let c = 0; c < after.count; c++) {
      const slot = this.met++;
      this.metParents[slot] = node;
      this.metTokens[slot] = after.tokens[c]!;
      this.metRanks[slot] = after.ranks[c]!;
      this.metSources[slot] = after.sources[c]!;
      this.metRuns[slot] = after.copies[c] === 1 ? end.run + 1 : 0;
      this.metLm[slot] = after.lmNext[c]!;
      this.metProbabilities[slot] = probability * model.probabilities[c]!;
      this.open.push(slot);
    }
  }

  private before(a: number, b: number): boolean {
    const difference = this.metProbabilities[a]! - this.metProbabilities[b]!;
    return difference !== 0 ? difference > 0 : a < b;
  }
}
