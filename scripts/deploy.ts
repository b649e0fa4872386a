import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { unstable_readConfig } from "wrangler";
import { ensureBundle } from "../models/bundle.ts";
import { assembleAssets } from "./assets.ts";
import { ASSETS, CONFIG, QUIET, ROOT } from "./paths.ts";

const HELP = `npm run deploy -- [options of wrangler deploy]
Compiles the bundles that DEFAULT_MODEL in wrangler.toml names, lays out the demo page and what the edge reads of
them as static assets, and runs wrangler deploy. The gpu-worker is deployed apart: docs/deploy.md. A GPU_WORKER_URL on
this machine itself is refused: what is deployed cannot reach it.
  --dry-run       build, deploy nothing
  --env NAME      an environment of wrangler.toml
All others go to wrangler as they are: npx wrangler deploy --help`;

Object.assign(process.env, QUIET);
const args = process.argv.slice(2);
if (args.includes("--help")) console.log(HELP);
else {
  try {
    process.exitCode = await deploy();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}

/** wrangler's exit code. */
async function deploy(): Promise<number> {
  const { DEFAULT_MODEL, GPU_WORKER_URL } = variables();
  if (!args.includes("--dry-run")) refuseLoopback(String(GPU_WORKER_URL ?? ""));
  const names = String(DEFAULT_MODEL)
    .split(",")
    .map((name) => name.trim());
  const bundles = new Map<string, string>();
  for (const name of names) bundles.set(name, await ensureBundle(name));
  await assembleAssets(ASSETS, bundles, "remove");
  const wrangler = join(ROOT, "node_modules", "wrangler", "bin", "wrangler.js");
  const { status } = spawnSync(process.execPath, [wrangler, "deploy", "--config", CONFIG, ...args], {
    cwd: ROOT,
    stdio: "inherit",
  });
  return status ?? 1;
}

/** The Worker's variables: those of the configuration's environment, and those given with --var. */
function variables(): Record<string, unknown> {
  const known = { env: { type: "string", short: "e" }, var: { type: "string", multiple: true } } as const;
  const { values } = parseArgs({ args, options: known, strict: false });
  const env = typeof values.env === "string" ? { env: values.env } : {};
  const given = (values.var ?? []).flatMap((one) => {
    const [, name, value] = /^([^:]+):(.*)$/s.exec(String(one)) ?? [];
    return name === undefined ? [] : [[name, value] as const];
  });
  return { ...unstable_readConfig({ config: CONFIG, ...env }).vars, ...Object.fromEntries(given) };
}

/** Throws where one of the addresses is of this machine only. */
function refuseLoopback(urls: string): void {
  for (const url of urls.split(",").map((one) => one.trim())) {
    const host = URL.parse(url)?.hostname ?? "";
    if (!/^(localhost|.*\.localhost|127\..*|0\.0\.0\.0|\[::1?\])$/.test(host)) continue;
    throw new Error(
      `GPU_WORKER_URL is ${url}, which only this machine reaches: set it in wrangler.toml, or give ` +
        "--var GPU_WORKER_URL:https://... (empty where gpu-workers register; docs/deploy.md)",
    );
  }
}
