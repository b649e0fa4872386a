import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const LIST = 0x5b;
const BACKSLASH = 0x5c;
const LIST_END = 0x5d;
const OBJECT = 0x7b;
const OBJECT_END = 0x7d;

/**
 * Bounds what JSON holds before it is parsed: a megabyte can be 350,000 lists or 70,000 fields, which to build, and then
 * to look at, takes ten times as long as a text of that size. JSON that is damaged may pass. Throws StepError naming the
 * body's field in which there is too much.
 */
export function checkShape(json: Uint8Array): void {
  let depth = 0;
  let fields = 0;
  let lists = 0;
  let values = 0;
  // Where the last string is, and the last one that was the name of a field of the body itself.
  let [from, to, nameFrom, nameTo] = [0, 0, 0, 0];
  const tooMuch = (most: number, what: string) => {
    const param = nameTo === 0 ? null : new TextDecoder().decode(json.subarray(nameFrom, nameTo));
    const at = param === null ? "Invalid body" : `Invalid '${param}'`;
    return new StepError("invalid_request", `${at}: a body holds at most ${most} ${what}.`, param);
  };
  for (let at = 0; at < json.length; at++) {
    const byte = json[at];
    if (byte === QUOTE) {
      from = at + 1;
      to = endOfString(json, from);
      at = to;
    } else if (byte === COMMA) {
      if (++values > LIMITS.bodyValues) throw tooMuch(LIMITS.bodyValues, "values");
    } else if (byte === COLON) {
      if (depth === 1) [nameFrom, nameTo] = [from, to];
      if (++fields > LIMITS.bodyFields) throw tooMuch(LIMITS.bodyFields, "fields");
    } else if (byte === LIST || byte === OBJECT) {
      if (++lists > LIMITS.bodyLists) throw tooMuch(LIMITS.bodyLists, "objects and lists");
      if (++depth > LIMITS.bodyDepth) throw tooMuch(LIMITS.bodyDepth, "objects and lists within one another");
    } else if (byte === LIST_END || byte === OBJECT_END) depth--;
  }
}

/** Of the quote that ends the string whose first byte is at `from`, or the end of `json`. */
function endOfString(json: Uint8Array, from: number): number {
  for (let at = from; ; at++) {
    at = json.indexOf(QUOTE, at);
    if (at < 0) return json.length;
    let before = at;
    while (before > from && json[before - 1] === BACKSLASH) before--;
    if ((at - before) % 2 === 0) return at;
  }
}
