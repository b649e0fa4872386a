import { expect, test } from "vitest";
import { drain } from "../../edge/http/body.ts";

/** A request whose body comes in pieces of 10 bytes, and how many of them were asked for. */
function uploading(pieces: number) {
  const asked = { pieces: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (asked.pieces === pieces) return controller.close();
        asked.pieces++;
        controller.enqueue(new Uint8Array(10));
      },
      cancel() {
        asked.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { asked, request: new Request("http://edge/", { method: "PUT", body, duplex: "half" } as RequestInit) };
}

test("an upload that nobody wants is read to its end, so that its sender reads the answer", async () => {
  const { asked, request } = uploading(7);
  await drain(request, 1000);
  expect(asked).toEqual({ pieces: 7, cancelled: false });
});

test("but no further than an upload may be", async () => {
  const { asked, request } = uploading(1000);
  await drain(request, 45);
  expect(asked).toEqual({ pieces: 5, cancelled: true });
});

test("what has been read is left alone, and so is a request without a body", async () => {
  const { asked, request } = uploading(2);
  await request.arrayBuffer();
  await drain(request, 1000);
  expect(asked.pieces).toBe(2);
  await drain(new Request("http://edge/"), 1000);
});

test("a sender that is gone is nobody's fault", async () => {
  const body = new ReadableStream({ pull: (controller) => controller.error(new Error("gone")) });
  await drain(new Request("http://edge/", { method: "PUT", body, duplex: "half" } as RequestInit), 1000);
});
