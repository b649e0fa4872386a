import { parseArgs } from "node:util";
import { ensureBundle } from "./bundle.ts";
import type { Precision } from "./compile/matrix.ts";
import { progressBar } from "./progress.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { precision: { type: "string" }, force: { type: "boolean", default: false } },
});
const name = positionals[0] ?? "smollm2-135m";
const bar = progressBar();
const stopping = new AbortController();
process.once("SIGINT", () => stopping.abort());
try {
  const precision = values.precision ? { precision: values.precision as Precision } : {};
  const dir = await ensureBundle(name, {
    ...precision,
    force: values.force,
    onProgress: bar.update,
    signal: stopping.signal,
  });
  bar.stop();
  console.log(dir);
} catch (error) {
  bar.stop();
  console.error(stopping.signal.aborted ? "stopped" : (error as Error).message);
  process.exitCode = 1;
}
