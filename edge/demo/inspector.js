/** @import { DraftedToken, StepTrace } from "./api.js" */
import { make } from "./dom.js";

/** Space kept between the card, its block and the window's edges, px. */
const GAP = 8;

/** The card beside a block: what was drafted, what was confirmed, what was rejected. */
export class Inspector {
  #card;

  /** @param {HTMLElement} card */
  constructor(card) {
    this.#card = card;
    addEventListener("scroll", () => this.hide(), { passive: true });
    addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
  }

  /**
   * @param {StepTrace} trace
   * @param {HTMLElement} block
   */
  show(trace, block) {
    this.#card.replaceChildren(make("p", "inspector-title", summary(trace)), ...draftTree(trace));
    this.#card.hidden = false;
    this.#place(block);
  }

  hide() {
    this.#card.hidden = true;
  }

  /**
   * Below the block or above it, where there is more room; narrow screens dock the card by style.
   *
   * @param {HTMLElement} block
   */
  #place(block) {
    const line = block.getClientRects()[0];
    if (line === undefined) return;
    const { style, offsetWidth } = this.#card;
    const { top, bottom } = block.getBoundingClientRect();
    const roomAbove = top - 2 * GAP;
    const roomBelow = innerHeight - bottom - 2 * GAP;
    style.maxHeight = `${Math.max(roomAbove, roomBelow)}px`;
    const isBelow = roomBelow >= Math.min(this.#card.offsetHeight, roomAbove);
    style.left = `${Math.max(GAP, Math.min(line.left, innerWidth - offsetWidth - GAP))}px`;
    style.top = `${isBelow ? bottom + GAP : top - GAP - this.#card.offsetHeight}px`;
  }
}

/** @param {StepTrace} trace */
function summary({ step, drafted, rejected, step_ms }) {
  if (step === 0) return `Prefill: the model read the prompt and gave the first token. ${ms(step_ms)}`;
  const title = `Block ${step}`;
  if (drafted.length === 0) return `${title}: nothing was drafted. ${ms(step_ms)}`;
  const accepted = drafted.length - rejected;
  return `${title}: ${accepted} of ${drafted.length} drafted ${drafted.length === 1 ? "token" : "tokens"} accepted. ${ms(step_ms)}`;
}

/** @param {number} value */
function ms(value) {
  return `${value.toFixed(1)} ms`;
}

/**
 * The draft read left to right, alternatives one below the other, and the model's own token at the
 * end of the accepted path.
 *
 * @param {StepTrace} trace
 */
function draftTree({ drafted, bonus }) {
  if (drafted.length === 0) return [];
  const tip = drafted.findLastIndex((node) => node.accepted);
  const own = bonus === null ? [] : [make("div", "branch", token("bonus", bonus, "the model’s own token"))];
  /** @param {number} parent @returns {HTMLElement[]} */
  const branches = (parent) => {
    const children = [...drafted.entries()].filter(([, node]) => node.parent === parent);
    // What was accepted comes first, so that the confirmed path is the top line.
    children.sort(([, a], [, b]) => Number(b.accepted) - Number(a.accepted));
    const rows = children.map(([i, node]) => branch(node, branches(i)));
    return parent === tip ? [...own, ...rows] : rows;
  };
  return [make("div", "tree", make("div", "branches", ...branches(-1)))];
}

/**
 * @param {DraftedToken} node
 * @param {HTMLElement[]} children
 */
function branch(node, children) {
  const own = node.accepted ? token("accepted", node.text, "accepted") : token("rejected", node.text, "rejected");
  return make("div", "branch", own, ...(children.length > 0 ? [make("div", "branches", ...children)] : []));
}

/**
 * @param {string} kind
 * @param {string} text
 * @param {string} meaning
 */
function token(kind, text, meaning) {
  const element = make("span", `token ${kind}`, visible(text), make("span", "visually-hidden", ` (${meaning})`));
  element.title = meaning;
  return element;
}

/** White space shown as signs: a token is often nothing else.
 * @param {string} text
 */
function visible(text) {
  return (
    text
      .replaceAll("\n", "↵")
      .replaceAll("\t", "⇥")
      .replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length)) || "∅"
  );
}
