import { expect, test } from "vitest";
import { defaultCacheDir } from "../../../gpu-worker/config.ts";
import { kernelBytes } from "../../../gpu-worker/integer/kernel.ts";
import { kernelsAgree } from "../../../gpu-worker/integer/kernel-check.ts";

/** Operators on vectors as they are spelled in a module, and others of the same types. */
const OPERATORS = [
  ["f32x4.add", [0xfd, 0xe4, 0x01], "f32x4.sub", [0xfd, 0xe5, 0x01]],
  ["f32x4.sub", [0xfd, 0xe5, 0x01], "f32x4.add", [0xfd, 0xe4, 0x01]],
  ["f32x4.mul", [0xfd, 0xe6, 0x01], "f32x4.div", [0xfd, 0xe7, 0x01]],
  ["f32x4.div", [0xfd, 0xe7, 0x01], "f32x4.mul", [0xfd, 0xe6, 0x01]],
  ["f32x4.pmin", [0xfd, 0xea, 0x01], "f32x4.pmax", [0xfd, 0xeb, 0x01]],
  ["f32x4.pmax", [0xfd, 0xeb, 0x01], "f32x4.pmin", [0xfd, 0xea, 0x01]],
  ["i32x4.add", [0xfd, 0xae, 0x01], "i32x4.sub", [0xfd, 0xb1, 0x01]],
  ["i32x4.sub", [0xfd, 0xb1, 0x01], "i32x4.add", [0xfd, 0xae, 0x01]],
  ["i32x4.dot_i16x8_s", [0xfd, 0xba, 0x01], "i32x4.mul", [0xfd, 0xb5, 0x01]],
  ["f64x2.add", [0xfd, 0xf0, 0x01], "f64x2.sub", [0xfd, 0xf1, 0x01]],
] as const;
/** One in so many of the places where an operator stands is tried. */
const STRIDE = 4;

function placesOf(operator: readonly number[], module: Uint8Array): number[] {
  const places: number[] = [];
  const bytes = Buffer.from(module);
  for (
    let at = bytes.indexOf(Uint8Array.from(operator));
    at >= 0;
    at = bytes.indexOf(Uint8Array.from(operator), at + 1)
  )
    places.push(at);
  return places;
}

test("a kernel agrees with itself", async () => {
  const bytes = await kernelBytes(defaultCacheDir());
  expect(await kernelsAgree(new WebAssembly.Module(bytes), new WebAssembly.Module(bytes))).toBe(true);
});

test.each(OPERATORS)("a kernel in which one %s is another operator does not agree with it", async (_, from, __, to) => {
  const bytes = await kernelBytes(defaultCacheDir());
  const kernel = new WebAssembly.Module(bytes);
  const places = placesOf(from, bytes);
  expect(places.length).toBeGreaterThan(0);
  for (let i = 0; i < places.length; i += STRIDE) {
    const changed = Uint8Array.from(bytes);
    changed.set(to, places[i]);
    // The same bytes may stand for something else elsewhere.
    if (!WebAssembly.validate(changed)) continue;
    expect(await kernelsAgree(kernel, new WebAssembly.Module(changed)), `at ${places[i]}`).toBe(false);
  }
});
