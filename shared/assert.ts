/** Stops at a programmer error; operating errors are StepError (errors.ts). */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}
