import { expect, test } from "vitest";
import { Random } from "../helpers/random.ts";
import { testApp } from "./fixture.ts";
import { mutatedBody } from "./mutated-bodies.ts";

test("5,000 mutated bodies: answers, or 4xx in OpenAI's shape", async () => {
  const random = new Random(2026);
  const { post, logged } = testApp();
  let refused = 0;
  for (let round = 0; round < 5_000; round++) {
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
  expect(refused).toBeGreaterThan(2_000);
  expect(logged).toEqual([]);
});
