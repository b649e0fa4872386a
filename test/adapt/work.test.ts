import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { SHARES, Work } from "../../adapt/work.ts";

it("gives what is trained all of the step's time that earlier work left, however often it is taken up", async () => {
  const out = await mkdtemp(join(tmpdir(), "foredraft-work-"));
  onTestFinished(() => rm(out, { recursive: true, force: true }));
  const spend = (work: Work) => work.timed("heads", () => new Promise((resolve) => setTimeout(resolve, 20)));

  const first = await Work.open(out, "key", 1);
  expect(await first.share("heads", "of 10 texts")).toBe(60 * SHARES.heads);
  await spend(first);
  const again = await Work.open(out, "key", 1);
  expect(await again.share("heads", "of 10 texts")).toBe(60 * SHARES.heads);

  const longer = await Work.open(out, "key", 3);
  const left = await longer.share("heads", "of 30 texts");
  expect(left).toBe(longer.left("heads"));
  expect(left).toBeLessThan(3 * 60 * SHARES.heads);
  await spend(longer);
  expect(await longer.share("heads", "of 30 texts")).toBe(left);
  await expect(Work.open(out, "another", 1)).rejects.toThrow(/begun with another model/);
});
