import { StepError } from "../../shared/errors.ts";
import { LIMITS } from "../../shared/limits.ts";
import { checkShape } from "./json-shape.ts";

/**
 * Reads a JSON body. The size is counted as it arrives, because content-length may lie. Clients such as
 * curl send JSON as a form unless told otherwise, so only types that cannot be meant as JSON are refused.
 * Throws StepError: unsupported_media_type, body_too_large, client_closed, or invalid_request for bad UTF-8 or JSON, and
 * for more of it than any request needs.
 */
export async function readJson(request: Request): Promise<unknown> {
  const type = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
  if (!ACCEPTED_TYPES.has(type) && !type.endsWith("+json")) {
    throw new StepError("unsupported_media_type", `Send application/json, not '${type}'.`);
  }
  const bytes = await readBytes(request, LIMITS.bodyBytes);
  const text = decodeUtf8(bytes);
  checkShape(bytes);
  try {
    return JSON.parse(text);
  } catch {
    throw new StepError("invalid_request", "The body is not valid JSON.");
  }
}

const ACCEPTED_TYPES: ReadonlySet<string> = new Set([
  "",
  "application/json",
  "text/plain",
  "application/x-www-form-urlencoded",
]);

/** The body of at most `most` bytes. Throws StepError: body_too_large, client_closed. */
export async function readBytes(request: Request, most: number): Promise<Uint8Array<ArrayBuffer>> {
  if (request.body === null) return new Uint8Array(0);
  const reader = request.body.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new StepError("client_closed", "The connection was lost before the body was complete.");
    });
    if (done) break;
    length += value.length;
    if (length > most) {
      await reader.cancel();
      throw new StepError("body_too_large", `The body exceeds ${most} bytes.`);
    }
    parts.push(value);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * Reads what nobody has read, at most `most` bytes of it, and forgets it: the runtime closes a connection that still
 * sends, and the answer to a refused upload would be lost with it.
 */
export async function drain(request: Request, most: number): Promise<void> {
  if (request.body === null || request.bodyUsed) return;
  const reader = request.body.getReader();
  try {
    for (let left = most; left > 0; ) {
      const { done, value } = await reader.read();
      if (done) return;
      left -= value.length;
    }
    await reader.cancel();
  } catch {
    // The client is gone, and with it whoever the answer is for.
  }
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    throw new StepError("invalid_request", "The body is not valid UTF-8.");
  }
}
