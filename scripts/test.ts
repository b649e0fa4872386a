import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createCLI } from "vitest/node";
import { ROOT } from "./paths.ts";

const HELP = `npm test -- [FILTER...] [options of vitest run]
All tests, or those of the files whose path has a FILTER in it; needs no model and no network.
  -t PATTERN      only tests whose name matches
  --coverage ...  all others as vitest has them: https://vitest.dev/guide/cli`;

/** Told apart by scripts/run.mjs from a test run that failed. */
const USAGE = 2;

const args = process.argv.slice(2);
if (args.includes("--help")) console.log(HELP);
else if (understood()) {
  process.argv.splice(2, Number.POSITIVE_INFINITY, "run", ...args);
  await import(pathToFileURL(join(ROOT, "node_modules", "vitest", "vitest.mjs")).href);
} else process.exitCode = USAGE;

/** vitest's own answer to an option that it does not know is a stack trace. */
function understood(): boolean {
  try {
    const cli = createCLI();
    cli.parse(["node", "vitest", "run", ...args], { run: false });
    cli.matchedCommand?.checkUnknownOptions();
    cli.matchedCommand?.checkOptionValue();
    return true;
  } catch (error) {
    console.error(`npm test: ${(error as Error).message} (--help explains)`);
    return false;
  }
}
