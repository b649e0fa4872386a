import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HOSTILE } from "./hostile-bodies.ts";

/** Half of what a Worker has, whose tokenizer and n-gram packs need the rest, MB. */
const HEAP_MB = 64;

test("no body needs much memory to be refused, and every refusal names the field", () => {
  const program = join(import.meta.dirname, "hostile-bodies.ts");
  const said = execFileSync(process.execPath, [`--max-old-space-size=${HEAP_MB}`, program], { encoding: "utf8" });
  const refusals = said
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
  expect(refusals).toEqual(Object.entries(HOSTILE).map(([name, [, , param]]) => [name, param]));
});
