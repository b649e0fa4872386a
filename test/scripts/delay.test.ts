import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import { startWire, type Wire } from "../../scripts/delay.ts";

let server: Server;
let wire: Wire;
afterEach(async () => {
  await wire.close();
  server.close();
});

/** A wire before a server that says again what it hears. */
async function echo(roundTripMs: number): Promise<void> {
  server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  wire = await startWire(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, roundTripMs);
}

const dial = () => connect({ host: "127.0.0.1", port: Number(new URL(wire.url).port) });

test("what goes through a wire comes out whole and in order, the end too, and is counted both ways", async () => {
  await echo(4);
  const socket = dial();
  const parts = Array.from({ length: 50 }, (_, i) => `${i} ${"x".repeat(i * 37)}\n`);
  for (const part of parts) socket.write(part);
  socket.end();
  expect(await text(socket)).toBe(parts.join(""));
  expect(wire.bytes).toBe(2 * parts.join("").length);
});

test("a wire that is closed cuts off whoever uses it", async () => {
  await echo(2);
  const socket = dial();
  socket.write("hello");
  await once(socket, "data");
  const gone = once(socket, "close");
  await wire.close();
  await gone;
});
