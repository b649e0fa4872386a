import { getPath } from "hono/utils/url";

const API =
  /^(?:\/v1)*(\/(?:chat\/completions|completions|responses|embeddings|models|memory|usage|tokenize|detokenize)(?:\/.*)?)$/;

/** A route's usual path, however a base URL was put together: without /v1, with it twice, with slashes at the end. */
export function usualPath(request: Request): string {
  const path = getPath(request);
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end--;
  const bare = path.slice(0, end);
  const api = API.exec(bare)?.[1];
  if (api !== undefined) return `/v1${api}`;
  return OTHER.has(bare) ? bare : path;
}

const OTHER: ReadonlySet<string> = new Set(["/healthz", "/health", "/readyz", "/metrics", "/openapi.json"]);
