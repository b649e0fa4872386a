import { expect, test } from "vitest";
import { testApp } from "./fixture.ts";
import { mutatedBodies } from "./mutated-bodies.ts";

test("5,000 mutated bodies: answers, or 4xx in OpenAI's shape", async () => {
  const { post, logged } = testApp();
  let refused = 0;
  for (const { path, body } of mutatedBodies(5_000)) {
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
