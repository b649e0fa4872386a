import { expect, test } from "vitest";
import { drain } from "../../edge/http/body.ts";
import { checkShape } from "../../edge/http/json-shape.ts";
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

const shape = (json: string) => checkShape(new TextEncoder().encode(json));
const times = (count: number, item: string) => Array(count).fill(item).join();

test.each([
  ["fields", `{"a":1,"b":{${times(LIMITS.bodyFields - 1, '"c":1')}}}`, "b"],
  ["fields", `{${times(LIMITS.bodyFields, '"c":1')},"last":1}`, "last"],
  ["objects and lists", `{"a":[],"b":[${times(LIMITS.bodyLists, "{}")}]}`, "b"],
  ["values", `{"a":[${times(LIMITS.bodyValues + 2, "1")}]}`, "a"],
  ["objects and lists within one another", `{"a\\\\":${'{"[":['.repeat(LIMITS.bodyDepth)}`, "a\\\\"],
  ["objects and lists", `[${times(LIMITS.bodyLists, "[]")}]`, null],
])("more %s than any request needs are refused before they are parsed (%#)", (what, json, param) => {
  const refused = expect.objectContaining({ code: "invalid_request", param, message: expect.stringContaining(what) });
  expect(() => shape(json)).toThrow(refused);
});

test.each([
  `{"a":[${times(16, `[${times(LIMITS.contextTokens, "1")}]`)}]}`,
  `{"a":${'{"b":'.repeat(LIMITS.bodyDepth - 1)}`,
  `{"a":${JSON.stringify('[{:,\\\\"'.repeat(100_000))},"b":[]}`,
  '"[[[[',
  "",
])("what a request may need is let through, and what stands in strings counts for nothing (%#)", (json) => {
  expect(() => shape(json)).not.toThrow();
});
