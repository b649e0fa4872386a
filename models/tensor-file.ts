import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { FileEntry } from "../shared/manifest.ts";
import type { TensorStore } from "./compile/graph.ts";

/** Where tensors may begin: at a page, so that they can be mapped into memory. */
const ALIGNMENT = 4096;

/** The large tensors of a graph, written as they are made. */
export class TensorFile implements TensorStore {
  readonly name: string;
  readonly #path: string;
  /** null: nothing has been written yet. */
  #file: number | null = null;
  readonly #hash = createHash("sha256");
  #bytes = 0;

  constructor(dir: string, name: string) {
    this.name = name;
    this.#path = join(dir, name);
  }

  /** Throws Error where the file cannot be written. */
  add(bytes: Uint8Array): number {
    const padding = (ALIGNMENT - (this.#bytes % ALIGNMENT)) % ALIGNMENT;
    if (padding > 0) this.#write(new Uint8Array(padding));
    const offset = this.#bytes;
    this.#write(bytes);
    return offset;
  }

  /** What has been written so far; null: nothing, and there is no file. */
  entry(): FileEntry | null {
    if (this.#file === null) return null;
    return { path: this.name, bytes: this.#bytes, sha256: this.#hash.copy().digest("hex") };
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
  }

  #write(bytes: Uint8Array): void {
    const file = (this.#file ??= openSync(this.#path, "w"));
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
  }
}
