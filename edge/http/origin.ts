import { StepError } from "../../shared/errors.ts";
import type { Config } from "../config.ts";

/** Whether the configuration lets pages of this origin call; the server's own always may. */
export function allowsOrigin({ corsOrigins }: Config, origin: string): boolean {
  return corsOrigins.includes("*") || corsOrigins.includes(origin);
}

/**
 * Turns web pages away that have no business here. CORS alone would only keep the answer from them: the work would be
 * done. A page whose own name was made to point at this server has its origin right, but not the name.
 * Throws StepError "forbidden".
 */
export function checkOrigin(request: Request, config: Config): void {
  const url = new URL(request.url);
  if (config.allowedHosts !== null && !answersTo(url.hostname, config.allowedHosts)) {
    throw new StepError("forbidden", `This server does not answer to '${url.hostname}'; ALLOWED_HOSTS can name it.`);
  }
  const origin = request.headers.get("origin");
  if (origin === null || allowsOrigin(config, origin)) return;
  // Behind a proxy that ends TLS the schemes differ.
  if (URL.parse(origin)?.host !== url.host) {
    throw new StepError("forbidden", `Pages of '${origin}' may not call this server; CORS_ORIGINS can allow them.`);
  }
}

/** Addresses and `localhost` are nobody's to point elsewhere. */
function answersTo(hostname: string, allowed: readonly string[]): boolean {
  const isAddress = hostname.startsWith("[") || /^\d+(\.\d+){3}$/.test(hostname);
  return isAddress || hostname === "localhost" || hostname.endsWith(".localhost") || allowed.includes(hostname);
}
