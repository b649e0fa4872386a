import { type DraftTree, findChild } from "../../shared/draft-tree.ts";
import { type NodeIndex, ROOT, type TokenId } from "../../shared/ids.ts";

export interface Verdict {
  /** Node indices of the accepted path, from the root down. */
  readonly accepted: NodeIndex[];
  /** The model's own token after the last accepted node. */
  readonly bonus: TokenId;
}

/**
 * Walks from the root to the child that holds the model's own next token until no child does.
 * `chosenAt(node, depth)` is that token after `node`, `depth` nodes below the root; it is asked for
 * only at the root and the accepted nodes, once each and in order.
 */
export function longestPath(draft: DraftTree, chosenAt: (node: NodeIndex, depth: number) => TokenId): Verdict {
  const accepted: NodeIndex[] = [];
  let node = ROOT;
  for (;;) {
    const token = chosenAt(node, accepted.length);
    node = findChild(draft, node, token);
    if (node < 0) return { accepted, bonus: token };
    accepted.push(node);
  }
}
