import { make } from "./dom.js";
import { fixed } from "./stats.js";

/** @import { Recording } from "./stats.js" */

/**
 * Where drafts were made, and how far the edge is from the model.
 *
 * @param {Recording | null} run
 * @returns {[string, string]}
 */
function placeOf(run) {
  const { chosen = null, round_trip_ms = null } = run?.placement ?? {};
  const name = chosen === null ? "–" : chosen === "edge" ? "edge" : "gpu";
  return [name, round_trip_ms === null ? "edge or gpu" : `round trip ${round_trip_ms.toFixed(1)} ms`];
}

/** The figures beside the answer, kept up to date while it arrives. */
export class Figures {
  #list;
  #positions;
  #positionsText;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} positions
   * @param {HTMLElement} positionsText
   */
  constructor(list, positions, positionsText) {
    this.#list = list;
    this.#positions = positions;
    this.#positionsText = positionsText;
    this.show(null);
  }

  /** @param {Recording | null} run */
  show(run) {
    const first = run?.firstTokenMs ?? null;
    /** @type {[string, string, string][]} */
    const rows = [
      ["Block efficiency", fixed(run?.blockEfficiency ?? null), "tokens per model call"],
      ["Speed", fixed(run?.tokensPerSecond ?? null, 1), "tokens/s"],
      [
        "Accepted",
        run === null ? "–" : String(run.accepted),
        run === null ? "of the drafted tokens" : `of ${run.drafted} drafted`,
      ],
      ["Drafted", ...placeOf(run)],
      ["First token", first === null ? "–" : first.toFixed(0), "ms"],
    ];
    this.#list.replaceChildren(
      ...rows.map(([name, value, unit]) =>
        make(
          "div",
          "figure",
          make("dt", "", name),
          make("dd", "", make("b", "", value), " ", make("span", "unit", unit)),
        ),
      ),
    );
    if (run !== null) this.#showPositions(run);
  }

  /** @param {Recording} run */
  #showPositions({ positions }) {
    this.#positions.replaceChildren(
      ...positions.map(({ drafted, accepted }, depth) => {
        const share = accepted / drafted;
        const fill = make("span", "fill");
        fill.style.height = `${Math.round(share * 100)}%`;
        const bar = make("span", "bar", make("span", "track", fill), make("span", "at", String(depth + 1)));
        bar.title = `Position ${depth + 1}: accepted in ${accepted} of ${drafted} drafts that reach it`;
        return bar;
      }),
    );
    const shares = positions.map(
      ({ drafted, accepted }, depth) => `${depth + 1}: ${Math.round((accepted / drafted) * 100)} %`,
    );
    this.#positionsText.textContent = shares.length === 0 ? "This answer had no drafts." : shares.join(", ");
    this.#positionsText.className = shares.length === 0 ? "hint" : "visually-hidden";
  }
}
