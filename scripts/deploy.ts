import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { unstable_readConfig } from "wrangler";
import { ensureBundle } from "../models/bundle.ts";
import { assembleAssets } from "./assets.ts";
import { ASSETS, CONFIG, QUIET, ROOT } from "./paths.ts";

const HELP = `npm run deploy -- [options of wrangler deploy]
Compiles the bundles that DEFAULT_MODEL in wrangler.toml names, lays out the demo page and what the edge reads of
them as static assets, and runs wrangler deploy. The gpu-worker is deployed apart: docs/deploy.md
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
  const { DEFAULT_MODEL } = unstable_readConfig({ config: CONFIG }).vars;
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
