import { parseArgs } from "node:util";
import { PRECISIONS, type Precision } from "../shared/manifest.ts";
import { ensureBundle } from "./bundle.ts";
import { sealPackage } from "./package.ts";
import { progressBar } from "./progress.ts";

const DEFAULT_BUNDLE = "smollm2-135m";

const HELP = `npm run bundle -- [NAME] [options]
Compiles the bundle NAME (${DEFAULT_BUNDLE}), fetching its weights where they are not at hand, and prints its directory. NAME may
also be a GGUF file, a package (directory or .tar.gz), or hf:OWNER/REPO/FILE of either. One that is there already is checked, every file of it, and made again if it is damaged.
  --precision P   another layout of the weights than the bundle's own: ${PRECISIONS.join(" or ")}
  --heads FILE    draft heads for a GGUF file: Medusa's, as safetensors
  --force         make it again in any case
  --seal          NAME is a package's directory that was changed: hashes its files anew and prints its archive, made beside it`;

const bar = progressBar();
const stopping = new AbortController();
process.once("SIGINT", () => stopping.abort());
try {
  await main();
} catch (error) {
  bar.stop();
  console.error(stopping.signal.aborted ? "stopped" : (error as Error).message);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      precision: { type: "string" },
      heads: { type: "string" },
      force: { type: "boolean", default: false },
      seal: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const [name = DEFAULT_BUNDLE, ...more] = positionals;
  if (more.length > 0) throw new Error(`one bundle at a time, not also "${more[0]}" (--help)`);
  if (values.seal) return console.log(await sealPackage(name));
  const dir = await ensureBundle(name, {
    ...(values.precision === undefined ? {} : { precision: values.precision as Precision }),
    heads: values.heads,
    force: values.force,
    thorough: true,
    onProgress: bar.update,
    onNotice: (line) => {
      bar.stop();
      console.error(line);
    },
    signal: stopping.signal,
  });
  bar.stop();
  console.log(dir);
}
