import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "../../scripts/paths.ts";
import { type Service, startService } from "./service.ts";

/**
 * Clients of PyPI, where a Python has them: `pip install -r test/clients/requirements.txt`, then `npm test` with that
 * Python as `python3` or in PYTHON. Nothing else needs Python.
 */

const CLIENTS = join(ROOT, "test", "clients");
const python = process.env.PYTHON || "python3";
const has = (...modules: readonly string[]) => spawnSync(python, ["-c", `import ${modules.join()}`]).status === 0;
const run = promisify(execFile);
const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", SCHEMATHESIS_HOOKS: "explained", NO_COLOR: "1" };

let service: Service;
beforeAll(async () => {
  service = await startService({ engine: "tiny" });
});
afterAll(() => service?.close());

describe.skipIf(!has("openai", "litellm", "langchain_openai"))("in Python", () => {
  test("openai, litellm and langchain-openai", { timeout: 600_000 }, async () => {
    const { stderr } = await run(python, [join(CLIENTS, "conformance.py"), service.url], { env });
    expect(stderr).toMatch(/^OK/m);
  });
});

describe.skipIf(!has("schemathesis"))("schemathesis", () => {
  test("finds the OpenAPI document true", { timeout: 600_000 }, async () => {
    // What a schema cannot say is listed in explained.py, whose check stands in for the general one.
    const options = ["--max-examples=5", "--phases=coverage,fuzzing", "--seed=1", "--no-shrink", "--no-color"];
    const without = ["--exclude-path-regex=fleet", "--exclude-checks=positive_data_acceptance"];
    const args = ["run", `${service.url}/openapi.json`, ...options, ...without, "--generation-database=none"];
    const program = ["-c", "from schemathesis.cli import schemathesis; schemathesis()", ...args];
    const { stdout } = await run(python, program, { env, cwd: CLIENTS, maxBuffer: 1 << 26 }).catch((error) => error);
    expect(stdout).toMatch(/^ *(\d+) generated, \1 passed$/m);
  });
});
