import { LIMITS } from "../../shared/limits.ts";
import type { SafeTensors } from "../safetensors.ts";
import { floatsOf, type PendingTensor, type Written, writeSafetensors } from "../safetensors-writer.ts";
import { medusaHeads } from "./medusa.ts";

/** The name of the file, in a model's folder and in its bundle. */
export const PAIR_FILE = "pair.safetensors";

/**
 * Whether a file of pair scores (models/README.md) fits the draft heads, whose hidden layer makes its queries, and the model. Throws
 * Error saying what does not.
 * @param heads null: the model has none
 */
export function checkPair(file: SafeTensors, heads: SafeTensors | null, vocabSize: number): void {
  if (heads === null) throw fault("it goes with draft heads, and this model has none");
  if (medusaHeads(heads) !== null)
    throw fault("it goes with draft heads that have a hidden layer, and Medusa's have none");
  const inner = heads.get("trunk.weight").shape[0]!;
  const [tokens = 0] = file.get("ids").shape;
  const rank = file.get("first").shape[1] ?? 0;
  if (rank === 0 || rank % 4 !== 0 || rank > LIMITS.pairRank) {
    throw fault(`its rank is a multiple of 4 and at most ${LIMITS.pairRank}, not ${rank}`);
  }
  for (const name of ["first", "second"]) {
    expectShape(file, name, [tokens, rank], "by its ids and rank");
    expectShape(file, `${name}.scales`, [tokens], "by its ids");
  }
  expectShape(file, "bias", [tokens], "by its ids");
  expectShape(
    file,
    "query.weight",
    [2 * rank, inner],
    `by its rank and the ${inner} wide hidden layer of the draft heads`,
  );
  expectShape(file, "query.bias", [2 * rank], "by its rank");
  for (const name of ["first.scales", "second.scales", "bias", "query.weight", "query.bias"]) {
    if (!file.floats(name).every(Number.isFinite)) throw fault(`its ${name} is not finite everywhere`);
  }
  for (const name of ["first", "second"]) {
    const isByte = (value: number) => value >= -128 && value < 128;
    if (!integers(file, name).every(isByte)) throw fault(`its ${name} holds values of more than eight bits`);
  }
  const ids = integers(file, "ids");
  const rises = ids.every((id, i) => id > (ids[i - 1] ?? -1));
  if (!rises || (ids.at(-1) ?? 0) >= vocabSize) throw fault(`its ids do not rise from 0 on and below ${vocabSize}`);
}

/** What of it is for whoever drafts: all but the query's weights, which the draft heads have. */
export async function writePair(path: string, file: SafeTensors): Promise<Written> {
  const tensors: PendingTensor[] = [
    { name: "ids", dtype: "I32", shape: file.get("ids").shape, make: () => integers(file, "ids") },
    ...["first", "second"].flatMap((name): PendingTensor[] => [
      { name, dtype: "I8", shape: file.get(name).shape, make: () => Int8Array.from(integers(file, name)) },
      floatsOf(file, `${name}.scales`),
    ]),
    floatsOf(file, "bias"),
  ];
  return await writeSafetensors(path, tensors, () => undefined);
}

function integers(file: SafeTensors, name: string): Int32Array {
  const { values } = file.get(name);
  if (values instanceof Int32Array) return values;
  throw fault(`its ${name} holds no integers`);
}

function expectShape(file: SafeTensors, name: string, shape: readonly number[], why: string): void {
  const found = file.get(name).shape;
  if (found.join() !== shape.join())
    throw fault(`its ${name} is [${found.join(", ")}], and ${why} [${shape.join(", ")}]`);
}

function fault(what: string): Error {
  return new Error(`${PAIR_FILE}: ${what}`);
}
