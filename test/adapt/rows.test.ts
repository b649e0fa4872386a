import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { splitRows } from "../../adapt/rows.ts";

it("lets the categories of each part take turns, each in its own order", async () => {
  const dir = await mkdtemp(join(tmpdir(), "foredraft-rows-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const rows = ["train", "tune", "test"].flatMap((split) =>
    ["a", "a", "a", "b", "c", "c"].map((category, i) => ({ id: `${split} ${i}`, category, split, prompt: "text" })),
  );
  const path = join(dir, "rows.jsonl");
  await writeFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

  const parts = await splitRows([path]);
  for (const split of ["train", "tune", "test"] as const) {
    expect(parts[split].map(({ id }) => id)).toEqual([0, 3, 4, 1, 5, 2].map((i) => `${split} ${i}`));
  }
});
