import { progressBar } from "../models/progress.ts";
import { adapt } from "./adapt.ts";
import { ADAPT_HELP, parseAdaptOptions } from "./options.ts";

const bar = progressBar();
const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort());
try {
  await main();
} catch (error) {
  bar.stop();
  console.error(stopping.signal.aborted ? "stopped; the same command goes on" : (error as Error).message);
  process.exitCode = stopping.signal.aborted ? 130 : 1;
}
// A trainer or engine that is being stopped would hold the process.
process.exit();

async function main(): Promise<void> {
  const options = parseAdaptOptions(process.argv.slice(2));
  if (options === null) return console.log(ADAPT_HELP);
  const say = (line: string) => {
    bar.stop();
    console.error(line);
  };
  const archive = await adapt(options, { onProgress: bar.update, say, signal: stopping.signal });
  bar.stop();
  console.log(`${options.out} and ${archive}: npm start -- --model ${options.out}`);
}
