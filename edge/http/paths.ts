import { getPath } from "hono/utils/url";

const API =
  /^(?:\/v1)*(\/(?:chat\/completions|completions|responses|embeddings|models|tokenize|detokenize)(?:\/.*?)?)\/*$/;
const OTHER = /^(\/(?:healthz|health|readyz|metrics|openapi\.json))\/+$/;

/** A route's usual path, however a base URL was put together: without /v1, with it twice, with slashes at the end. */
export function usualPath(request: Request): string {
  const path = getPath(request);
  const api = API.exec(path)?.[1];
  if (api !== undefined) return `/v1${api}`;
  return OTHER.exec(path)?.[1] ?? path;
}
