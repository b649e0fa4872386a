import { INTEGER_DIGITS, type JsonValues } from "./json-values.ts";
import { choice, literal, repeat } from "./rules.ts";
import { malformed, type SchemaAt, unsupportedKeyword } from "./schema-error.ts";

/** A bound of a magnitude: decimal digits before and after the point, the latter without zeros at the end. */
interface Decimal {
  readonly whole: string;
  readonly fraction: string;
  /** Whether the bound itself is out. */
  readonly strict: boolean;
}

interface Bounds {
  readonly low: { readonly value: number; readonly strict: boolean } | null;
  readonly high: { readonly value: number; readonly strict: boolean } | null;
}

/** Where there is no other bound. */
const LARGEST: Decimal = { whole: "9".repeat(INTEGER_DIGITS), fraction: "", strict: false };
const ZERO: Decimal = { whole: "0", fraction: "", strict: false };
const ABOVE_ZERO: Decimal = { ...ZERO, strict: true };
/** Digits after those of a bound. */
const MORE_DIGITS = 6;

/** Numbers, or whole ones, within the schema's bounds. */
export function numberBody(at: SchemaAt, whole: boolean, json: JsonValues): string {
  const bounds = boundsOf(at);
  if (at.schema.multipleOf !== undefined && at.schema.multipleOf !== 1) return multiples(at, bounds);
  const integers = whole || at.schema.multipleOf === 1;
  if (bounds.low === null && bounds.high === null) return integers ? json.integer : json.number;
  const options: string[] = [];
  const { low, high } = bounds;
  if (high === null || high.value >= 0) {
    const from = low === null || low.value < 0 ? ZERO : decimal(at, low);
    options.push(...between(from, high === null ? LARGEST : decimal(at, high), integers));
  }
  if (low === null || low.value < 0) {
    const from = high === null || high.value >= 0 ? ABOVE_ZERO : decimal(at, high);
    const negative = between(from, low === null ? LARGEST : decimal(at, low), integers);
    options.push(...negative.map((body) => `"-" ${body}`));
  }
  if (options.length === 0) throw malformed(at, "minimum", "below the maximum");
  return choice(options);
}

function boundsOf(at: SchemaAt): Bounds {
  const one = (keyword: string, strict: boolean) => {
    const value = at.schema[keyword];
    if (value === undefined) return null;
    if (typeof value !== "number") throw malformed(at, keyword, "a number");
    return { value, strict };
  };
  const tighter = (plain: Bounds["low"], strict: Bounds["low"], sign: number) =>
    plain === null || (strict !== null && (strict.value - plain.value) * sign >= 0) ? strict : plain;
  return {
    low: tighter(one("minimum", false), one("exclusiveMinimum", true), 1),
    high: tighter(one("maximum", false), one("exclusiveMaximum", true), -1),
  };
}

/** The magnitude of a bound. */
function decimal(at: SchemaAt, { value, strict }: { value: number; strict: boolean }): Decimal {
  const [whole = "", fraction = ""] = String(Math.abs(value)).split(".");
  if (!/^\d+$/.test(whole) || !/^\d*$/.test(fraction) || whole.length + fraction.length > INTEGER_DIGITS) {
    const keyword = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].find((k) => at.schema[k] === value);
    throw unsupportedKeyword(at, keyword ?? "minimum", `with more than ${INTEGER_DIGITS} digits`);
  }
  return { whole, fraction, strict };
}

/** Texts of the numbers from `low` to `high`; none where there are none. */
function between(low: Decimal, high: Decimal, integers: boolean): string[] {
  const from = BigInt(low.whole);
  const to = BigInt(high.whole);
  if (integers) {
    const first = low.fraction !== "" || low.strict ? from + 1n : from;
    const last = high.fraction === "" && high.strict ? to - 1n : to;
    return wholeBetween(first, last);
  }
  if (from > to) return [];
  if (from === to) return fractionsBetween(low, high).map((fraction) => `${literal(low.whole)} ${fraction}`);
  const inner = wholeBetween(from + 1n, to - 1n).map((body) => `(${body}) ${anyFraction(MORE_DIGITS)}`);
  const first = fractionsFrom(low).map((fraction) => `${literal(low.whole)} ${fraction}`);
  const last = fractionsUpTo(high).map((fraction) => `${literal(high.whole)} ${fraction}`);
  return [...inner, ...first, ...last];
}

/** Whole numbers, by their number of digits. */
function wholeBetween(low: bigint, high: bigint): string[] {
  const options: string[] = [];
  for (let digits = String(low).length; digits <= String(high).length && low <= high; digits++) {
    const least = digits === 1 ? 0n : 10n ** BigInt(digits - 1);
    const most = 10n ** BigInt(digits) - 1n;
    const from = low > least ? low : least;
    const to = high < most ? high : most;
    if (from <= to) options.push(digitsBetween(String(from), String(to)));
  }
  return options;
}

