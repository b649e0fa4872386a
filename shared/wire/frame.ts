import { Packr, Unpackr } from "msgpackr";
import { assert } from "../assert.ts";
import { StepError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Fields } from "./fields.ts";
import { checkFrame } from "./plain-frame.ts";

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

/** One msgpack array as one frame. */
export function encode(message: readonly unknown[]): Uint8Array {
  const { buffer, byteOffset, byteLength } = packr.pack(message);
  assert(byteLength <= LIMITS.frameBytes, `a frame of ${byteLength} bytes`);
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Throws StepError "bad_frame". */
export function decode(bytes: Uint8Array): Fields {
  if (bytes.length > LIMITS.frameBytes) throw new StepError("bad_frame", "The frame is too large.");
  checkFrame(bytes);
  const values: unknown = unpackr.unpack(bytes);
  if (!Array.isArray(values)) throw new StepError("bad_frame", "The frame is no message.");
  return new Fields(values);
}
