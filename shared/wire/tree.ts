import type { DraftTree } from "../draft-tree.ts";
import { ROOT } from "../ids.ts";
import { LIMITS } from "../limits.ts";
import type { Fields } from "./fields.ts";
import * as pack from "./packed.ts";

const ROOT_BYTE = 255;

/** A draft tree as fields of a frame (codec.ts). */
export function treeFields({ tokens, parents, chances }: DraftTree): unknown[] {
  return [
    ...pack.tokens(tokens),
    Uint8Array.from(parents, (parent) => (parent === ROOT ? ROOT_BYTE : parent)),
    chances,
  ];
}

/** May be no tree yet: see `treeFault`. Throws StepError "bad_frame". */
export function decodeTree(fields: Fields): DraftTree {
  const tokens = fields.tokens(0, LIMITS.draftNodes);
  const parents = Int16Array.from(fields.bytes(LIMITS.draftNodes), (byte) => (byte === ROOT_BYTE ? ROOT : byte));
  return { tokens, parents, chances: Uint8Array.from(fields.bytes(LIMITS.draftNodes)) };
}
