import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Marked } from "marked";
import { ROOT } from "./paths.ts";

const DOCS = join(ROOT, "docs");

/** The pages of the guide in the order they are best read. */
const ORDER = ["api", "errors", "deploy", "architecture", "algorithm", "protocol", "engine", "measured", "glossary"];

/**
 * docs/*.md as pages beside the demo: path among the assets -> HTML. Links between them work, those to other files of
 * the repository become plain text.
 */
export async function guidePages(): Promise<ReadonlyMap<string, string>> {
  const names = (await readdir(DOCS)).filter((name) => name.endsWith(".md")).map((name) => name.slice(0, -3));
  const ordered = [...ORDER.filter((name) => names.includes(name)), ...names.filter((name) => !ORDER.includes(name))];
  const texts = await Promise.all(ordered.map((name) => readFile(join(DOCS, `${name}.md`), "utf8")));
  const titles = texts.map((text) => /^# (.*)$/m.exec(text)?.[1] ?? "Guide");
  const links = ordered.map((name, i) => ({ name, title: titles[i]! }));
  return new Map(
    ordered.map((name, i) => [join("docs", `${name}.html`), page(name, titles[i]!, render(texts[i]!), links)]),
  );
}

/** GitHub's anchor of a heading. */
export function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} -]/gu, "")
    .replaceAll(" ", "-");
}

function render(text: string): string {
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, text: source }) {
        return `<h${depth} id="${anchor(source)}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
      },
      link({ href, tokens }) {
        const inner = this.parser.parseInline(tokens);
        if (href.startsWith("../")) return inner;
        return `<a href="${href.replace(/^(\w+)\.md(?=#|$)/, "$1")}">${inner}</a>`;
      },
      // Wide ones scroll by themselves, by keyboard too.
      table({ header, rows }) {
        const cell = ({ text: label, tokens }: (typeof header)[number], tag: string) => {
          const name = label === "" ? "td" : tag;
          return `<${name}>${this.parser.parseInline(tokens)}</${name}>`;
        };
        const row = (cells: typeof header, tag: string) => `<tr>${cells.map((one) => cell(one, tag)).join("")}</tr>`;
        const head = header.some(({ text: label }) => label !== "") ? `<thead>${row(header, "th")}</thead>` : "";
        const body = `<tbody>${rows.map((cells) => row(cells, "td")).join("")}</tbody>`;
        return `<div class="wide" tabindex="0"><table>${head}${body}</table></div>\n`;
      },
      code({ text: code }) {
        return `<pre tabindex="0"><code>${code.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</code></pre>\n`;
      },
    },
  });
  return marked.parse(text, { async: false });
}

function page(name: string, title: string, content: string, links: readonly { name: string; title: string }[]): string {
  const entries = links.map((link) => {
    const current = link.name === name ? ` aria-current="page"` : "";
    return `<li><a href="${link.name}"${current}>${link.title}</a></li>`;
  });
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <title>${title} · foredraft</title>
    <link rel="icon" href="../favicon.svg" type="image/svg+xml" />
    <link rel="stylesheet" href="../styles/base.css" />
    <link rel="stylesheet" href="../styles/reading.css" />
  </head>
  <body>
    <header class="masthead">
      <p class="brand"><a href="../">foredraft</a></p>
      <nav aria-label="Reference"><a href="../">Demo</a> <a href="../reference">API reference</a> <a href="../report">Evaluation</a></nav>
    </header>
    <div class="reading">
      <nav class="contents" aria-label="Guide"><ul>${entries.join("")}</ul></nav>
      <main>${content}</main>
    </div>
  </body>
</html>
`;
}
