import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { openApiDocument } from "../../edge/openai/openapi.ts";
import { parseChat, parseCompletion } from "../../edge/openai/params.ts";
import { IGNORED_FIELDS, REFUSED_FIELDS } from "../../edge/openai/refuse.ts";
import { parseResponse, RESPONSE_IGNORED, RESPONSE_REFUSED, responseBody } from "../../edge/openai/response-params.ts";
import { chatBody, completionBody } from "../../edge/openai/schema.ts";
import { anchor } from "../../scripts/guide.ts";
import { ROOT } from "../../scripts/paths.ts";
import { LIMITS } from "../../shared/limits.ts";
import { RESCORER_TYPES, rescorerModule } from "../../shared/rescore/index.ts";
import { type ParamName, wireName } from "../../shared/rescore/params.ts";

const PAGES = [
  ...["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"],
  ...["bench/README.md", "models/README.md", "train/README.md"],
  ...readdirSync(join(ROOT, "docs")).flatMap((f) => (f.endsWith(".md") ? [`docs/${f}`] : [])),
];
const pages = PAGES.map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));

const { topK, latticeHeads, draftNodes } = LIMITS;
const PROTOCOL_BOUNDS = [
  `committed tokens of a session, prompt included | ${LIMITS.contextTokens}`,
  `credit of a run, tokens | ${LIMITS.runCredit} |`,
  `drafted nodes per step | ${draftNodes} |`,
  `lattice rows (heads 2..H) | ${latticeHeads} |`,
  `candidates per head | ${topK} |`,
  `alternatives per token | ${LIMITS.topLogProbs} |`,
  `one frame | ${LIMITS.frameBytes >> 10} KiB |`,
];
const API_BOUNDS = [
  `body | ${LIMITS.bodyBytes >> 20} MiB, with ${LIMITS.bodyFields} fields in all its objects together, ${LIMITS.bodyLists} objects and lists, ` +
    `${LIMITS.bodyValues} values, ${LIMITS.bodyDepth} deep |`,
  `fields of the body itself, or of a message | ${LIMITS.objectFields} |`,
  `messages | ${LIMITS.chatMessages}, with ${LIMITS.contentParts} text parts`,
  `prompt and completion | the model's context, at most ${LIMITS.contextTokens} tokens |`,
  `choices | ${LIMITS.choices}, of all prompts together, ${LIMITS.choicesAtOnce} of them`,
  `biased tokens | ${LIMITS.biases} |`,
  `stop strings | ${LIMITS.stopStrings}, of ${LIMITS.stopLength} characters each |`,
  `tools | ${LIMITS.tools} |`,
  `calls of tools | ${LIMITS.tools} in one message, ${LIMITS.contentParts} in all of them together |`,
  `metadata | ${LIMITS.metadata} pairs |`,
  `grammar | ${LIMITS.grammarBytes >> 10} KiB; \`guided.choice\`: ${LIMITS.guidedChoices} texts |`,
  `alternatives per token | ${LIMITS.topLogProbs} |`,
  `uploaded packs | ${LIMITS.tenantPacks} of a key, of ${LIMITS.tenantPackBytes >> 20} MiB each |`,
  `\`top_k\` | 1..${topK} |`,
  `\`max_nodes\` | 0..${draftNodes} |`,
  `\`rescorer.order\` | 2..${LIMITS.ngramOrder}, `,
  `\`rescorer.p_best\` | 1..${LIMITS.pBest} |`,
];

const namesIn = (text: string): string[] => [...text.matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name!);

/** Of the environment or of the Worker's variables and secrets, by the programs and what starts them. */
function variablesRead(): string[] {
  const checked = ["gpu-worker/config.ts", "edge/config.ts"].flatMap((path) => [
    ...readFileSync(join(ROOT, path), "utf8").matchAll(/^ {2}([A-Z_]+): (?:z\b|integer|hashes|webAddress)/gm),
  ]);
  const read = ["scripts", "models", "gpu-worker", "edge", "shared"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => /\.(ts|mjs)$/.test(file))
      .flatMap((file) => [...readFileSync(join(ROOT, folder, file), "utf8").matchAll(/process\.env\.([A-Z_]+)\b/g)]),
  );
  // The shell's, and what scripts/run.mjs tells the reporter of tests.
  const internal = new Set(["PATH", "HOME", "FOREDRAFT_TEST_COUNTS"]);
  const names = new Set([...checked, ...read].map(([, name]) => name!));
  return [...names].filter((name) => !internal.has(name)).sort();
}

/** The tables of docs/api.md that say of each route's fields what becomes of them. */
function fieldTables() {
  const { text } = pages.find(({ path }) => path === "docs/api.md")!;
  const [chat = "", rest = ""] = text.slice(text.indexOf("## Every field")).split("\n\nCompletions, where they differ");
  const [completions = "", responses = ""] = rest.split("\nResponses:\n");
  return { chat, completions, responses };
}

