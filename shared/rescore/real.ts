/**
 * exp and ln from additions, multiplications and divisions alone. IEEE 754 fixes those to the last bit, whereas
 * Math.exp and Math.log may differ between engines: a draft must be the same in Node and workerd, byte for byte.
 */

const LN2 = 0.6931471805599453;
const LOG2E = 1.4426950408889634;
/** Below this exp is 0, above minus this it stays what it is there. */
const LOWEST = -700;
const POWERS = 1023;

/** [n] 2^-n */
const powers = new Float64Array(POWERS);
powers[0] = 1;
for (let n = 1; n < POWERS; n++) powers[n] = powers[n - 1]! * 0.5;

/** e^x within 1e-11 of it, relatively. */
export function exp(x: number): number {
  if (!(x > LOWEST)) return 0;
  const y = x < -LOWEST ? x : -LOWEST;
  const n = Math.floor(y * LOG2E + 0.5);
  const r = y - n * LN2;
  // Taylor series; |r| <= ln 2 / 2.
  let sum = 1;
  for (let i = 10; i > 0; i--) sum = 1 + (sum * r) / i;
  return n <= 0 ? sum * powers[-n]! : sum / powers[n]!;
}

/** ln x within 1e-9, for x from 1e-30 to 1e30; the nearest of these for others. */
export function ln(x: number): number {
  let m = x > 1e-30 ? (x < 1e30 ? x : 1e30) : 1e-30;
  let n = 0;
  for (; m < 0.75; n--) m *= 2;
  for (; m >= 1.5; n++) m *= 0.5;
  // ln m = 2 artanh((m - 1) / (m + 1)); the argument is within 0.2.
  const y = (m - 1) / (m + 1);
  const square = y * y;
  let sum = 0;
  for (let i = 13; i > 0; i -= 2) sum = sum * square + 1 / i;
  return n * LN2 + 2 * y * sum;
}
