/** @import { StepTrace } from "./api.js" */
/** @import { Inspector } from "./inspector.js" */
/** @import { Recording } from "./stats.js" */
import { make } from "./dom.js";
import { fixed } from "./stats.js";

/**
 * One answer: a title, the text coloured by block, how it ended, and a line of figures. The blocks are a list box, so
 * that the whole text is one stop of the Tab key and arrow keys go from block to block.
 */
export class Pane {
  /** @type {StepTrace[]} */
  #traces = [];
  #kind;
  #text;
  #end = make("p", "pane-end");
  #figures = make("p", "pane-figures", "waiting");
  #actions = make("div", "pane-actions");
  #inspector;

  /**
   * @param {string} title
   * @param {"blocks" | "plain"} kind plain text has no blocks to look into
   * @param {Inspector} inspector
   */
  constructor(title, kind, inspector) {
    this.#kind = kind;
    this.#inspector = inspector;
    this.#text = make("div", `text ${kind}`);
    const legend = make(
      "p",
      "legend",
      make("span", "key accepted", "drafted and accepted"),
      make("span", "key bonus", "the model’s own token"),
    );
    this.element = make(
      "section",
      "pane",
      make("header", "", make("h2", "", title), ...(kind === "blocks" ? [legend] : [])),
      this.#text,
      this.#end,
      this.#figures,
      this.#actions,
    );
    this.element.setAttribute("aria-label", title);
    this.clear();
    if (kind === "blocks") this.#listen();
  }

  clear() {
    this.#traces = [];
    this.#text.replaceChildren();
    // A list box without options would be none.
    this.#text.removeAttribute("role");
    this.#text.removeAttribute("aria-label");
    this.#end.hidden = true;
    this.#figures.textContent = "waiting";
  }

  get text() {
    return this.#text.textContent ?? "";
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    this.element.classList.toggle("busy", busy);
  }

  /**
   * How the answer ended: nothing to say of one that came to its own end.
   *
   * @param {"cut" | "stopped" | "failed" | "fine" | "bad"} manner
   * @param {string} text
   */
  end(manner, text) {
    this.#end.className = `pane-end ${manner}`;
    this.#end.textContent = text;
    this.#end.hidden = false;
    if (manner === "failed") this.#end.setAttribute("role", "alert");
    if (this.#traces.length === 0) this.#figures.textContent = "";
  }

  /** What can be done with the answer. @param {HTMLElement[]} buttons */
  offer(buttons) {
    this.#actions.replaceChildren(...buttons);
  }

  /** Something beside the text, before its figures. @param {HTMLElement} element */
  append(element) {
    this.#end.before(element);
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
    if (this.#kind === "blocks") this.#makeOption(block);
    this.#traces.push(trace);
    this.#text.append(block);
  }

  /** @param {HTMLElement} block */
  #makeOption(block) {
    block.setAttribute("role", "option");
    block.setAttribute("aria-selected", "false");
    block.tabIndex = this.#traces.length === 0 ? 0 : -1;
    block.dataset.index = String(this.#traces.length);
    if (block.textContent?.trim() === "") block.setAttribute("aria-label", "white space");
    if (this.#traces.length > 0) return;
    this.#text.setAttribute("role", "listbox");
    this.#text.setAttribute("aria-orientation", "horizontal");
    this.#text.setAttribute("aria-label", "Answer, block by block; arrow keys move between blocks");
  }

  /**
   * @param {Recording} run
   * @param {string} [more]
   */
  showFigures(run, more = "") {
    const rate = run.tokensPerSecond === null ? "" : ` · ${fixed(run.tokensPerSecond, 1)} tokens/s`;
    const efficiency = run.blockEfficiency === null ? "" : ` · ${fixed(run.blockEfficiency)} tokens per model call`;
    this.#figures.textContent = `${run.tokens} tokens${rate}${efficiency}${more}`;
  }

  #listen() {
    const text = this.#text;
    text.addEventListener("pointerover", (event) => event.pointerType === "mouse" && this.#inspect(event.target));
    text.addEventListener("click", (event) => this.#inspect(event.target, true));
    text.addEventListener("pointerleave", () => this.#leave());
    text.addEventListener("focusin", (event) => this.#inspect(event.target));
    text.addEventListener("focusout", () => this.#leave());
    text.addEventListener("keydown", (event) => this.#move(event));
  }

  /**
   * @param {EventTarget | null} target
   * @param {boolean} [hold]
   */
  #inspect(target, hold = false) {
    const block = target instanceof Element ? target.closest(".block") : null;
    if (!(block instanceof HTMLElement)) return;
    const trace = this.#traces[Number(block.dataset.index)];
    if (trace === undefined) return;
    this.#select(block);
    if (hold) this.#inspector.hold(trace, block);
    else this.#inspector.show(trace, block);
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
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return this.#inspect(event.target, true);
    }
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
