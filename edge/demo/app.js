import { ApiError, listModels, streamChat } from "./api.js";
import { Controls } from "./controls.js";
import { find, make } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { Figures } from "./figures.js";
import { Inspector } from "./inspector.js";
import { Pane } from "./pane.js";
import { firstDifference, fixed, Recording } from "./stats.js";

const form = find("#request", HTMLFormElement);
const prompt = find("#prompt", HTMLTextAreaElement);
const key = find("#key", HTMLInputElement);
const panes = find("#panes", HTMLElement);
const error = find("#error", HTMLElement);
const notice = find("#notice", HTMLElement);
const status = find("#status", HTMLElement);
const verdict = find("#verdict", HTMLElement);
const buttons = {
  run: find("#run", HTMLButtonElement),
  compare: find("#compare", HTMLButtonElement),
  stop: find("#stop", HTMLButtonElement),
  replay: find("#replay", HTMLButtonElement),
};
const controls = new Controls(form);
const inspector = new Inspector(find("#inspector", HTMLElement));
const figures = new Figures(
  find("#figures", HTMLElement),
  find("#positions", HTMLElement),
  find("#positions-text", HTMLElement),
);

/** What runs now, a replay included. */
let running = new AbortController();
running.abort();
/** @type {{ pane: Pane, run: Recording }[]} The two runs of the last comparison. */
let compared = [];

/** @param {string} message */
function say(message) {
  error.hidden = true;
  status.textContent = message;
}

/** @param {unknown} reason */
function fail(reason) {
  error.textContent = reason instanceof Error ? reason.message : String(reason);
  error.hidden = false;
  status.textContent = "";
}

/**
 * Runs one thing at a time, with the Stop button in place of Run.
 *
 * @param {(signal: AbortSignal) => Promise<void>} work
 */
async function exclusively(work) {
  if (!running.signal.aborted) return;
  running = new AbortController();
  const { signal } = running;
  setBusy(true);
  try {
    await work(signal);
  } catch (reason) {
    if (signal.aborted) say("Stopped.");
    else fail(reason);
  } finally {
    running.abort();
    setBusy(false);
  }
}

/** @param {boolean} busy */
function setBusy(busy) {
  const focused = document.activeElement;
  buttons.run.hidden = busy;
  buttons.stop.hidden = !busy;
  buttons.compare.disabled = busy;
  buttons.replay.disabled = busy;
  // A hidden button loses the focus; the one in its place takes it.
  if (busy && (focused === buttons.run || focused === buttons.compare)) buttons.stop.focus();
  if (!busy && (focused === buttons.stop || focused === buttons.replay)) buttons.run.focus();
}

/**
 * Streams one answer into its pane.
 *
 * @param {object} body
 * @param {Pane} pane
 * @param {boolean} isMain whose figures are shown at the side
 * @param {AbortSignal} signal
 */
async function stream(body, pane, isMain, signal) {
  const run = new Recording();
  const sentAt = performance.now();
  pane.setBusy(true);
  try {
    for await (const { speculation, metrics } of streamChat(body, { apiKey: key.value.trim(), signal })) {
      if (metrics !== undefined) run.placement = metrics.placement;
      if (speculation !== undefined) {
        run.add(speculation, performance.now() - sentAt);
        pane.add(speculation);
        pane.showFigures(run);
      }
      if (isMain) figures.show(run);
    }
  } finally {
    pane.setBusy(false);
  }
  return run;
}

/** @param {AbortSignal} signal */
async function runOnce(signal) {
  const body = controls.body(true);
  const pane = new Pane("Answer", "blocks", inspector);
  show([pane]);
  say("Writing the answer.");
  const run = await stream(body, pane, true, signal);
  say(`Done: ${run.tokens} tokens, ${fixed(run.blockEfficiency)} per model call.`);
}

