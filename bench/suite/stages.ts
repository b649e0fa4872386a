import { liveStage } from "./live.ts";
import { parseSuiteOptions, SUITE_HELP } from "./options.ts";
import { replayStage } from "./replay.ts";
import { traceStage } from "./trace.ts";

const STAGES = { trace: traceStage, replay: replayStage, live: liveStage };

/** @param argv what follows --suite */
export async function runSuite(argv: readonly string[]): Promise<void> {
  const options = parseSuiteOptions(argv);
  if (options === null) console.log(SUITE_HELP);
  else await STAGES[options.stage](options);
}
