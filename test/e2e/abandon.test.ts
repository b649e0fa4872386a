import { afterEach, expect, test } from "vitest";
import { abandon, type Manner } from "../../bench/abuse/abandon.ts";
import { Random } from "../helpers/random.ts";
import { eventually, type Service, startService } from "./service.ts";

/** Clients that leave, over sockets of their own: their work ends and their places are free. */

let service: Service;
afterEach(() => service?.close());

const ASK = { model: "tiny", prompt: "a", max_tokens: 200, temperature: 0 } as const;

test("a client that leaves before the first byte cancels its request, however it leaves, streaming or not", async () => {
  // An engine that never answers: nothing but the cancellation can end its sessions.
  service = await startService({ engine: "fake", env: { FAKE_STEP_MS: "600000" }, vars: { MAX_STREAMS: "1" } });
  const url = `${service.url}/v1/completions`;
  for (const manner of ["fin", "rst"] as const) {
    for (const stream of [false, true]) {
      const { promise: told, resolve: leave } = Promise.withResolvers<void>();
      const leaving = abandon(url, { ...ASK, stream }, manner, { told });
      await eventually(service.openSessions, (count) => count === 1);
      expect((await service.post("/v1/completions", ASK)).status).toBe(429);
      leave();
      expect(await leaving).toEqual({ status: null, early: true });
      await eventually(service.openSessions, (count) => count === 0);
    }
  }
});

test("hundreds of clients that leave at any moment leave no place taken and no session open", async () => {
  service = await startService({ engine: "tiny", vars: { MAX_STREAMS: "8" } });
  const url = `${service.url}/v1/completions`;
  const draw = new Random(1);
  // The first request loads tokenizer and model.
  await service.post("/v1/completions", { ...ASK, max_tokens: 1 });
  let left = 0;
  const leaver = async () => {
    while (left++ < 400) {
      const manner = draw.pick<Manner>(["fin", "rst"]);
      const body = { ...ASK, stream: draw.chance(0.5), temperature: 1.5, seed: left };
      await abandon(
        url,
        body,
        manner,
        draw.chance(0.1) ? { afterFrames: draw.int(1, 5) } : { afterMs: draw.int(0, 40) },
      );
    }
  };
  await Promise.all(Array.from({ length: 8 }, leaver));
  await eventually(service.openSessions, (count) => count === 0);
  expect((await service.post("/v1/completions", ASK)).status).toBe(200);
  const places = Array.from({ length: 8 }, () => service.post("/v1/completions", ASK));
  expect((await Promise.all(places)).map(({ status }) => status)).toEqual(new Array(8).fill(200));
});