/** @param {AbortSignal} signal */
async function runBoth(signal) {
  const bodies = [controls.body(true), controls.body(false)];
  const blocks = new Pane("In blocks", "blocks", inspector);
  const plain = new Pane("Plain, token by token", "plain", inspector);
  show([blocks, plain]);
  say("Writing the answer in blocks.");
  const first = await stream(bodies[0] ?? {}, blocks, true, signal);
  say("Writing it again, token by token.");
  const second = await stream(bodies[1] ?? {}, plain, false, signal);
  compared = [
    { pane: blocks, run: first },
    { pane: plain, run: second },
  ];
  showVerdict(first, second);
}

/**
 * @param {Recording} blocks
 * @param {Recording} plain
 */
function showVerdict(blocks, plain) {
  const difference = firstDifference(blocks.text, plain.text);
  const ratio =
    blocks.tokensPerSecond !== null && plain.tokensPerSecond !== null
      ? blocks.tokensPerSecond / plain.tokensPerSecond
      : null;
  const texts = difference === null ? "Identical text" : `The texts differ from character ${difference + 1}`;
  const headline = `${texts}${ratio === null ? "." : `, ${fixed(ratio)}× the speed.`}`;
  find("#verdict-headline", HTMLElement).textContent = headline;
  find("#verdict-detail", HTMLElement).textContent =
    `The runs went one after the other: at the same time they would share one model and slow each other down.`;
  verdict.classList.toggle("differs", difference !== null);
  verdict.hidden = false;
  say(headline);
}

/**
 * Both recorded runs from the start, at the pace they had.
 *
 * @param {AbortSignal} signal
 */
async function replay(signal) {
  say("Replaying both runs.");
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
  say("Replay finished.");
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

/** @param {Pane[]} shown */
function show(shown) {
  inspector.hide();
  verdict.hidden = true;
  compared = [];
  panes.className = shown.length > 1 ? "panes two" : "panes";
  panes.replaceChildren(...shown.map((pane) => pane.element));
  figures.show(null);
}

/** @param {(signal: AbortSignal) => Promise<void>} work */
function start(work) {
  if (prompt.value.trim() === "") {
    fail("Type a prompt first.");
    prompt.focus();
    return;
  }
  void exclusively(work);
}

async function loadModels() {
  try {
    const models = await listModels(key.value.trim());
    controls.setModels(models);
    const text = controls.model?.notice ?? "";
    notice.textContent = text;
    notice.hidden = text === "";
    error.hidden = true;
  } catch (reason) {
    fail(reason instanceof ApiError ? reason : new Error("The list of models could not be read."));
  }
}

for (const { name, prompt: text } of EXAMPLES) {
  const chip = make("button", "chip", name);
  chip.setAttribute("type", "button");
  chip.addEventListener("click", () => {
    controls.prompt = text;
    prompt.focus();
  });
  find("#examples", HTMLElement).append(chip);
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  start(runOnce);
});
buttons.compare.addEventListener("click", () => start(runBoth));
buttons.stop.addEventListener("click", () => running.abort());
buttons.replay.addEventListener("click", () => void exclusively(replay));
prompt.addEventListener("keydown", (event) => {
  // Touch keyboards have no other way to start a new line.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
  event.preventDefault();
  start(runOnce);
});
key.addEventListener("change", () => void loadModels());
find("#reset", HTMLButtonElement).addEventListener("click", () => {
  controls.reset();
  void controls.link;
});
find("#share", HTMLButtonElement).addEventListener("click", async (event) => {
  const { link } = controls;
  const button = event.currentTarget;
  const copied = await navigator.clipboard?.writeText(link).then(
    () => true,
    () => false,
  );
  const message = copied ? "Link copied" : "Link is in the address bar";
  say(message);
  if (!(button instanceof HTMLElement)) return;
  const { textContent } = button;
  button.textContent = message;
  setTimeout(() => (button.textContent = textContent), 2000);
});
if (matchMedia("(max-width: 60rem)").matches) find("#options", HTMLDetailsElement).open = false;
void loadModels();
