/**
 * The completion API as this page uses it.
 *
 * @typedef {{ id: number, text: string, parent: number, accepted: boolean }} DraftedToken
 * @typedef {{ step: number, accepted: string[], bonus: string | null, drafted: DraftedToken[], rejected: number,
 *   step_ms: number, model_ms: number }} StepTrace
 *   One model call: `accepted` and `bonus` are the text it committed; `drafted` is the tree it verified,
 *   `parent` an index into it or -1. Step 0 is the prefill.
 * @typedef {{ choices: { finish_reason: string | null }[], speculation?: StepTrace, metrics?: Metrics }} Chunk
 * @typedef {{ placement: { chosen: "edge" | "gpu", round_trip_ms: number | null } }} Metrics
 *   Who drafted last, and how far the edge is from the model.
 * @typedef {{ name: string, order: number, ngrams: number }} Pack
 * @typedef {{ type: string, model: string, order: number, alpha: number, p_best: number, prompt: boolean }} RescorerDefaults
 * @typedef {{ title: string, defaults: Record<string, string | number | boolean> }} RescorerSettings
 *   What readers call it, and the bundle's value of every setting it has.
 * @typedef {{ heads: number, top_k: number, packs: Pack[], rescorers: string[],
 *   rescorer_settings: Record<string, RescorerSettings>, neural: { alpha: number } | null,
 *   defaults: { heads: number, top_k: number, rescorer: RescorerDefaults } }} Speculation
 * @typedef {{ id: string, notice: string | null, chat: boolean, speculation: Speculation }} Model
 */

/** What the server refused, or why it could not be reached; `message` is meant for the reader. */
export class ApiError extends Error {}

/**
 * @param {string} apiKey empty: none is sent
 * @returns {Promise<Model[]>}
 */
export async function listModels(apiKey) {
  const response = await request("v1/models", { headers: authorization(apiKey) });
  return (await response.json()).data;
}

/**
 * Streams a completion; leaving the loop or aborting ends it on the server too.
 *
 * @param {object} body
 * @param {{ apiKey: string, signal: AbortSignal }} options
 * @returns {AsyncGenerator<Chunk, void>}
 */
export async function* streamChat(body, { apiKey, signal }) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization(apiKey) },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  if (response.body === null) throw new ApiError("The server sent an empty answer.");
  for await (const data of eventData(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message);
    yield chunk;
  }
  throw new ApiError("The connection ended before the answer did.");
}

/** @param {string} apiKey */
function authorization(apiKey) {
  return /** @type {Record<string, string>} */ (apiKey === "" ? {} : { authorization: `Bearer ${apiKey}` });
}

/**
 * @param {string} path
 * @param {RequestInit} init
 */
async function request(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError("The server could not be reached.");
  }
  if (response.ok) return response;
  const error = (await response.json().catch(() => null))?.error;
  throw new ApiError(error?.message ?? `The server answered ${response.status} ${response.statusText}.`);
}

/**
 * The data of each server-sent event. Comments (keep-alives) are skipped; this API sends one line of
 * data per event, so a line is an event.
 *
 * @param {ReadableStream<Uint8Array>} stream
 */
async function* eventData(stream) {
  const reader = stream.getReader();
  const utf8 = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + utf8.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6).trimEnd();
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
