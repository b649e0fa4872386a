import { parseArgs } from "node:util";
import { evaluationDir } from "../data/files.ts";
import { makeSet, PICKED } from "../data/make.ts";
import { SOURCES } from "../data/sources.ts";

const BASE = "https://raw.githubusercontent.com";

const NAMES = SOURCES.map(({ name }) => name);

const HELP = `npm run data -- [NAME ...] [options]
Makes evaluation sets from their public sources, each checked by its SHA-256: ${NAMES.join(", ")}; all of them unless
named. What was fetched before is not fetched again. Texts keep their own licences, which are printed.
  --dir DIR     where to (${evaluationDir()})
  --base URL    another server that has the repositories' files as ${BASE} does`;

const stopping = new AbortController();
process.once("SIGINT", () => stopping.abort());
try {
  await main();
} catch (error) {
  console.error(stopping.signal.aborted ? "stopped" : (error as Error).message);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dir: { type: "string", default: evaluationDir() },
      base: { type: "string", default: BASE },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(HELP);
  const unknown = positionals.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new Error(`there is no set "${unknown}": ${NAMES.join(", ")} (--help)`);
  for (const source of SOURCES) {
    if (positionals.length > 0 && !positionals.includes(source.name)) continue;
    const options = { dir: values.dir, base: values.base.replace(/\/$/, ""), signal: stopping.signal };
    const file = await makeSet(source, PICKED[source.name]!, options);
    console.log(`${file}   ${source.repository}, ${source.licence}`);
  }
}
