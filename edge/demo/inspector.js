/** @import { DraftedToken, StepTrace } from "./api.js" */
import { make, makeButton } from "./dom.js";

/** Space kept between the card, its block and the window's edges, px. */
const GAP = 8;

/**
 * The card beside a block: what was drafted, what was confirmed, what was rejected. It follows the pointer like a
 * tooltip until it is held; then it can be scrolled and stays until it is closed.
 */
export class Inspector {
  #card;
  /** @type {HTMLElement | null} The block that a held card belongs to. */
  #held = null;

  /** @param {HTMLElement} card */
  constructor(card) {
    this.#card = card;
    addEventListener("scroll", () => this.#held ?? this.hide(), { passive: true });
    addEventListener("keydown", (event) => event.key === "Escape" && this.release());
    addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !card.contains(target) && !this.#held?.contains(target)) this.release();
    });
  }

  /**
   * @param {StepTrace} trace
   * @param {HTMLElement} block
   */
  show(trace, block) {
    if (this.#held !== null) return;
    this.#fill(trace, make("p", "hold-hint", "Click, or press Enter, to hold and scroll this."));
    this.#place(block);
    const { scrollHeight, clientHeight, scrollWidth, clientWidth, classList } = this.#card;
    classList.toggle("overflows", scrollHeight > clientHeight || scrollWidth > clientWidth);
  }

  /**
   * @param {StepTrace} trace
   * @param {HTMLElement} block
   */
  hold(trace, block) {
    this.#held = block;
    const close = makeButton("Close", "close", () => this.release());
    this.#fill(trace, close);
    this.#card.classList.remove("overflows");
    this.#card.classList.add("held");
    this.#card.tabIndex = 0;
    this.#place(block);
    this.#card.focus({ preventScroll: true });
  }

  /** Closes a held card too, and gives the focus back to its block. */
  release() {
    const block = this.#held;
    const hadFocus = this.#card.contains(document.activeElement);
    this.#held = null;
    // Focusing the block shows its card again.
    if (hadFocus) block?.focus({ preventScroll: true });
    this.hide();
  }

  hide() {
    if (this.#held !== null) return;
    this.#card.hidden = true;
    this.#card.classList.remove("held");
    this.#card.removeAttribute("tabindex");
  }

  /**
   * @param {StepTrace} trace
   * @param {HTMLElement} extra
   */
  #fill(trace, extra) {
    const title = make("p", "inspector-title", summary(trace));
    this.#card.replaceChildren(make("div", "inspector-head", title, extra), ...draftTree(trace));
    this.#card.classList.toggle("dense", trace.drafted.length > 24);
    this.#card.hidden = false;
    fitLines(this.#card);
    this.#card.scrollTo(0, 0);
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

/**
 * A line that wraps stays as wide as it might have been, which would leave the card half empty: it is made as wide as what
 * stands in it.
 *
 * @param {HTMLElement} card
 */
function fitLines(card) {
  const lines = /** @type {HTMLElement[]} */ ([...card.querySelectorAll(".chain, .ends")]);
  const widths = lines.map((line) => {
    const { left } = line.getBoundingClientRect();
    return Math.max(...[...line.children].map((token) => token.getBoundingClientRect().right - left));
  });
  for (const [i, line] of lines.entries()) line.style.width = `calc(${Math.ceil(widths[i] ?? 0)}px + var(--token-gap))`;
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
  /** @param {number} parent */
  const childrenOf = (parent) => {
    const children = [...drafted.entries()].filter(([, node]) => node.parent === parent);
    // What was accepted comes first, so that the confirmed path is the top line.
    return children.sort(([, a], [, b]) => Number(b.accepted) - Number(a.accepted)).map(([i]) => i);
  };
  /** @param {number} parent @returns {HTMLElement[]} */
  const branches = (parent) => {
    const children = childrenOf(parent);
    const isEnd = (/** @type {number} */ i) => i !== tip && childrenOf(i).length === 0;
    const rows = children.filter((i) => !isEnd(i)).map((i) => branch(i));
    // Alternatives that lead nowhere share a line: a wide tree is mostly these.
    const ends = children.filter(isEnd).map((i) => tokenOf(drafted[i]));
    return [...(parent === tip ? own : []), ...rows, ...(ends.length > 0 ? [make("div", "branch ends", ...ends)] : [])];
  };
  /** A chain up to where it forks, and what follows it. @param {number} start */
  const branch = (start) => {
    const chain = [start];
    for (let next = childrenOf(start); next.length === 1 && chain.at(-1) !== tip; next = childrenOf(next[0] ?? -1)) {
      chain.push(next[0] ?? -1);
    }
    const following = branches(chain.at(-1) ?? -1);
    const line = make("div", "chain", ...chain.map((i) => tokenOf(drafted[i])));
    return make("div", "branch", line, ...(following.length > 0 ? [make("div", "branches", ...following)] : []));
  };
  return [make("div", "tree", make("div", "branches", ...branches(-1)))];
}

/** @param {DraftedToken | undefined} node */
function tokenOf(node) {
  const meaning = node?.accepted ? "accepted" : "rejected";
  return token(meaning, node?.text ?? "", meaning);
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
