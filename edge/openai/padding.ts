import { frame } from "../http/sse.ts";

/** Bytes of a frame of a padded stream, or a multiple of it. */
const TEXT_FRAME = 1_024;
/** The same of a frame with `metrics`, whose histograms are longer or shorter as drafts were accepted. */
const METRICS_FRAME = 16_384;
/** Bytes of a frame that a step's text may take: what is left holds everything else. */
const TEXT_ROOM = 512;

const utf8 = new TextEncoder();

/** The chunk with as much noise, in OpenAI's field for it, as fills its frame up. Noise cannot be compressed away. */
export function padded(chunk: object): object {
  const unit = "metrics" in chunk ? METRICS_FRAME : TEXT_FRAME;
  const bytes = utf8.encode(frame({ ...chunk, obfuscation: "" })).length;
  return { ...chunk, obfuscation: noise((unit - (bytes % unit)) % unit) };
}

function noise(length: number): string {
  const random = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(random, (byte) => String.fromCharCode(97 + (byte % 26))).join("");
}

/** Text that goes out at a bounded number of bytes of JSON a step; what does not fit goes with the next. */
export class TextGate {
  #waiting = "";

  get empty(): boolean {
    return this.#waiting === "";
  }

  /** What may be sent now of `text` and of what waits. */
  pass(text: string): string {
    this.#waiting += text;
    let sent = "";
    let bytes = 0;
    for (const character of this.#waiting) {
      bytes += utf8.encode(JSON.stringify(character)).length - 2;
      if (bytes > TEXT_ROOM) break;
      sent += character;
    }
    this.#waiting = this.#waiting.slice(sent.length);
    return sent;
  }
}
