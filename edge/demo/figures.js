/** @import { Receipt } from "./api.js" */
/** @import { Recording } from "./stats.js" */
/** @import { Term } from "./terms.js" */
import { find, make } from "./dom.js";
import { fixed, groupPositions } from "./stats.js";
import { helpFor } from "./terms.js";

/** Where tokens came from, as readers call it; a source that is not listed goes by its own name. */
const SOURCES = {
  heads: "heads’ first choice",
  reranked: "heads’ lower choices",
  prompt: "copied",
  recycled: "recycled",
  grammar: "forced by the form",
  bonus: "the model’s own",
};

/** The figures beside the answer, kept up to date while it arrives. */
export class Figures {
  #list = find("#figures", HTMLElement);
  #receipt = find("#receipt", HTMLElement);
  #positions = find("#positions", HTMLElement);
  #positionsText = find("#positions-text", HTMLElement);

  constructor() {
    this.show(null);
  }

  /** @param {Recording | null} run */
  show(run) {
    this.#list.replaceChildren(...rowsOf(run).map((row) => figure(...row)));
    const receipt = run?.metrics?.receipt ?? null;
    this.#receipt.hidden = receipt === null;
    this.#receipt.replaceChildren(...(receipt === null ? [] : receiptParts(receipt)));
    if (run !== null) this.#showPositions(run);
  }

  /** @param {Recording} run */
  #showPositions({ positions }) {
    const groups = groupPositions(positions).map(({ from, to, drafted, accepted }) => ({
      name: from === to ? String(from) : `${from}–${to}`,
      share: drafted === 0 ? 0 : accepted / drafted,
      title: `${accepted} of ${drafted} accepted`,
    }));
    this.#positions.replaceChildren(
      ...groups.map(({ name, share, title }) => {
        const fill = make("span", "fill");
        fill.style.height = `${Math.round(share * 100)}%`;
        const bar = make(
          "span",
          name.includes("–") ? "bar group" : "bar",
          make("span", "track", fill),
          make("span", "at", name),
        );
        bar.title = `Position ${name}: ${title}`;
        return bar;
      }),
    );
    const shares = groups.map(({ name, share }) => `${name}: ${Math.round(share * 100)} %`);
    this.#positionsText.textContent = shares.length === 0 ? "This answer had no drafts." : shares.join(", ");
    this.#positionsText.className = shares.length === 0 ? "hint" : "visually-hidden";
  }
}

/**
 * @param {Recording | null} run
 * @returns {[Term, string, string, string][]}
 */
function rowsOf(run) {
  const { chosen = null, round_trip_ms = null } = run?.metrics?.placement ?? {};
  const cached = run?.usage?.prompt_tokens_details.cached_tokens;
  return [
    ["block efficiency", "Block efficiency", fixed(run?.blockEfficiency ?? null), "tokens per model call"],
    ["speed", "Speed", fixed(run?.tokensPerSecond ?? null, 1), "tokens/s"],
    [
      "accepted",
      "Accepted",
      run === null ? "–" : String(run.accepted),
      run === null ? "of those drafted" : `of ${run.drafted} drafted`,
    ],
    [
      "drafted",
      "Drafted",
      chosen ?? "–",
      round_trip_ms === null ? "edge or gpu" : `round trip ${round_trip_ms.toFixed(1)} ms`,
    ],
    ["first token", "First token", fixed(run?.firstTokenMs ?? null, 0), "ms"],
    [
      "prompt",
      "Prompt",
      String(run?.usage?.prompt_tokens ?? "–"),
      cached === undefined ? "tokens" : `tokens, ${cached} cached`,
    ],
  ];
}

/**
 * @param {Term} term
 * @param {string} name
 * @param {string} value
 * @param {string} unit
 */
function figure(term, name, value, unit) {
  return make(
    "div",
    "figure",
    make("dt", "", `${name} `, helpFor(term)),
    make("dd", "", make("b", "", value), " ", make("span", "unit", unit)),
  );
}

/** @param {Receipt} receipt */
function receiptParts({ block_efficiency: { unrefined, refined, best }, tokens }) {
  const longest = Math.max(unrefined, refined, best, 1);
  const rows = /** @type {const} */ ([
    ["unrefined", unrefined],
    ["refined", refined],
    ["best", best],
  ]);
  const bars = rows.map(([name, value]) => {
    const fill = make("span", `fill ${name}`);
    fill.style.width = `${(value / longest) * 100}%`;
    return make("li", "", make("span", "", name), make("span", "track", fill), make("b", "", fixed(value)));
  });
  return [
    make("h3", "", "What refinement was worth ", helpFor("receipt")),
    make("ul", "worth", ...bars),
    make("h3", "", "Where the tokens came from ", helpFor("sources")),
    ...sourceParts(tokens),
  ];
}

/** One bar of all tokens, and its legend. @param {Record<string, number>} tokens */
function sourceParts(tokens) {
  const present = Object.entries(tokens).filter(([, count]) => count > 0);
  const total = present.reduce((sum, [, count]) => sum + count, 0);
  const bar = make("div", "sources");
  bar.setAttribute("aria-hidden", "true");
  const legend = make("ul", "source-legend");
  for (const [source, count] of present) {
    const part = make("span", `source ${source}`);
    part.style.width = `${(count / total) * 100}%`;
    bar.append(part);
    const name = /** @type {Record<string, string>} */ (SOURCES)[source] ?? source;
    legend.append(make("li", "", make("span", `swatch ${source}`), `${name} `, make("b", "", String(count))));
  }
  return [bar, legend];
}