describe("the documentation", () => {
  test("links only to files and headings that exist", () => {
    const broken = pages.flatMap(({ path, text }) =>
      [...text.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = ""]) => {
        if (/^https?:/.test(link)) return [];
        const [file = "", heading] = link.split("#");
        const target = file === "" ? path : join(dirname(path), file);
        if (!existsSync(join(ROOT, target))) return [`${path}: ${link}`];
        if (heading === undefined) return [];
        const headings = readFileSync(join(ROOT, target), "utf8").matchAll(/^#+ (.*)$/gm);
        return [...headings].some(([, title = ""]) => anchor(title) === heading) ? [] : [`${path}: ${link}`];
      }),
    );
    expect(broken).toEqual([]);
  });

  test("names only source files that exist", () => {
    const missing = pages.flatMap(({ path, text }) =>
      [...text.matchAll(/`((?:edge|gpu-worker|shared|models|train|bench|scripts|test)\/[\w./-]*)`/g)].flatMap(
        ([, file = ""]) => (existsSync(join(ROOT, file)) || /\bNAME\b/.test(file) ? [] : [`${path}: ${file}`]),
      ),
    );
    expect(missing).toEqual([]);
  });

  test("shows request bodies that the API takes", () => {
    const bodies = pages.flatMap(({ path, text }) =>
      [...text.matchAll(/curl[^\n]*\/v1\/(chat\/completions|completions|responses)[^\n]*-d '\n([\s\S]*?)'\n/g)].map(
        ([, route = "", body = ""]) => ({ path, route, body }),
      ),
    );
    expect(bodies.length).toBeGreaterThanOrEqual(9);
    for (const { path, route, body } of bodies) {
      const parse = { completions: parseCompletion, responses: parseResponse }[route] ?? parseChat;
      expect(() => parse(JSON.parse(body)), `${path}: ${body}`).not.toThrow();
    }
  });

  test("says of every field what becomes of it", () => {
    const { chat, completions, responses } = fieldTables();
    const missing = (table: string, names: readonly string[]) => names.filter((name) => !table.includes(`\`${name}\``));
    const both = chat + completions;
    expect(missing(chat, Object.keys(chatBody.shape))).toEqual([]);
    expect(missing(both, [...Object.keys(completionBody.shape), ...REFUSED_FIELDS, ...IGNORED_FIELDS])).toEqual([]);
    const ofResponses = [...Object.keys(responseBody.shape), ...RESPONSE_REFUSED, ...RESPONSE_IGNORED];
    expect(missing(responses + chat, ofResponses)).toEqual([]);
  });

  test.each([
    {
      file: "chat/completions/completions",
      type: "ChatCompletionCreateParamsBase",
      told: () => fieldTables().chat,
      parse: parseChat,
      minimal: { messages: [{ role: "user", content: "hi" }] },
    },
    {
      file: "completions",
      type: "CompletionCreateParamsBase",
      told: () => fieldTables().chat + fieldTables().completions,
      parse: parseCompletion,
      minimal: { prompt: "hi" },
    },
    {
      file: "responses/responses",
      type: "ResponseCreateParamsBase",
      told: () => fieldTables().responses,
      parse: parseResponse,
      minimal: { input: "hi" },
    },
  ])(
    "says of every field that OpenAI's own client knows what becomes of it: $file",
    ({ file, type, told, parse, minimal }) => {
      const types = readFileSync(join(ROOT, "node_modules", "openai", "resources", `${file}.d.ts`), "utf8");
      const [, body = ""] = new RegExp(`^export interface ${type} \\{\\n(.*?)^\\}`, "ms").exec(types) ?? [];
      const fields = [...body.matchAll(/^ {4}(\w+)\??: /gm)].map(([, name = ""]) => name);
      expect(fields.length).toBeGreaterThan(15);
      const table = told();
      expect(fields.filter((name) => !table.includes(`\`${name}\``))).toEqual([]);
      // Null asks for nothing; a field that is not known is an error even so.
      const nulls = Object.fromEntries(fields.map((name) => [name, null]));
      expect(() => parse({ ...nulls, ...minimal })).not.toThrow();
    },
  );

  test("of the README shows fields that the API takes", () => {
    const readme = pages.find(({ path }) => path === "README.md")!.text;
    const rows = [...readme.matchAll(/^\|[^|]*\| `("[^`]*)` \|/gm)];
    expect(rows.length).toBeGreaterThanOrEqual(6);
    const messages = [{ role: "user", content: "hi" }];
    for (const [, fields = ""] of rows) {
      expect(() => parseChat({ messages, ...JSON.parse(`{${fields}}`) }), fields).not.toThrow();
    }
  });

  test("of deploying lists every variable that is read, and no other", () => {
    const { text } = pages.find(({ path }) => path === "docs/deploy.md")!;
    const listed = [...text.matchAll(/^\| ((?:`[A-Z_]+`(?:, )?)+) \|/gm)].flatMap(([, names = ""]) => namesIn(names));
    // In a command rather than in a table.
    const shown = [...text.matchAll(/secret put ([A-Z_]+)/g)].map(([, name]) => name!);
    expect([...new Set([...listed, ...shown])].sort()).toEqual(variablesRead());
  });

  test("begins its changelog, but for what is not released, with the version that is served and packaged", () => {
    const [, version] = /^## (?!Unreleased$)(\S+)/m.exec(pages.find(({ path }) => path === "CHANGELOG.md")!.text)!;
    const packaged = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    expect([version, openApiDocument().info.version]).toEqual([packaged.version, packaged.version]);
  });

  test("gives the bounds that hold", () => {
    const bounds = { "docs/protocol.md": PROTOCOL_BOUNDS, "docs/api.md": API_BOUNDS };
    for (const [path, rows] of Object.entries(bounds)) {
      const { text } = pages.find((page) => page.path === path)!;
      for (const row of rows) expect(text, path).toContain(`\n| ${row}`);
    }
  });

  test("describes every rescorer and its settings", () => {
    const api = pages.find(({ path }) => path === "docs/api.md")!.text;
    for (const type of RESCORER_TYPES) {
      const { summary, usesPack, paramsSchema } = rescorerModule(type);
      const settings = Object.keys(paramsSchema.shape).map((name) => wireName(name as ParamName));
      const names = [...(usesPack ? ["model"] : []), ...settings].map((name) => `\`${name}\``);
      expect(api).toContain(`| \`${type}\` | ${summary} | ${names.join(", ")}${names.length > 0 ? " " : ""}|`);
    }
  });
});
