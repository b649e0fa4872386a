/** A float matrix [rows, columns], row-major. The functions below change it in place where the name says so. */
export interface Dense {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

export function stackRows(parts: readonly Dense[]): Dense {
  const { columns } = parts[0]!;
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const values = new Float32Array(rows * columns);
  let at = 0;
  for (const part of parts) {
    values.set(part.values, at);
    at += part.values.length;
  }
  return { rows, columns, values };
}

/** Column c times factors[c], in place. */
export function scaleColumns({ columns, values }: Dense, factors: Float32Array): void {
  for (let from = 0; from < values.length; from += columns) {
    for (let c = 0; c < columns; c++) values[from + c]! *= factors[c]!;
  }
}

/** Row r times factor(r), in place. */
export function scaleRows({ columns, values }: Dense, factor: (row: number) => number): void {
  for (let i = 0; i < values.length; i++) values[i]! *= factor(Math.floor(i / columns));
}

/** Tile edge: a tile of both matrices stays in the cache. */
const TILE = 32;

export function transpose({ rows, columns, values }: Dense): Dense {
  const out = new Float32Array(values.length);
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(top + TILE, rows);
    for (let left = 0; left < columns; left += TILE) {
      const right = Math.min(left + TILE, columns);
      for (let r = top; r < bottom; r++) {
        for (let c = left; c < right; c++) out[c * rows + r] = values[r * columns + c]!;
      }
    }
  }
  return { rows: columns, columns: rows, values: out };
}

export interface Bytes {
  /** [columns, rows]: laid out to be multiplied from the left. */
  readonly values: Int8Array;
  /** [rows] what one step of a row's values is worth. */
  readonly scales: Float32Array;
  /** [rows] what 128 in every column would add to a product's sum. */
  readonly offsets: Int32Array;
}

/** Eight signed bits a value, one scale a row, the matrix transposed. */
export function toBytes({ rows, columns, values }: Dense): Bytes {
  const out = new Int8Array(values.length);
  const scales = new Float32Array(rows);
  const offsets = new Int32Array(rows);
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(top + TILE, rows);
    for (let r = top; r < bottom; r++) scales[r] = largest(values, r * columns, columns) / 127;
    for (let c = 0; c < columns; c++) {
      for (let r = top; r < bottom; r++) {
        const scale = scales[r]!;
        const q = scale === 0 ? 0 : Math.round(values[r * columns + c]! / scale);
        out[c * rows + r] = q;
        offsets[r]! += 128 * q;
      }
    }
  }
  return { values: out, scales, offsets };
}

/** Eight signed bits a value, one scale a row, the matrix as it lies. */
export function rowsToBytes({ rows, columns, values }: Dense): Pick<Bytes, "values" | "scales"> {
  const out = new Int8Array(values.length);
  const scales = new Float32Array(rows);
  for (let r = 0; r < rows; r++) {
    const scale = largest(values, r * columns, columns) / 127;
    scales[r] = scale;
    if (scale === 0) continue;
    for (let i = r * columns; i < (r + 1) * columns; i++) out[i] = Math.round(values[i]! / scale);
  }
  return { values: out, scales };
}

function largest(values: Float32Array, from: number, count: number): number {
  let most = 0;
  for (let i = from; i < from + count; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
}
