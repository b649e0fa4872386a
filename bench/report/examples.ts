import type { Example, ExampleStep, StoredReplay } from "../suite/stored.ts";
import { methodTitle } from "./format.ts";
import { type Html, html } from "./html.ts";
import { type Section, sourceLine } from "./runs.ts";

/** Drafts as text, what was accepted and what not. */
export function examplesSection(replay: StoredReplay): Section {
  return {
    id: "examples",
    title: "Drafts, step by step",
    figures: [],
    body: html`<p>The beginning of some answers. In each step <span class="accepted">accepted tokens</span>, the
<span class="bonus">model's own token</span> after them, and what was <span class="rejected">rejected</span> of the best path;
the text is the accepted and the model's own tokens in order, the same for every method.</p>
${replay.examples.map(exampleHtml)}${sourceLine(replay.run, [{ prompts: replay.examples.length }])}`,
  };
}

function exampleHtml({ id, category, methods }: Example): Html {
  const lists = Object.entries(methods).map(
    ([name, steps]) => html`<h4>${methodTitle(name)}: ${steps.length} steps</h4>
<ol class="drafts">${steps.map(stepHtml)}</ol>`,
  );
  return html`<h3>${category} (<code>${id}</code>)</h3>${lists}`;
}

function stepHtml({ accepted, rejected, bonus }: ExampleStep): Html {
  const spans = [
    ...(accepted.length > 0 ? [span("accepted", accepted.join(""))] : []),
    span("bonus", bonus),
    ...(rejected.length > 0 ? [span("rejected", rejected.join(""))] : []),
  ];
  return html`<li>${spans}</li>\n`;
}

/** A line break is shown as a sign: within a draft it would tear the step apart. */
function span(kind: string, text: string): Html {
  return html`<span class="${kind}">${text.replaceAll("\n", "⏎")}</span>`;
}
