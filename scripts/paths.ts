import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

export const CONFIG = join(ROOT, "wrangler.toml");

/** What wrangler.toml serves as static assets. */
export const ASSETS = join(ROOT, "dist", "assets");

/** The same as .env, for processes that do not read it: no look-ups outside, no telemetry, no tracing. */
export const QUIET = {
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV: "false",
  WRANGLER_HIDE_BANNER: "true",
  WRANGLER_SEND_METRICS: "false",
  X_LOCAL_OBSERVABILITY: "false",
} as const;
