import { expect, test } from "vitest";
import { FleetList, fixedWorker } from "../../../edge/fleet/registry.ts";

const parse = (text: string) => fixedWorker.parse(text);

test("an address of the configuration may name the model that is there", () => {
  expect(parse("http://127.0.0.1:8788/")).toEqual({ url: "http://127.0.0.1:8788", model: null });
  expect(parse("qwen2.5-0.5b=https://gpu.example/a")).toEqual({ url: "https://gpu.example/a", model: "qwen2.5-0.5b" });
  for (const wrong of ["ftp://x", "a b=http://x", "=http://x", "m=", "m=http://x?q"])
    expect(() => parse(wrong)).toThrow();
});

test("a model's gpu-workers are those of no named model, its own, and its own that registered", async () => {
  const registered = [
    { url: "http://r1", model: "a" },
    { url: "http://r2", model: "b" },
  ];
  const fleet = new FleetList({
    fixed: [parse("http://any"), parse("a=http://a"), parse("b=http://b")],
    registry: { list: async () => registered, register: async () => true, remove: async () => true },
    now: () => 0,
    logError: () => undefined,
  });
  expect(await fleet.urls("a")).toEqual(["http://any", "http://a", "http://r1"]);
  expect(await fleet.urls("b")).toEqual(["http://any", "http://b", "http://r2"]);
  expect(await fleet.urls("c")).toEqual(["http://any"]);
  expect(await fleet.urls(null)).toHaveLength(5);
});
