import OpenAI from "openai";
import { beforeAll, describe, expect, test } from "vitest";
import type { GpuWorker } from "../../scripts/gpu-worker.ts";
import { eventually, frames, type Service, serving } from "./service.ts";

/** Gpu-workers slow, gone or dying: their server over an engine that takes as long as it is told to. */

let service: Service;

const use = (started: Service) => {
  service = started;
};

const REQUEST = { model: "tiny", prompt: "a", max_tokens: 60, temperature: 0 } as const;
const STREAM = { ...REQUEST, stream: true } as const;
const SLOW = { FAKE_STEP_MS: "50" };
const PLACEMENTS = ["edge", "gpu"] as const;

function signal(how: NodeJS.Signals, worker: GpuWorker = service.gpuWorker): void {
  process.kill(worker.pid!, how);
}

const isUp = ({ url }: GpuWorker) =>
  fetch(`${url}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );

/** What plain decoding makes of it. */
async function plainText(): Promise<string> {
  const body = { ...REQUEST, speculation: { enabled: false } };
  return (await service.client().completions.create(body)).choices[0]!.text;
}

/** The text of a stream during whose second chunk something happens. */
async function textWith(event: () => void | Promise<void>, more: object = {}): Promise<string> {
  let text = "";
  let chunks = 0;
  for await (const chunk of await service.client().completions.create({ ...STREAM, ...more })) {
    text += chunk.choices[0]?.text ?? "";
    if (++chunks === 2) await event();
  }
  return text;
}

const noneOpen = () =>
  eventually(
    () => service.openSessions(),
    (count) => count === 0,
  );

describe("a gpu-worker that nobody waits for", () => {
  serving({ engine: "fake", env: SLOW, vars: { RESUME_MAX_S: "0" } }, use);

  test("a gpu-worker that is gone gives 503 with retry-after at once, and service resumes when it is back", async () => {
    // A request that had begun before the signal came may survive the gpu-worker, and the next one find it back.
    const down = await eventually(
      async () => {
        if (await isUp(service.gpuWorker)) signal("SIGKILL");
        return await service.post("/v1/completions", { ...REQUEST, max_tokens: 2 });
      },
      ({ status }) => status !== 200,
    );
    expect(down.status).toBe(503);
    expect(Number(down.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await down.json()).toMatchObject({ error: { code: "engine_unavailable", type: "server_error" } });
    expect((await fetch(`${service.url}/readyz`)).status).toBe(503);
    expect((await fetch(`${service.url}/healthz`)).status).toBe(200);
    await eventually(
      () => fetch(`${service.url}/readyz`),
      ({ status }) => status === 200,
    );
    const back = await service.client().completions.create({ ...REQUEST, max_tokens: 2 });
    expect(back.choices).toHaveLength(1);
  });

  test("the client raises the error frame as an APIError", async () => {
    let ends: Promise<void> | null = null;
    const text = textWith(() => {
      ends = service.gpuWorker.close();
    });
    await expect(text).rejects.toBeInstanceOf(OpenAI.APIError);
    await ends;
  });
});

describe("the only gpu-worker", () => {
  serving({ engine: "fake", env: SLOW }, use);

  test("killed costs a pause and no character, wherever drafts are made", async () => {
    const plain = await plainText();
    for (const placement of PLACEMENTS) {
      expect(await textWith(() => signal("SIGKILL"), { speculation: { placement } }), placement).toBe(plain);
    }
  });

  // The last of this group, as its edge is gone then.
  test("an edge that is killed leaves no session behind", async () => {
    await noneOpen();
    const response = await service.post("/v1/completions", { ...STREAM, max_tokens: 400 });
    const reader = response.body!.getReader();
    await reader.read();
    expect(await service.openSessions()).toBe(1);
    process.kill(service.edge.pid!, "SIGKILL");
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toThrow();
    expect(await noneOpen()).toBe(0);
  });
});

/** The gpu-worker that has the session, and the other. */
async function holder(): Promise<{ readonly busy: GpuWorker; readonly other: GpuWorker }> {
  const [one, two] = service.gpuWorkers;
  return (await service.openSessions(one)) > 0 ? { busy: one!, other: two! } : { busy: two!, other: one! };
}

describe("one of two gpu-workers", () => {
  serving({ engine: "fake", workers: 2, env: SLOW, vars: { RESUME_MAX_S: "1" } }, use);

  let plain: string;
  beforeAll(async () => {
    plain = await plainText();
  });

  test("that is told to end hands its streams over, wherever drafts are made", async () => {
    for (const placement of PLACEMENTS) {
      const drain = async () => {
        const { busy, other } = await holder();
        signal("SIGTERM", busy);
        await eventually(
          () => service.openSessions(other),
          (count) => count === 1,
        );
      };
      expect(await textWith(drain, { speculation: { placement } }), placement).toBe(plain);
      // Both are there again.
      for (const worker of service.gpuWorkers) {
        await eventually(
          () => isUp(worker),
          (up) => up,
        );
      }
    }
  });

  test("that is stopped is taken for lost, and its stream goes on elsewhere", async () => {
    let stopped: GpuWorker | null = null;
    const text = await textWith(async () => {
      const { busy } = await holder();
      stopped = busy;
      signal("SIGSTOP", busy);
    });
    expect(text).toBe(plain);
    signal("SIGCONT", stopped!);
  });

  test("and the other gone: a stream ends with an error frame and no [DONE], and new ones are answered 503", async () => {
    const response = await service.post("/v1/completions", { ...STREAM, max_tokens: 400 });
    expect(response.status).toBe(200);
    const seen: string[] = [];
    for await (const frame of frames(response)) {
      seen.push(frame);
      if (seen.length === 2) for (const worker of service.gpuWorkers) signal("SIGSTOP", worker);
    }
    expect(seen).not.toContain("data: [DONE]");
    expect(JSON.parse(seen.at(-1)!.slice("data: ".length))).toMatchObject({ error: { code: "engine_unavailable" } });
    const refused = await service.post("/v1/completions", REQUEST);
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    for (const worker of service.gpuWorkers) signal("SIGCONT", worker);
  });
});

describe("a client that leaves", () => {
  serving({ engine: "fake", env: { FAKE_STEP_MS: "300" } }, use);

  test("frees the session while a step is running", async () => {
    const controller = new AbortController();
    const stream = await service.client().completions.create(STREAM, { signal: controller.signal });
    for await (const _chunk of stream) {
      expect(await service.openSessions()).toBe(1);
      break;
    }
    controller.abort();
    expect(await noneOpen()).toBe(0);
  });

  test("during the prefill frees it, too", async () => {
    const controller = new AbortController();
    const asked = service.client().completions.create(STREAM, { signal: controller.signal });
    const refused = expect(asked).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    await eventually(service.openSessions, (count) => count === 1);
    controller.abort();
    await refused;
    expect(await noneOpen()).toBe(0);
  });
});
