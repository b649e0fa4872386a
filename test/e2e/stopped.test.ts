import { afterEach, expect, test } from "vitest";
import { eventually, type Service, startService } from "./service.ts";

/** Gpu-workers that are stopped before anybody called them: they take connections and say nothing. */

let service: Service;
afterEach(() => service?.close());

const REQUEST = { model: "tiny", prompt: "a", max_tokens: 16, temperature: 0 } as const;

test("stopped gpu-workers are passed over: the one left has the session, and nothing begins at the others later", async () => {
  service = await startService({ engine: "fake", workers: 3 });
  const complete = async () => (await service.client().completions.create(REQUEST)).choices[0]!.text;
  const plain = await complete();
  const stopped = service.gpuWorkers.slice(1);
  try {
    for (const { pid } of stopped) process.kill(pid!, "SIGSTOP");
    // Whichever they are asked first: several, as the order of equals is by chance.
    for (let i = 0; i < 4; i++) expect(await complete()).toBe(plain);
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
  } finally {
    for (const { pid } of stopped) process.kill(pid!, "SIGCONT");
  }
  for (const worker of stopped) {
    const count = await eventually(
      () => service.openSessions(worker),
      (open) => open === 0,
    );
    expect(count).toBe(0);
  }
});
