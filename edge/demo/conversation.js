/** @import { Pane } from "./pane.js" */
/** @import { Recording } from "./stats.js" */
import { find, make } from "./dom.js";

/**
 * The turns on the page, and the messages they make. A turn counts once its answer has ended; until then, and if it
 * fails, the conversation stands as before it.
 */
export class Conversation {
  #place = find("#conversation", HTMLElement);
  #form = find("#follow", HTMLFormElement);
  #text = find("#follow-text", HTMLTextAreaElement);
  #label = find("#follow-label", HTMLElement);
  /** @type {object[]} */
  #settled = [];
  /** @type {object[]} What the turn under way adds before its answer. */
  #asked = [];
  /** The call that waits for its tool. @type {{ id: string, function: { name: string } } | null} */
  #call = null;
  /** Whether the turn under way answers a call. */
  #isToolRound = false;

  /** Forgets what was said. @param {string} prompt */
  begin(prompt) {
    this.#settled = [];
    this.#asked = [{ role: "user", content: prompt }];
    this.#isToolRound = false;
  }

  /**
   * @param {() => void} ask what to do about a question that has been added
   * @param {(field: HTMLTextAreaElement, send: () => void) => void} sendOnEnter
   */
  onFollow(ask, sendOnEnter) {
    const send = () => {
      const text = this.#text.value.trim();
      if (text === "") return this.#text.focus();
      const call = this.#call;
      this.#isToolRound = call !== null;
      this.#asked = [
        call === null ? { role: "user", content: text } : { role: "tool", tool_call_id: call.id, content: text },
      ];
      ask();
    };
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      send();
    });
    sendOnEnter(this.#text, send);
  }

  get isFollowUp() {
    return this.#settled.length > 0;
  }

  /** Turns that have been answered. */
  get turns() {
    return this.#settled.filter((message) => "role" in message && message.role === "assistant").length;
  }

  get messages() {
    return [...this.#settled, ...this.#asked];
  }

  /** Once a tool has answered the model is to speak, not to call again. */
  get extra() {
    return this.#isToolRound ? { tool_choice: "none" } : {};
  }

  /** The panes of the turn under way, below those before it. @param {Pane[]} panes */
  show(panes) {
    const row = make("div", panes.length > 1 ? "panes two" : "panes", ...panes.map((pane) => pane.element));
    if (!this.isFollowUp) this.#place.replaceChildren(row);
    else {
      const who = this.#isToolRound ? `${this.#call?.function.name} returned` : "You";
      this.#place.append(make("p", "asked", make("b", "", `${who}: `), this.#text.value.trim()), row);
    }
    this.#form.hidden = true;
  }

  /** The turn under way got no answer: the one before it can be followed by another. */
  giveUp() {
    this.#asked = [];
    this.#form.hidden = !this.isFollowUp;
  }

  /** The answer to the turn under way. @param {Recording} run */
  take(run) {
    this.#settled = [...this.messages, run.message];
    this.#asked = [];
    this.#text.value = "";
    this.#call = run.toolCalls[0] ?? null;
    this.#isToolRound = false;
    this.#label.textContent = this.#call === null ? "Follow-up" : `What ${this.#call.function.name} returns`;
    this.#text.placeholder =
      this.#call === null
        ? "The model has read all of the above already."
        : 'for example {"sky": "clear", "temperature": 24}';
    this.#form.hidden = false;
  }
}
