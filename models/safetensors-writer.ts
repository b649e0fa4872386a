import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { assert } from "../shared/assert.ts";
import type { SafeTensors } from "./safetensors.ts";

export type StoredArray = Int8Array | Float32Array | Int32Array;

/** A tensor to be: its values are made when their turn comes, so that few are in memory at once. */
export interface PendingTensor {
  readonly name: string;
  readonly dtype: "I8" | "F32" | "I32";
  readonly shape: readonly number[];
  /** Asked for once, in order. */
  readonly make: () => StoredArray | Promise<StoredArray>;
}

/** A float tensor of another file, under its name. */
export function floatsOf(file: SafeTensors, name: string): PendingTensor {
  return { name, dtype: "F32", shape: file.get(name).shape, make: () => file.floats(name) };
}

const BYTES = { I8: 1, F32: 4, I32: 4 } as const;
/** Data begin at a multiple of this, so that views can be laid over a file in memory. */
const ALIGNMENT = 64;

export interface Written {
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** Writes a safetensors file (u64 header length, JSON header, data). Every tensor's size must be a multiple of 4 bytes. */
export async function writeSafetensors(
  path: string,
  tensors: readonly PendingTensor[],
  onTensor: (done: number) => void,
): Promise<Written> {
  let end = 0;
  const entries = tensors.map(({ name, dtype, shape }) => {
    const size = shape.reduce((a, b) => a * b, 1) * BYTES[dtype];
    assert(size % 4 === 0, `${name} fills whole words`);
    const data_offsets = [end, (end += size)];
    return [name, { dtype, shape, data_offsets }] as const;
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = Buffer.from(json.padEnd(json.length + ((2 * ALIGNMENT - 8 - (json.length % ALIGNMENT)) % ALIGNMENT)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const hash = createHash("sha256");
  const file = await open(path, "w");
  try {
    const put = async (bytes: Uint8Array) => {
      hash.update(bytes);
      await file.writeFile(bytes);
    };
    await put(length);
    await put(header);
    for (const [i, tensor] of tensors.entries()) {
      const values = await tensor.make();
      const [from, to] = entries[i]![1].data_offsets;
      assert(values.byteLength === to! - from!, `${tensor.name} has the size it was announced with`);
      await put(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      onTensor(i + 1);
    }
  } finally {
    await file.close();
  }
  return { bytes: 8 + header.length + end, sha256: hash.digest("hex") };
}
