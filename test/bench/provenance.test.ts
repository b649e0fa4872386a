import { expect, test } from "vitest";
import { npmCommand } from "../../bench/provenance.ts";

test("a kept command does not tell where files lay", () => {
  const args = ["--suite", "trace", "--data", "/home/ann/sets", "--traces", "traces/new", "--scale", "0.5"];
  expect(npmCommand("eval", args)).toBe("npm run eval -- --suite trace --data sets --traces traces/new --scale 0.5");
});
