import { defineConfig } from "vitest/config";
import { QUIET } from "./scripts/paths.ts";

Object.assign(process.env, QUIET);

const counts = process.env.FOREDRAFT_TEST_COUNTS;

export default defineConfig({
  test: {
    // Two at a time: the files with a model or a workerd in them each keep a core busy.
    maxWorkers: 2,
    pool: "forks",
    testTimeout: 30_000,
    hookTimeout: 120_000,
    teardownTimeout: 10_000,
    reporters: ["default", ...(counts === undefined ? [] : ["./scripts/test-counts.ts"])],
    projects: [
      { extends: true, test: { name: "unit", include: ["test/**/*.test.ts"], exclude: ["test/e2e/**"] } },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          globalSetup: ["test/e2e/setup.ts"],
          testTimeout: 60_000,
        },
      },
    ],
  },
});
