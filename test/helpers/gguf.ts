/** A value of GGUF's metadata: numbers are written as uint32, or as float32 where they are not whole. */
export type GgufValue = string | number | boolean | readonly string[] | readonly number[];

export interface GgufTensor {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

const TYPE = { uint32: 4, float32: 6, bool: 7, string: 8, array: 9 } as const;
const F32 = 0;
const ALIGNMENT = 32;

/** A GGUF file, version 3, of tensors in float32; a vector has one row. */
export function ggufOf(metadata: Readonly<Record<string, GgufValue>>, tensors: readonly GgufTensor[]): Buffer {
  const header: Buffer[] = [Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) header.push(text(key), ...typed(value));
  let offset = 0;
  for (const { name, rows, columns, values } of tensors) {
    const shape = rows === 1 ? [columns] : [columns, rows];
    header.push(text(name), u32(shape.length), ...shape.map(u64), u32(F32), u64(offset));
    offset += aligned(values.byteLength);
  }
  const head = Buffer.concat(header);
  const data = tensors.flatMap(({ values }) => {
    const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    return [bytes, Buffer.alloc(aligned(bytes.length) - bytes.length)];
  });
  return Buffer.concat([head, Buffer.alloc(aligned(head.length) - head.length), ...data]);
}

const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

function u32(value: number): Buffer {
  return Buffer.from(Uint32Array.of(value).buffer);
}

function u64(value: number): Buffer {
  return Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function typed(value: GgufValue): Buffer[] {
  if (typeof value === "string") return [u32(TYPE.string), text(value)];
  if (typeof value === "boolean") return [u32(TYPE.bool), Buffer.of(Number(value))];
  if (typeof value === "number") {
    return Number.isInteger(value)
      ? [u32(TYPE.uint32), u32(value)]
      : [u32(TYPE.float32), Buffer.from(Float32Array.of(value).buffer)];
  }
  const type = typeof value[0] === "string" ? TYPE.string : TYPE.uint32;
  const items = value.map((item) => (typeof item === "string" ? text(item) : u32(item)));
  return [u32(TYPE.array), u32(type), u64(value.length), ...items];
}
