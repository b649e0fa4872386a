import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseChat, parseCompletion } from "../../edge/openai/params.ts";
import { IGNORED_FIELDS, REFUSED_FIELDS } from "../../edge/openai/refuse.ts";
import { parseResponse, RESPONSE_IGNORED, RESPONSE_REFUSED, responseBody } from "../../edge/openai/response-params.ts";
import { chatBody, completionBody } from "../../edge/openai/schema.ts";
import { anchor } from "../../scripts/guide.ts";
import { ROOT } from "../../scripts/paths.ts";
import { RESCORER_TYPES, rescorerModule } from "../../shared/rescore/index.ts";
import { type ParamName, wireName } from "../../shared/rescore/params.ts";

const PAGES = [
  "README.md",
  ...readdirSync(join(ROOT, "docs")).flatMap((f) => (f.endsWith(".md") ? [`docs/${f}`] : [])),
];
const pages = PAGES.map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));

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
        ([, file = ""]) => (existsSync(join(ROOT, file)) ? [] : [`${path}: ${file}`]),
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
    const { text } = pages.find(({ path }) => path === "docs/api.md")!;
    const tables = text.slice(text.indexOf("## Every field")).split("\n\nCompletions, where they differ");
    const [chat = "", rest = ""] = tables;
    const [completions = "", responses = ""] = rest.split("\nResponses:\n");
    const missing = (table: string, names: readonly string[]) => names.filter((name) => !table.includes(`\`${name}\``));
    const both = chat + completions;
    expect(missing(chat, Object.keys(chatBody.shape))).toEqual([]);
    expect(missing(both, [...Object.keys(completionBody.shape), ...REFUSED_FIELDS, ...IGNORED_FIELDS])).toEqual([]);
    const ofResponses = [...Object.keys(responseBody.shape), ...RESPONSE_REFUSED, ...RESPONSE_IGNORED];
    expect(missing(responses + chat, ofResponses)).toEqual([]);
  });

  test("of the README shows fields that the API takes", () => {
    const readme = pages.find(({ path }) => path === "README.md")!.text;
    const rows = [...readme.matchAll(/^\|[^|]*\| `("[^`]*)` \|/gm)];
    expect(rows.length).toBeGreaterThanOrEqual(6);
    const messages = [{ role: "user", content: "hi" }];
    for (const [, fields = ""] of rows) {
      expect(() => parseChat({ messages, ...JSON.parse(`{${fields}}`) }), fields).not.toThrow();
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