/** Texts of as many digits, from `low` to `high`. */
function digitsBetween(low: string, high: string): string {
  const rest = low.length - 1;
  if (/^0*$/.test(low) && /^9*$/.test(high)) return low === "" ? '""' : repeat("[0-9]", low.length, low.length);
  const first = Number(low[0]);
  const last = Number(high[0]);
  if (first === last) return `${literal(low[0]!)} ${digitsBetween(low.slice(1), high.slice(1))}`;
  const options = [`${literal(low[0]!)} ${digitsBetween(low.slice(1), "9".repeat(rest))}`];
  if (last - first > 1) options.push(`[${first + 1}-${last - 1}] ${digitsBetween("0".repeat(rest), "9".repeat(rest))}`);
  options.push(`${literal(high[0]!)} ${digitsBetween("0".repeat(rest), high.slice(1))}`);
  return choice(options);
}

function anyFraction(digits: number): string {
  return `("." [0-9]{1,${digits}})?`;
}

/** Digits that may follow a bound's own and still make a difference to a double. */
function room({ whole, fraction }: Decimal): number {
  return Math.min(MORE_DIGITS, INTEGER_DIGITS - whole.length - fraction.length);
}

/** Fractions, with their point, that are not below the bound's. */
function fractionsFrom(low: Decimal): string[] {
  const { fraction, strict } = low;
  const more = room(low);
  if (fraction === "" && !strict) return [anyFraction(Math.max(1, more))];
  const nonzero = more < 1 ? [] : [`[0-9]{0,${more - 1}} [1-9]`];
  const options = [...fraction].flatMap((digit, i) => {
    if (digit === "9") return [];
    return [`${literal(`.${fraction.slice(0, i)}`)} [${Number(digit) + 1}-9] [0-9]{0,${Math.max(0, more)}}`];
  });
  if (strict) options.push(...nonzero.map((body) => `${literal(`.${fraction}`)} ${body}`));
  else options.push(`${literal(`.${fraction}`)} [0-9]{0,${Math.max(0, more)}}`);
  return options;
}

/** Fractions, with their point, or none, that are not above the bound's. */
function fractionsUpTo(high: Decimal): string[] {
  const { fraction, strict } = high;
  if (fraction === "") return strict ? [] : ['""'];
  const options = ['""', ...[...fraction].slice(1).map((_, i) => literal(`.${fraction.slice(0, i + 1)}`))];
  for (const [i, digit] of [...fraction].entries()) {
    if (digit === "0") continue;
    options.push(`${literal(`.${fraction.slice(0, i)}`)} [0-${Number(digit) - 1}] [0-9]{0,${Math.max(0, room(high))}}`);
  }
  if (!strict) options.push(literal(`.${fraction}`));
  return options;
}

/** Fractions after equal whole numbers. */
function fractionsBetween(low: Decimal, high: Decimal): string[] {
  const digits = Math.max(low.fraction.length, high.fraction.length, 1);
  const scaled = ({ fraction }: Decimal) => BigInt(fraction.padEnd(digits, "0"));
  const from = scaled(low) + (low.strict ? 1n : 0n);
  const to = scaled(high) - (high.strict ? 1n : 0n);
  if (from <= to) {
    const text = (value: bigint) => String(value).padStart(digits, "0");
    return [`"." ${digitsBetween(text(from), text(to))}`, ...(from === 0n ? ['""'] : [])];
  }
  return [];
}

/** Largest divisor that is looked for digit by digit, and digits of such a number. */
const MAX_DIVISOR = 12;
const MULTIPLE_DIGITS = 9;
const MAX_ROUND_DIVISOR = 1000;

/** Whole multiples: by their last digits where the divisor's are those of a power of ten, else by remainders. */
function multiples(at: SchemaAt, { low, high }: Bounds): string {
  const divisor = at.schema.multipleOf;
  if (typeof divisor !== "number" || divisor <= 0) throw malformed(at, "multipleOf", "a number above 0");
  if (low !== null || high !== null) throw unsupportedKeyword(at, "multipleOf", "together with bounds");
  if (!Number.isInteger(divisor)) throw unsupportedKeyword(at, "multipleOf", "with a fraction");
  const ending = [1, 2, 3].find((digits) => 10 ** digits % divisor === 0);
  if (ending !== undefined && divisor <= MAX_ROUND_DIVISOR) {
    const endings = Array.from({ length: 10 ** ending / divisor }, (_, i) => i * divisor);
    const long = endings.map((value) => literal(String(value).padStart(ending, "0")));
    const short = endings.map((value) => literal(String(value)));
    return `(${short.join(" | ")} | "-"? [1-9] [0-9]{0,${INTEGER_DIGITS - 1 - ending}} (${long.join(" | ")}))`;
  }
  if (divisor > MAX_DIVISOR) throw unsupportedKeyword(at, "multipleOf", `of ${divisor}`);
  return multiplesByRemainder(divisor);
}

/** All multiples of at most two digits, and longer ones by repeating blocks whose value is a multiple. */
function multiplesByRemainder(divisor: number): string {
  const blocks = [1, 2, 3].map((digits) =>
    Array.from({ length: 10 ** digits }, (_, i) => i)
      .filter((value) => value % divisor === 0 && String(value).length === digits)
      .map((value) => literal(String(value))),
  );
  const padded = Array.from({ length: 1000 }, (_, i) => i)
    .filter((value) => value % divisor === 0)
    .map((value) => literal(String(value).padStart(3, "0")));
  const first = `(${blocks
    .flat()
    .filter((text) => text !== '"0"')
    .join(" | ")})`;
  return `("0" | "-"? ${first} (${padded.join(" | ")}){0,${MULTIPLE_DIGITS / 3 - 1}})`;
}
