/** @import { Pane } from "./pane.js" */
import { find } from "./dom.js";
import { firstDifference, fixed, Recording } from "./stats.js";

const verdict = find("#verdict", HTMLElement);
const headline = find("#verdict-headline", HTMLElement);
const detail = find("#verdict-detail", HTMLElement);

export function hideVerdict() {
  verdict.hidden = true;
}

/**
 * @param {Recording} blocks
 * @param {Recording} plain
 * @param {number | undefined} seed of both, where one was drawn for them
 * @returns {string} what it says
 */
export function showVerdict(blocks, plain, seed) {
  const difference = firstDifference(blocks.text, plain.text);
  const ratio =
    blocks.tokensPerSecond !== null && plain.tokensPerSecond !== null
      ? blocks.tokensPerSecond / plain.tokensPerSecond
      : null;
  const texts = difference === null ? "Identical text" : `The texts differ from character ${difference + 1}`;
  headline.textContent = `${texts}${ratio === null ? "." : `, ${fixed(ratio)}× the speed.`}`;
  detail.textContent =
    (seed === undefined ? "" : `Both with seed ${seed}. `) +
    "The runs went one after the other: at the same time they would share one model and slow each other down.";
  verdict.classList.toggle("differs", difference !== null);
  verdict.hidden = false;
  return headline.textContent;
}

/**
 * Recorded runs from the start, together, at the pace they had.
 *
 * @param {{ pane: Pane, run: Recording }[]} compared
 * @param {AbortSignal} signal
 */
export async function replay(compared, signal) {
  await Promise.all(
    compared.map(async ({ pane, run }) => {
      const startedAt = performance.now();
      const shown = new Recording();
      pane.clear();
      pane.setBusy(true);
      for (const { trace, atMs } of run.blocks) {
        await delay(startedAt + atMs - performance.now(), signal);
        shown.add(trace, atMs);
        pane.add(trace);
        pane.showFigures(shown);
      }
      pane.setBusy(false);
    }),
  );
}

/**
 * Resolves at once when stopped: what is left then appears without waiting.
 *
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function delay(ms, signal) {
  if (ms <= 0 || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
