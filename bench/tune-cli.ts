import { runTune, TUNE_HELP } from "./tune.ts";

try {
  if ((await runTune(process.argv.slice(2))) === null) console.log(TUNE_HELP);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
