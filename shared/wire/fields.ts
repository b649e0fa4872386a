import { StepError } from "../errors.ts";
import { type TokenWidth, unpackFloat16, unpackFloat32, unpackTokens } from "./packed.ts";

/** Reads a decoded array in order, checking each value. All it returns but `bytes` is a copy. Throws StepError "bad_frame". */
export class Fields {
  readonly #values: readonly unknown[];
  #at = 0;

  constructor(values: readonly unknown[]) {
    this.#values = values;
  }

  get left(): number {
    return this.#values.length - this.#at;
  }

  integer(low: number, high: number): number {
    const value = this.number(low, high);
    if (!Number.isInteger(value)) throw this.fault("not a whole number");
    return value;
  }

  /** In [low, high], both finite. */
  number(low: number, high: number): number {
    const value = this.#next();
    if (typeof value !== "number" || !(value >= low && value <= high))
      throw this.fault(`not a number in ${low}..${high}`);
    return value;
  }

  flag(): boolean {
    const value = this.#next();
    if (typeof value !== "boolean") throw this.fault("neither true nor false");
    return value;
  }

  /** A number, a truth value or null, for the caller to check. */
  scalar(): number | boolean | null {
    const value = this.#next();
    if (value !== null && typeof value !== "number" && typeof value !== "boolean") throw this.fault("no plain value");
    return value;
  }

  text(maxLength: number): string {
    const value = this.#next();
    if (typeof value !== "string" || value.length > maxLength) throw this.fault(`no text of at most ${maxLength}`);
    return value;
  }

  /** A view of the frame: copy what is kept. */
  bytes(maxLength: number): Uint8Array {
    const value = this.#next();
    if (!(value instanceof Uint8Array) || value.length > maxLength) throw this.fault(`no bytes, at most ${maxLength}`);
    return value;
  }

  /** A width and then that many bytes per token. */
  tokens(minCount: number, maxCount: number): Uint32Array {
    const width = this.integer(2, 4);
    if (width === 3) throw this.fault("no token width");
    const bytes = this.bytes(maxCount * width);
    if (bytes.length % width !== 0 || bytes.length < minCount * width) throw this.fault("cut tokens");
    return unpackTokens(width as TokenWidth, bytes);
  }

  float16(count: number): Float32Array {
    return unpackFloat16(this.#exactly(count * 2));
  }

  float32(count: number): Float32Array {
    return unpackFloat32(this.#exactly(count * 4));
  }

  array(): Fields {
    const value = this.#next();
    if (!Array.isArray(value)) throw this.fault("no list");
    return new Fields(value);
  }

  nullable<T>(read: () => T): T | null {
    if (this.#values[this.#at] !== null) return read();
    this.#at++;
    return null;
  }

  end(): void {
    if (this.left !== 0) throw this.fault("more than the message holds");
  }

  fault(what: string): StepError {
    return new StepError("bad_frame", `Malformed frame, at element ${this.#at}: ${what}.`);
  }

  #exactly(length: number): Uint8Array {
    const bytes = this.bytes(length);
    if (bytes.length !== length) throw this.fault(`not ${length} bytes`);
    return bytes;
  }

  #next(): unknown {
    if (this.left === 0) throw this.fault("cut short");
    return this.#values[this.#at++];
  }
}
