/** @import { StepTrace } from "./api.js" */
/** @import { Inspector } from "./inspector.js" */
import { make } from "./dom.js";
import { fixed } from "./stats.js";
/** @import { Recording } from "./stats.js" */

/**
 * One answer: a title, the text coloured by block, and a line of figures. The blocks are a list box, so
 * that the whole text is one stop of the Tab key and arrow keys go from block to block.
 */
export class Pane {
  /** @type {StepTrace[]} */
  #traces = [];
  #text;
  #footer;
  #inspector;

  /**
   * @param {string} title
   * @param {"blocks" | "plain"} kind plain text has no blocks to look into
   * @param {Inspector} inspector
   */
  constructor(title, kind, inspector) {
    this.#inspector = inspector;
    this.#text = make("div", `text ${kind}`);
    this.#footer = make("p", "pane-figures", "waiting");
    const heading = make("h2", "", title);
    const legend = make(
      "p",
      "legend",
      make("span", "key accepted", "drafted and accepted"),
      make("span", "key bonus", "the model’s own token"),
    );
    this.element = make(
      "section",
      "pane",
      make("header", "", heading, ...(kind === "blocks" ? [legend] : [])),
      this.#text,
      this.#footer,
    );
    this.element.setAttribute("aria-label", title);
    this.setBusy(false);
    if (kind === "blocks") this.#listen();
    else this.#text.tabIndex = 0;
  }

  clear() {
    this.#traces = [];
    this.#text.replaceChildren();
    this.#footer.textContent = "waiting";
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    this.element.classList.toggle("busy", busy);
  }

  /** @param {StepTrace} trace */
  add(trace) {
    const block = make("span", "block");
    // White space between blocks stays uncoloured; within a block it belongs to the part before it.
    const text = trace.accepted.join("");
    const [lead, accepted] = splitLead(text === "" ? (trace.bonus ?? "") : text);
    const [gap, bonus] =
      text === "" || trace.bonus === null ? ["", trace.bonus?.trimStart() ?? ""] : splitLead(trace.bonus);
    block.append(lead);
    if (text !== "") block.append(make("span", "accepted", accepted + gap));
    if (bonus !== "") block.append(make("span", "bonus", bonus));
    block.setAttribute("role", "option");
    block.setAttribute("aria-selected", "false");
    block.tabIndex = this.#traces.length === 0 ? 0 : -1;
    block.dataset.index = String(this.#traces.length);
    this.#traces.push(trace);
    this.#text.append(block);
  }

  /** @param {Recording} run */
  showFigures(run) {
    const rate = run.tokensPerSecond === null ? "" : ` · ${fixed(run.tokensPerSecond, 1)} tokens/s`;
    const efficiency = run.blockEfficiency === null ? "" : ` · ${fixed(run.blockEfficiency)} tokens per model call`;
    this.#footer.textContent = `${run.tokens} tokens${rate}${efficiency}`;
  }

  #listen() {
    const text = this.#text;
    text.setAttribute("role", "listbox");
    text.setAttribute("aria-orientation", "horizontal");
    text.setAttribute("aria-label", "Answer, block by block; arrow keys move between blocks");
    text.addEventListener("pointerover", (event) => this.#inspect(event.target));
    text.addEventListener("click", (event) => this.#inspect(event.target));
    text.addEventListener("pointerleave", () => this.#leave());
    text.addEventListener("focusin", (event) => this.#inspect(event.target));
    text.addEventListener("focusout", () => this.#leave());
    text.addEventListener("keydown", (event) => this.#move(event));
  }

  /** @param {EventTarget | null} target */
  #inspect(target) {
    const block = target instanceof Element ? target.closest(".block") : null;
    if (!(block instanceof HTMLElement)) return;
    const trace = this.#traces[Number(block.dataset.index)];
    if (trace === undefined) return;
    this.#select(block);
    this.#inspector.show(trace, block);
  }

  #leave() {
    this.#select(null);
    this.#inspector.hide();
  }

  /** @param {HTMLElement | null} block */
  #select(block) {
    for (const old of this.#text.querySelectorAll('[aria-selected="true"]')) old.setAttribute("aria-selected", "false");
    block?.setAttribute("aria-selected", "true");
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    if (event.key === "Escape") return this.#leave();
    const blocks = /** @type {HTMLElement[]} */ ([...this.#text.children]);
    const from = blocks.findIndex((block) => block.contains(document.activeElement));
    const steps = {
      ArrowRight: from + 1,
      ArrowLeft: from - 1,
      ArrowDown: from + 10,
      ArrowUp: from - 10,
      Home: 0,
      End: blocks.length - 1,
    };
    const to = /** @type {Record<string, number>} */ (steps)[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = blocks[Math.max(0, Math.min(blocks.length - 1, to))];
    if (next === undefined) return;
    if (blocks[from] !== undefined) blocks[from].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

/**
 * Leading white space, and the rest.
 *
 * @param {string} text
 * @returns {[string, string]}
 */
function splitLead(text) {
  const rest = text.trimStart();
  return [text.slice(0, text.length - rest.length), rest];
}
