import { expect, test } from "vitest";
import { Random } from "../helpers/random.ts";
import { testApp } from "./fixture.ts";
import { mutatedBody } from "./mutated-bodies.ts";

/** A test each, as a test's time is limited: all in one came near the limit on a machine busy with other things. */
const SEEDS = Array.from({ length: 20 }, (_, i) => 2026 + i);

test.each(SEEDS)("250 mutated bodies of seed %i: answers, or 4xx in OpenAI's shape", async (seed) => {
  const random = new Random(seed);
  const { post, logged } = testApp();
  let refused = 0;
  for (let round = 0; round < 250; round++) {
    const [path, body] = mutatedBody(random);
    const response = await post(path, body);
    const text = await response.text();
    if (response.status === 200) continue;
    refused++;
    const said = `${response.status} to ${JSON.stringify(body)}: ${text}`;
    expect(response.status, said).toBeGreaterThanOrEqual(400);
    expect(response.status, said).toBeLessThan(500);
    const { error } = JSON.parse(text) as { error: Record<string, unknown> };
    expect(Object.keys(error).sort(), said).toEqual(["code", "message", "param", "type"]);
  }
  expect(refused).toBeGreaterThan(100);
  expect(logged).toEqual([]);
});
