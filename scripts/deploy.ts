import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { unstable_readConfig } from "wrangler";
import { ensureBundle } from "../models/bundle.ts";
import { assembleAssets } from "./assets.ts";
import { ASSETS, CONFIG, QUIET, ROOT } from "./paths.ts";

/**
 * `wrangler deploy` with the assets it needs: the demo page and the files of every bundle that
 * DEFAULT_MODEL in wrangler.toml names. Arguments go to wrangler; `--dry-run` deploys nothing.
 */
Object.assign(process.env, QUIET);
const { DEFAULT_MODEL } = unstable_readConfig({ config: CONFIG }).vars;
const names = String(DEFAULT_MODEL)
  .split(",")
  .map((name) => name.trim());
const bundles = new Map<string, string>();
for (const name of names) bundles.set(name, await ensureBundle(name));
await assembleAssets(ASSETS, bundles, "remove");

const wrangler = join(ROOT, "node_modules", "wrangler", "bin", "wrangler.js");
const { status } = spawnSync(process.execPath, [wrangler, "deploy", "--config", CONFIG, ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: "inherit",
});
process.exitCode = status ?? 1;
