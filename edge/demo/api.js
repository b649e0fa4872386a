/**
 * The completion API as this page uses it.
 *
 * @typedef {{ id: number, text: string, parent: number, accepted: boolean }} DraftedToken
 * @typedef {{ step: number, accepted: string[], bonus: string | null, drafted: DraftedToken[], rejected: number,
 *   step_ms: number, model_ms: number }} StepTrace
 *   One model call: `accepted` and `bonus` are the text it committed; `drafted` is the tree it verified,
 *   `parent` an index into it or -1. Step 0 is the prefill.
 * @typedef {{ index: number, id?: string, function: { name?: string, arguments: string } }} ToolCallDelta
 * @typedef {{ finish_reason: string | null, delta: { content?: string, tool_calls?: ToolCallDelta[] } }} Choice
 * @typedef {{ choices: Choice[], speculation?: StepTrace, usage?: Usage | null, metrics?: Metrics }} Chunk
 * @typedef {{ prompt_tokens: number, prompt_tokens_details: { cached_tokens: number } }} Usage
 * @typedef {{ block_efficiency: { unrefined: number, refined: number, best: number }, tokens: Record<string, number> }} Receipt
 * @typedef {{ placement: { chosen: "edge" | "gpu", round_trip_ms: number | null }, receipt?: Receipt | null }} Metrics
 *   Who drafted last, how far the edge is from the model, and what refinement was worth.
 * @typedef {{ name: string, order: number, ngrams: number }} Pack
 * @typedef {string | number | boolean} Setting
 * @typedef {{ title?: string, description?: string, type?: string, minimum?: number, maximum?: number, enum?: string[] }} SettingSchema
 * @typedef {{ title: string, summary: string, defaults: Record<string, Setting>, settings: Record<string, SettingSchema> }} Rescorer
 *   What readers call it, and of every setting it has the bundle's value and the bounds.
 * @typedef {{ heads: number, top_k: number, packs: Pack[], rescorer_settings: Record<string, Rescorer>,
 *   defaults: { heads: number, top_k: number, rescorer: { type: string } } }} Speculation
 * @typedef {{ id: string, notice: string | null, chat: boolean, speculation: Speculation }} Model
 */

/** What the server refused, or why it could not be reached; `message` is meant for the reader. */
export class ApiError extends Error {
  /** The request's field at fault, as the API names it. */
  param;

  /**
   * @param {string} message
   * @param {string | null} [param]
   */
  constructor(message, param = null) {
    super(message);
    this.param = param;
  }
}

/**
 * The models served, and where else this page can be had, farther from them or nearer: ports of the same host.
 *
 * @param {string} apiKey empty: none is sent
 * @returns {Promise<{ models: Model[], distances: { rttMs: string, port: string }[] }>}
 */
export async function listModels(apiKey) {
  const response = await request("v1/models", { headers: authorization(apiKey) });
  const places = response.headers.get("x-distances")?.split(",") ?? [];
  const distances = places.map((place) => {
    const [rttMs = "", port = ""] = place.split("=");
    return { rttMs, port };
  });
  return { models: (await response.json()).data, distances };
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
    body: JSON.stringify(body),
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
  throw new ApiError(
    error?.message ?? `The server answered ${response.status} ${response.statusText}.`,
    error?.param ?? null,
  );
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
