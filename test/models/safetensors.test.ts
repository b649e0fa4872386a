import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sha256OfFile } from "../../models/cache.ts";
import { readSafetensors } from "../../models/safetensors.ts";
import { type StoredArray, writeSafetensors } from "../../models/safetensors-writer.ts";
import { readSafetensorsIndex } from "../../shared/safetensors.ts";

let dir = "";
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "foredraft-test-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function written(header: object, data: Uint8Array): Promise<string> {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(dir, "file.safetensors");
  await writeFile(path, Buffer.concat([length, json, data]));
  return path;
}

const bytesOf = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

describe("readSafetensors", () => {
  it("widens every float type to float32 and integers to int32, at any alignment", async () => {
    const halves = bytesOf(new Float16Array([0.5, -2, 65504]));
    const brains = bytesOf(new Uint16Array([0x3f80, 0xc000]));
    const floats = bytesOf(Float32Array.of(1.25));
    const ints = bytesOf(Int32Array.of(7, -7));
    const data = Buffer.concat([halves, brains, floats, ints]);
    const file = await readSafetensors(
      await written(
        {
          __metadata__: { taps: "1,2" },
          half: { dtype: "F16", shape: [3], data_offsets: [0, 6] },
          brain: { dtype: "BF16", shape: [1, 2], data_offsets: [6, 10] },
          float: { dtype: "F32", shape: [1], data_offsets: [10, 14] },
          ints: { dtype: "I32", shape: [2], data_offsets: [14, 22] },
        },
        data,
      ),
    );
    expect(file.metadata).toEqual({ taps: "1,2" });
    expect([...file.floats("half")]).toEqual([0.5, -2, 65504]);
    expect([...file.floats("brain")]).toEqual([1, -2]);
    expect(file.get("brain").shape).toEqual([1, 2]);
    expect([...file.floats("float")]).toEqual([1.25]);
    expect([...file.get("ints").values]).toEqual([7, -7]);
    expect(() => file.floats("ints")).toThrow(/holds integers/);
    expect(() => file.get("none")).toThrow(/no tensor named none/);
  });

  it("refuses a file that is something else, cut short, or of an unknown type", async () => {
    const path = join(dir, "other.safetensors");
    for (const text of ["", "GGUF", "not a safetensors file at all"]) {
      await writeFile(path, text);
      await expect(readSafetensors(path)).rejects.toThrow(/not a safetensors file/);
    }
    const entry = { shape: [4], data_offsets: [0, 16] };
    const cut = await readSafetensors(await written({ x: { dtype: "F32", ...entry } }, new Uint8Array(8)));
    expect(() => cut.get("x")).toThrow(/cut short/);
    const odd = await readSafetensors(await written({ x: { dtype: "F8_E4M3", ...entry } }, new Uint8Array(16)));
    expect(() => odd.get("x")).toThrow(/F8_E4M3 is not supported/);
  });
});

describe("writeSafetensors", () => {
  it("writes what is read again, in the order given, each tensor at a place that views can be laid over", async () => {
    const path = join(dir, "written.safetensors");
    const made: string[] = [];
    const told: number[] = [];
    const tensor = (name: string, dtype: "I8" | "F32" | "I32", shape: readonly number[], values: StoredArray) => ({
      name,
      dtype,
      shape,
      make: async () => {
        made.push(name);
        return values;
      },
    });
    const { bytes, sha256 } = await writeSafetensors(
      path,
      [
        tensor(
          "bytes",
          "I8",
          [3, 4],
          Int8Array.from({ length: 12 }, (_, i) => i - 6),
        ),
        tensor("floats", "F32", [2], Float32Array.of(0.1, -3)),
        tensor("ints", "I32", [3], Int32Array.of(1, -2, 2 ** 31 - 1)),
      ],
      (done) => told.push(done),
    );
    expect([made, told]).toEqual([
      ["bytes", "floats", "ints"],
      [1, 2, 3],
    ]);
    expect([bytes, sha256]).toEqual([(await stat(path)).size, await sha256OfFile(path)]);
    const file = await readFile(path);
    const content = Uint8Array.from(file);
    const { tensors } = readSafetensorsIndex(content, (utf8) => new TextDecoder().decode(utf8));
    expect([...tensors.keys()]).toEqual(["bytes", "floats", "ints"]);
    const at = (name: string) => tensors.get(name)!.byteOffset;
    expect([...new Int8Array(content.buffer, at("bytes"), 12)]).toEqual(Array.from({ length: 12 }, (_, i) => i - 6));
    expect([...new Float32Array(content.buffer, at("floats"), 2)]).toEqual([Math.fround(0.1), -3]);
    expect([...new Int32Array(content.buffer, at("ints"), 3)]).toEqual([1, -2, 2 ** 31 - 1]);
    // The other reader of such files agrees.
    expect([...(await readSafetensors(path)).floats("floats")]).toEqual([Math.fround(0.1), -3]);
  });

  it("refuses a tensor of another size than it was announced with, or of half a word", async () => {
    const path = join(dir, "refused.safetensors");
    const write = (length: number, announced: number) =>
      writeSafetensors(
        path,
        [{ name: "x", dtype: "I8", shape: [announced], make: () => new Int8Array(length) }],
        () => undefined,
      );
    await expect(write(8, 12)).rejects.toThrow("x has the size it was announced with");
    await expect(write(6, 6)).rejects.toThrow("x fills whole words");
  });
});
