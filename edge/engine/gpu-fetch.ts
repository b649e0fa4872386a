import type { BundleInfo, CancelSignal } from "../../shared/engine.ts";
import { StepError } from "../../shared/errors.ts";
import type { Connect } from "./gpu-client.ts";
import type { ClientSocket } from "./link.ts";

const UNAVAILABLE = "The model engine is not available.";

/** Longest wait for the engine's description, ms. */
const INFO_DEADLINE_MS = 3_000;

/** Connects by a fetch Upgrade, workerd's way to a WebSocket that carries an Authorization header. */
export function connectByFetch(url: string, key: string): Connect {
  return async (cancel, trace): Promise<ClientSocket> => {
    const { signal, forget } = asAbortSignal(cancel);
    const upgrade = { upgrade: "websocket", ...trace };
    const response = await reach(`${url}/v1/step`, key, upgrade, signal).finally(forget);
    const socket = response.webSocket;
    if (socket === null) throw refused(response);
    socket.accept();
    // Since compatibility date 2026-03 binary messages arrive as Blob unless told otherwise.
    socket.binaryType = "arraybuffer";
    return socket;
  };
}

/** GET /v1/bundle. Rejects with StepError "engine_unavailable". */
export async function fetchEngineInfo(url: string, key: string, signal: CancelSignal): Promise<BundleInfo> {
  if (signal.aborted) throw new StepError("client_closed", "The request was cancelled.");
  const response = await reach(`${url}/v1/bundle`, key, {}, AbortSignal.timeout(INFO_DEADLINE_MS));
  if (!response.ok) throw refused(response);
  return await response.json<BundleInfo>();
}

/** GET /metrics, Prometheus' text. Rejects with StepError "engine_unavailable". */
export async function fetchMetrics(url: string, key: string): Promise<string> {
  const response = await reach(`${url}/metrics`, key, {}, AbortSignal.timeout(INFO_DEADLINE_MS));
  if (!response.ok) throw refused(response);
  return await response.text();
}

async function reach(
  url: string,
  key: string,
  headers: Record<string, string>,
  signal?: AbortSignal,
): Promise<Response> {
  const sent = { ...headers, authorization: `Bearer ${key}` };
  try {
    // Followed, a redirection would let a gpu-worker choose what else the edge calls.
    return await fetch(url, { headers: sent, redirect: "manual", ...(signal ? { signal } : {}) });
  } catch {
    throw new StepError("engine_unavailable", UNAVAILABLE);
  }
}

/** For fetch, which takes no other; `forget` ends the connection between the two. */
function asAbortSignal(cancel: CancelSignal): { readonly signal: AbortSignal; readonly forget: () => void } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  if (cancel.aborted) abort();
  else cancel.addEventListener("abort", abort);
  return { signal: controller.signal, forget: () => cancel.removeEventListener("abort", abort) };
}

/** An answer that is no connection: full, or misconfigured, which is not the caller's business. */
function refused(response: Response): StepError {
  if (response.status === 503 || response.status === 429)
    return new StepError("overloaded", "The model engine is busy.");
  return new StepError("engine_unavailable", UNAVAILABLE);
}
