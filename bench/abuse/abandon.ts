import { once } from "node:events";
import { connect } from "node:net";

/** How a client leaves: with its half of the connection closed in order (FIN), or by resetting it (RST). */
export type Manner = "fin" | "rst";

/** When it does: some time after sending the request, after so many `data:` frames of a stream, or when told to. */
export type Moment = { readonly afterMs: number } | { readonly afterFrames: number } | { readonly told: Promise<void> };

export interface Left {
  /** HTTP status, or null where none had come yet. */
  readonly status: number | null;
  /** Whether the client left before the answer was whole. */
  readonly early: boolean;
}

/**
 * POSTs JSON over a connection of its own, with an API key where one is given, and leaves at the moment given, unless the answer is whole before. Resolves
 * when the client has left; by then the server need not know.
 */
export async function abandon(
  url: string,
  body: object,
  manner: Manner,
  moment: Moment & { readonly key?: string },
): Promise<Left> {
  const { hostname, port, pathname } = new URL(url);
  const socket = connect(Number(port), hostname);
  const gone = new AbortController();
  const { promise: time, resolve: leave } = Promise.withResolvers<true>();
  let received = "";
  socket.on("error", () => undefined);
  const ended = once(socket, "close", { signal: gone.signal }).then(
    () => false as const,
    () => false as const,
  );
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    received += text;
    if ("afterFrames" in moment && received.split("data: ").length > moment.afterFrames) leave(true);
  });
  await once(socket, "connect");
  const json = JSON.stringify(body);
  const head = `POST ${pathname} HTTP/1.1\r\nhost: ${hostname}:${port}\r\ncontent-type: application/json\r\n`;
  const authorization = moment.key === undefined ? "" : `authorization: Bearer ${moment.key}\r\n`;
  socket.write(`${head}${authorization}connection: close\r\ncontent-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`);
  if ("told" in moment) void moment.told.then(() => leave(true));
  const timer = "afterMs" in moment ? setTimeout(leave, moment.afterMs, true) : undefined;
  const early = await Promise.race([time, ended]);
  clearTimeout(timer);
  gone.abort();
  if (manner === "rst") socket.resetAndDestroy();
  else socket.end();
  const status = /^HTTP\/1\.1 (\d+)/.exec(received)?.[1];
  return { status: status === undefined ? null : Number(status), early };
}
