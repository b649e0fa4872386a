/** @import { Pane } from "./pane.js" */
import { isValid } from "./answer-form.js";
import { ApiError, streamChat } from "./api.js";
import { make } from "./dom.js";
import { commonRate, fixed, Recording } from "./stats.js";

/**
 * @typedef {{ seed?: number, max_tokens: number, speculation?: object, [field: string]: unknown }} Body
 * @typedef {{ apiKey: string, signal: AbortSignal, streams: number, form: string, onChange: (run: Recording) => void }} RunOptions
 *   `streams`: copies of the request that run at once; `form`: what the answer is held to, a key of FORMS.
 */

/**
 * Streams one answer into its pane, and says there how it ended, whatever happens.
 *
 * @param {Body} body
 * @param {Pane} pane
 * @param {RunOptions} options
 */
export async function runInto(body, pane, options) {
  const run = new Recording();
  const others = startOthers(body, options);
  pane.setBusy(true);
  try {
    await record(body, run, options, (trace) => {
      pane.add(trace);
      pane.showFigures(run);
    });
    pane.showFigures(run, await others.rate(run));
    showEnd(pane, run, options.form);
  } catch (reason) {
    if (options.signal.aborted) pane.end("stopped", "Stopped before its end.");
    else pane.end("failed", failure(reason));
    throw reason;
  } finally {
    others.stop();
    pane.setBusy(false);
  }
  return run;
}

/**
 * @param {Body} body
 * @param {Recording} run
 * @param {RunOptions} options
 * @param {(trace: import("./api.js").StepTrace) => void} onBlock
 */
async function record(body, run, { apiKey, signal, onChange }, onBlock) {
  const sentAt = performance.now();
  for await (const chunk of streamChat(withReports(body), { apiKey, signal })) {
    run.take(chunk, performance.now() - sentAt);
    if (chunk.speculation !== undefined) onBlock(chunk.speculation);
    onChange(run);
  }
}

/** What this page wants to know beside the text. @param {Body} body */
function withReports({ speculation = {}, ...body }) {
  const isPlain = "enabled" in speculation;
  return {
    ...body,
    stream: true,
    stream_options: { include_usage: true },
    speculation: { ...speculation, trace: true, ...(isPlain ? {} : { receipt: true }) },
  };
}

/**
 * The load beside a run: the same request with other seeds.
 *
 * @param {Body} body
 * @param {RunOptions} options
 */
function startOthers(body, options) {
  const stopping = new AbortController();
  const signal = AbortSignal.any([options.signal, stopping.signal]);
  const runs = Array.from({ length: options.streams - 1 }, async (_, i) => {
    const run = new Recording();
    const own = { ...body, ...(body.seed === undefined ? {} : { seed: body.seed + i + 1 }) };
    await record(own, run, { ...options, signal, onChange: () => undefined }, () => undefined);
    return run;
  });
  const ended = Promise.allSettled(runs);
  return {
    stop: () => stopping.abort(),
    /** Once all have ended, the speed of all together. @param {Recording} run */
    async rate(run) {
      if (runs.length === 0) return "";
      const results = await ended;
      const finished = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
      const refused = results.find((result) => result.status === "rejected");
      const why =
        refused === undefined ? "" : `; of ${runs.length} others ${finished.length} ran: ${failure(refused.reason)}`;
      return ` · ${finished.length + 1} streams together: ${fixed(commonRate([run, ...finished]), 1)} tokens/s${why}`;
    },
  };
}

/**
 * @param {Pane} pane
 * @param {Recording} run
 * @param {string} form
 */
function showEnd(pane, run, form) {
  for (const { function: call } of run.toolCalls) {
    pane.append(make("p", "tool-call", make("b", "", call.name), `(${call.arguments})`));
  }
  if (run.finishReason === "length")
    return pane.end("cut", `Cut here, at the limit of ${run.tokens} tokens. Options can raise it.`);
  if (run.text.trim() === "") return pane.end("fine", "The model ended its answer at once.");
  const valid = isValid(run.text, form);
  if (valid !== null) pane.end(valid ? "fine" : "bad", valid ? "Valid JSON." : "This is not valid JSON.");
}

/** @param {unknown} reason */
function failure(reason) {
  if (reason instanceof ApiError) return reason.message;
  return reason instanceof Error ? `This page failed: ${reason.message}` : String(reason);
}
