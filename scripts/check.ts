import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT } from "./paths.ts";

/** Types under each runtime's own settings, then lint and layout; every check runs, whatever failed before. */
const CHECKS: readonly (readonly [title: string, program: string, ...args: string[]])[] = [
  ["types: shared (no runtime)", "typescript/bin/tsc", "-p", "shared"],
  ["types: edge (workerd)", "typescript/bin/tsc", "-p", "edge"],
  ["types: everything else (Node)", "typescript/bin/tsc", "-p", "."],
  ["types: the demo page and its test (browser)", "typescript/bin/tsc", "-p", "test/demo"],
  ["unused files, exports and dependencies", "knip/bin/knip.js", "--no-progress"],
  ["lint, layout and imports", "@biomejs/biome/bin/biome", "ci", "--error-on-warnings", "--colors=off", "."],
];

const HELP = `npm run check
Types, lint and layout of everything; takes no options and changes nothing.
${CHECKS.map(([title]) => `  ${title}`).join("\n")}`;

try {
  main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}

function main(): void {
  const { values } = parseArgs({ options: { help: { type: "boolean", default: false } } });
  if (values.help) return console.log(HELP);
  let failed = 0;
  for (const [title, program, ...args] of CHECKS) {
    const path = join(ROOT, "node_modules", program);
    const { status } = spawnSync(process.execPath, [path, ...args], { cwd: ROOT, stdio: "inherit" });
    console.log(`${status === 0 ? "ok    " : "FAILED"} ${title}`);
    if (status !== 0) failed++;
  }
  process.exitCode = failed > 0 ? 1 : 0;
}
