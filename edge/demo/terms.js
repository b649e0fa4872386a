import { find, make } from "./dom.js";

/** What the page's words mean, where they stand: a small button beside each opens its line. */
const TERMS = {
  "block efficiency":
    "Tokens committed per model call after the prompt was read, the model’s own token included. Plain decoding is 1.",
  speed: "Tokens per second after the first one, as they reached this page.",
  accepted: "Drafted tokens that the model confirmed, of all that were verified. Wrong ones cost time, never text.",
  drafted:
    "Who made the drafts of the last block: the edge, or the same code beside the model, which saves round trips.",
  "first token": "From the request to the first token: network, queue, and reading the prompt (prefill).",
  prompt:
    "Tokens of the prompt, and how many of them had been computed before: the start of an earlier request of yours, " +
    "such as the turns of a conversation so far (prefix cache).",
  receipt:
    "Counted afterwards on this very text: what each model call would have committed by the likeliest candidate of every " +
    "head (unrefined), by what was drafted (refined), and by the best path the candidates held. Copies and what a form forces may beat it.",
  sources:
    "Where the tokens of this answer came from: first or lower candidates of the draft heads, copies of the prompt and " +
    "the text so far, tokens the model had thought of before, what the answer’s form forces, the model’s own.",
  positions: "How often the n-th token of a draft was right, among the drafts that reach so deep.",
  max: "The answer is cut after so many tokens.",
  temperature: "0 always takes the likeliest token; higher values draw among more of them.",
  seed: "The same seed gives the same text, drafted or not. Empty: a new one for each run; a comparison uses one for both.",
  form: "The answer is held to this form: other tokens cannot be chosen. What the form forces is drafted for free.",
  heads: "Small networks beside the model. Head n guesses the n-th token ahead, all of them at once.",
  "top k": "Candidates kept of every head; the rescorer chooses among them.",
  nodes: "Tokens verified per model call at most. Auto takes as many as pay.",
  placement:
    "At the edge costs a round trip to the model for every block; beside the model costs one for the whole answer.",
  rescorer: "Heads guess independently, so their likeliest tokens often do not fit together; this finds those that do.",
  load: "So many copies of the request run at once, to see what is left under load. Only the first is shown.",
  distance:
    "The round trip put into the wire between this edge and the model. Another distance is another edge on this machine; " +
    "the page moves there with its settings.",
};

/** @typedef {keyof typeof TERMS} Term */

/**
 * @param {Term} term
 */
export function helpFor(term) {
  const button = make("button", "help");
  button.setAttribute("type", "button");
  button.dataset.term = term;
  label(button);
  return button;
}

/**
 * A help button for a text of its own.
 *
 * @param {string} title
 * @param {string} text
 */
export function helpWith(title, text) {
  const button = make("button", "help", "?");
  button.setAttribute("type", "button");
  button.setAttribute("aria-label", `${title}: ${text}`);
  button.dataset.text = text;
  return button;
}

/** Fills in the buttons of the page itself and opens what any of them explains. */
export function startExplaining() {
  const note = find("#explanation", HTMLElement);
  for (const button of document.querySelectorAll("[data-term]")) if (button instanceof HTMLElement) label(button);
  document.addEventListener("click", ({ target }) => {
    const button = target instanceof Element ? target.closest(".help") : null;
    if (!(button instanceof HTMLElement)) return;
    note.textContent = textOf(button);
    note.showPopover();
    place(note, button.getBoundingClientRect());
  });
  addEventListener("scroll", () => note.hidePopover(), { passive: true });
}

/** @param {HTMLElement} button */
function label(button) {
  button.textContent = "?";
  // The whole text is the name, so that nobody has to look for the popover.
  button.setAttribute("aria-label", `What is ${button.dataset.term}? ${textOf(button)}`);
}

/** @param {HTMLElement} button */
function textOf({ dataset: { term, text } }) {
  return text ?? /** @type {Record<string, string>} */ (TERMS)[term ?? ""] ?? "";
}

/**
 * @param {HTMLElement} note
 * @param {DOMRect} button
 */
function place(note, { left, top, bottom }) {
  const { offsetWidth, offsetHeight, style } = note;
  style.left = `${Math.max(8, Math.min(left, innerWidth - offsetWidth - 8))}px`;
  style.top = `${bottom + 6 + offsetHeight < innerHeight ? bottom + 6 : top - 6 - offsetHeight}px`;
}
