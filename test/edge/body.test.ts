import { expect, test } from "vitest";
import { checkShape, drain } from "../../edge/http/body.ts";
import { LIMITS } from "../../shared/limits.ts";

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

const shapeOf = (text: string) => checkShape(new TextEncoder().encode(text));
const objects = (fields: number) => `[${'{"a":1},'.repeat(fields).slice(0, -1)}]`;
const nested = (depth: number, open: string, close: string) => open.repeat(depth) + close.repeat(depth);

test("a body may have so many fields in all its objects, and no more", () => {
  expect(() => shapeOf(objects(LIMITS.bodyFields))).not.toThrow();
  expect(() => shapeOf(objects(LIMITS.bodyFields + 1))).toThrow(`at most ${LIMITS.bodyFields} fields`);
});

test.each([
  ["[", "]"],
  ['{"a":', "}"],
])("a body may nest so deep, and no deeper: %s", (open, close) => {
  expect(() => shapeOf(nested(LIMITS.bodyDepth, open, close))).not.toThrow();
  expect(() => shapeOf(nested(LIMITS.bodyDepth + 1, open, close))).toThrow(/within each other/);
  expect(() => shapeOf(`[${`${open}${close},`.repeat(1000)}1]`)).not.toThrow();
});

test("what is said in texts is no field and no depth", () => {
  const said = JSON.stringify({ a: `:${"[{:".repeat(LIMITS.bodyFields)}"\\`, b: '\\":' });
  expect(() => shapeOf(said)).not.toThrow();
});
