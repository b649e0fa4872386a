import { LIMITS } from "../limits.ts";
import { CODES } from "../ngram/layout.ts";
import { EMPTY_MODEL } from "../ngram/model.ts";

const K = LIMITS.topK;
const COLUMNS = LIMITS.latticeHeads;
const ROOT_ROW = COLUMNS * K;
const ROWS = ROOT_ROW + 1;
const MAX_NODES = 1 << 15;

/**
 * The memory of a search. One is over before the next starts, so all share it: it stays in the processor's cache, and
 * nothing is allocated per search. The parts of the search are functions made once over the one workspace, and take
 * what they use of it into constants of their own: V8 then knows where the arrays lie and how long they are, which
 * halves the time of a search. It would not of imports, of what bundlers make `var`, of parameters and of fields.
 *
 * Within a column, a candidate has a *rank*, its place in the lattice, and a *slot*, its place by falling `ahead`, so
 * that loops over slots can stop early. K ranks or slots to a column whatever the lattice's width.
 */
export class Workspace {
  /** Row width: candidates of a column. */
  readonly K = K;
  /** Slots looked up together. */
  readonly GROUP = 4;
  /** No entry, no node. */
  readonly NONE = -1;
  /**
   * Rows of bigram bounds: candidate r of column i has row i * K + r, the history before the first column ROOT_ROW.
   * The first nodes of the lattice graph are numbered alike.
   */
  readonly ROOT_ROW = ROOT_ROW;
  /** Nodes of the lattice graph; real lattices meet hundreds to a few thousand. Pages never touched cost nothing. */
  readonly MAX_NODES = MAX_NODES;

  /** Candidates a column, the same rounded up to whole groups, columns in use. */
  k = 0;
  slots = 0;
  columns = 0;
  model = EMPTY_MODEL;
  /** At least the LM's part of any edge. */
  top = 0;
  /** Score that the p-th best path has at least; what the rest of a path has to score to matter. */
  floor = 0;
  wanted = 0;

  /** [columns * K] by rank: token; the heads' part of an edge, -Infinity where an earlier rank holds the same token */
  readonly tokenAt = new Uint32Array(COLUMNS * K);
  readonly headAt = new Float64Array(COLUMNS * K);
  /** [columns * K] by rank: bound of the score to come after the candidate */
  readonly toGoAt = new Float64Array(COLUMNS * K);
  /** [columns * K] by slot: rank, token, heads' part, LM's score of the token alone, bound of the score to come */
  readonly ranks = new Uint8Array(COLUMNS * K);
  readonly tokens = new Uint32Array(COLUMNS * K);
  readonly heads = new Float64Array(COLUMNS * K);
  readonly unigrams = new Float64Array(COLUMNS * K);
  readonly toGo = new Float64Array(COLUMNS * K);
  /** [columns * K] by slot: heads' part plus bound of the score to come */
  readonly ahead = new Float64Array(COLUMNS * K);

  /** [rows] slots looked up; one-token context of the candidate; its backoff weight, and with all before it at most */
  readonly rowWidth = new Uint8Array(ROWS);
  readonly rowContext = new Uint32Array(ROWS);
  readonly rowBackoff = new Float64Array(ROWS);
  readonly rowBackoffBound = new Float64Array(ROWS);
  /** [rows * K] by slot of the next column, where looked up: bound of the edge and what follows; the bigram's entry */
  readonly rowBounds = new Float64Array(ROWS * K);
  readonly rowEntries = new Int32Array(ROWS * K);

  /** [codes] the pack's tables in units of a score */
  readonly probUnits = new Float64Array(CODES);
  readonly backoffUnits = new Float64Array(CODES);

  /** [nodes] columns passed; the node with a shorter history; the row of bounds for the last token */
  readonly depth = new Uint8Array(MAX_NODES);
  readonly shorter = new Int32Array(MAX_NODES);
  readonly row = new Int32Array(MAX_NODES);
  /** [nodes] where the context's children start and end; its backoff weight */
  readonly start = new Int32Array(MAX_NODES);
  readonly end = new Int32Array(MAX_NODES);
  readonly backoff = new Float64Array(MAX_NODES);
  /** [nodes] bit s: the edges of the group of slots from s on are evaluated */
  readonly evaluated = new Uint16Array(MAX_NODES);
  /** [nodes * K] by slot, where evaluated: score; entry after the node's own context or NONE; node after it or NONE yet */
  readonly edge = new Float64Array(MAX_NODES * K);
  readonly entry = new Int32Array(MAX_NODES * K);
  readonly next = new Int32Array(MAX_NODES * K);
  /** [nodes] best score of a prefix ending here; of what follows; slots that may be part of a p-best path (bits) */
  readonly reached = new Float64Array(MAX_NODES);
  readonly best = new Float64Array(MAX_NODES);
  readonly alive = new Uint16Array(MAX_NODES);
  /** [nodes] nodes that the forward pass met, column by column */
  readonly queue = new Int32Array(MAX_NODES);
}
