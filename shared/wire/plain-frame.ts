import { StepError } from "../errors.ts";

/** Lists inside lists, the message itself counted. */
const MAX_DEPTH = 3;

/** Bytes after a type byte that hold a length, and those that hold a number. */
const LENGTH_BYTES: Readonly<Record<number, number>> = {
  196: 1, // bin 8, 16, 32
  197: 2,
  198: 4,
  217: 1, // str 8, 16, 32
  218: 2,
  219: 4,
  220: 2, // array 16, 32
  221: 4,
};
const NUMBER_BYTES: Readonly<Record<number, number>> = {
  202: 4, // float 32, 64
  203: 8,
  204: 1, // uint 8, 16, 32
  205: 2,
  206: 4,
  208: 1, // int 8, 16, 32
  209: 2,
  210: 4,
};

/**
 * Walks one msgpack value without building it, before a general decoder sees it. Only what step messages
 * consist of passes: nil, booleans, numbers up to 32 bits and floats, text, bytes, and shallow lists. Maps,
 * 64-bit integers and extensions (which msgpackr would turn into dates, patterns, shared references or
 * record definitions), lengths beyond the frame, nesting and bytes left over are refused: StepError "bad_frame".
 */
export function checkFrame(bytes: Uint8Array): void {
  /** Elements still to come in each open list; the outermost stands for the frame. */
  const open = [1];
  let at = 0;
  while (open.length > 0) {
    const top = open.length - 1;
    if (open[top] === 0) {
      open.pop();
      continue;
    }
    open[top]!--;
    if (at >= bytes.length) throw refused("cut short");
    const type = bytes[at++]!;
    if (type <= 0x7f || type >= 0xe0 || type === 0xc0 || type === 0xc2 || type === 0xc3) continue;
    const numberBytes = NUMBER_BYTES[type];
    if (numberBytes !== undefined) {
      at += numberBytes;
      continue;
    }
    const isList = (type >= 0x90 && type <= 0x9f) || type === 0xdc || type === 0xdd;
    const length = lengthAt(bytes, at, type);
    at += LENGTH_BYTES[type] ?? 0;
    if (length > bytes.length - at) throw refused("a length beyond its end");
    if (!isList) at += length;
    else if (open.length > MAX_DEPTH) throw refused("nested too deeply");
    else open.push(length);
  }
  if (at !== bytes.length) throw refused(at > bytes.length ? "cut short" : "bytes left over");
}

function lengthAt(bytes: Uint8Array, at: number, type: number): number {
  if (type >= 0x90 && type <= 0x9f) return type - 0x90;
  if (type >= 0xa0 && type <= 0xbf) return type - 0xa0;
  const lengthBytes = LENGTH_BYTES[type];
  if (lengthBytes === undefined) throw refused(`type 0x${type.toString(16)} has no place in it`);
  if (at + lengthBytes > bytes.length) throw refused("cut short");
  let length = 0;
  for (let i = 0; i < lengthBytes; i++) length = length * 256 + bytes[at + i]!;
  return length;
}

function refused(why: string): StepError {
  return new StepError("bad_frame", `Malformed frame: ${why}.`);
}
