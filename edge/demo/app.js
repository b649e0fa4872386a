import { ApiError, listModels } from "./api.js";
import { hideVerdict, replay, showVerdict } from "./comparison.js";
import { Controls } from "./controls.js";
import { Conversation } from "./conversation.js";
import { showCurl } from "./curl.js";
import { copyFrom, fillSelect, find, makeButton } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { Figures } from "./figures.js";
import { Inspector } from "./inspector.js";
import { Pane } from "./pane.js";
import { runInto } from "./runs.js";
import { fixed } from "./stats.js";
import { startExplaining } from "./terms.js";

/** @import { Recording } from "./stats.js" */
/** @import { Body } from "./runs.js" */

const form = find("#request", HTMLFormElement);
const prompt = find("#prompt", HTMLTextAreaElement);
const key = find("#key", HTMLInputElement);
const error = find("#error", HTMLElement);
const notice = find("#notice", HTMLElement);
const distance = find("#distance", HTMLSelectElement);
const status = find("#status", HTMLElement);
const buttons = {
  run: find("#run", HTMLButtonElement),
  compare: find("#compare", HTMLButtonElement),
  stop: find("#stop", HTMLButtonElement),
  replay: find("#replay", HTMLButtonElement),
  send: find("#send", HTMLButtonElement),
};
const controls = new Controls(form);
const inspector = new Inspector(find("#inspector", HTMLElement));
const figures = new Figures();
const conversation = new Conversation();

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

/** What is wrong before anything ran; what goes wrong in a run stands in its pane. @param {unknown} reason */
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
    say(signal.aborted ? "Stopped." : "Failed.");
    conversation.giveUp();
    if (!signal.aborted && reason instanceof ApiError) controls.complain(reason.param, reason.message);
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
  for (const button of [buttons.compare, buttons.replay, buttons.send]) button.disabled = busy;
  // A hidden button loses the focus; the one in its place takes it.
  if (busy && (focused === buttons.run || focused === buttons.compare)) buttons.stop.focus();
  if (!busy && (focused === buttons.stop || focused === buttons.replay)) buttons.run.focus();
}

/**
 * A pane with its answer, and what can be done with it.
 *
 * @param {Body} body
 * @param {Pane} pane
 * @param {AbortSignal} signal
 * @param {boolean} isMain whose figures are shown at the side
 */
async function answer(body, pane, signal, isMain = true) {
  const options = {
    apiKey: key.value.trim(),
    signal,
    streams: controls.streams,
    form: controls.form,
    onChange: (/** @type {Recording} */ run) => isMain && figures.show(run),
  };
  const link = conversation.isFollowUp ? null : controls.link(body.seed);
  const actions = () => [
    ...(pane.text === "" ? [] : [makeButton("Copy text", "quiet", (button) => void copyFrom(button, pane.text))]),
    makeButton("Show as curl", "quiet", () => showCurl(body, options.apiKey !== "")),
    ...(link === null
      ? []
      : [makeButton("Copy link", "quiet", (button) => void copyFrom(button, link, "See the address bar"))]),
  ];
  try {
    return await runInto(body, pane, options);
  } finally {
    pane.offer(actions());
  }
}

/**
 * Asks, and lets the conversation go on from the answer.
 *
 * @param {Body} body
 * @param {AbortSignal} signal
 */
async function runOnce(body, signal) {
  const pane = new Pane(conversation.isFollowUp ? `Answer ${conversation.turns + 1}` : "Answer", "blocks", inspector);
  show([pane]);
  say("Writing the answer.");
  const run = await answer(body, pane, signal);
  conversation.take(run);
  say(`Done: ${run.tokens} tokens, ${fixed(run.blockEfficiency)} per model call.`);
}

/**
 * @param {Body} body
 * @param {AbortSignal} signal
 */
async function runBoth(body, signal) {
  const { placement } = /** @type {{ placement?: string }} */ (body.speculation ?? {});
  const plainly = { ...body, speculation: { enabled: false, ...(placement === undefined ? {} : { placement }) } };
  const blocks = new Pane("In blocks", "blocks", inspector);
  const plain = new Pane("Plain, token by token", "plain", inspector);
  show([blocks, plain]);
  say("Writing the answer in blocks.");
  const first = await answer(body, blocks, signal);
  say("Writing it again, token by token.");
  const second = await answer(plainly, plain, signal, false);
  conversation.take(first);
  compared = [
    { pane: blocks, run: first },
    { pane: plain, run: second },
  ];
  say(showVerdict(first, second, find("#seed", HTMLInputElement).value === "" ? body.seed : undefined));
}

/** @param {Pane[]} panes */
function show(panes) {
  inspector.release();
  hideVerdict();
  compared = [];
  conversation.show(panes);
  figures.show(null);
}

/** @param {(body: Body, signal: AbortSignal) => Promise<void>} work */
function start(work) {
  if (!running.signal.aborted) return;
  if (prompt.value.trim() === "") {
    fail("Type a prompt first.");
    prompt.focus();
    return;
  }
  const body = bodyFor([{ role: "user", content: controls.prompt }]);
  if (body === null) return;
  conversation.begin(controls.prompt);
  void exclusively((signal) => work(body, signal));
}

function follow() {
  if (!running.signal.aborted) return;
  const body = bodyFor(conversation.messages);
  if (body !== null) void exclusively((signal) => runOnce({ ...body, ...conversation.extra }, signal));
}

/**
 * Null, and says so, where a field is at fault.
 *
 * @param {object[]} messages
 */
function bodyFor(messages) {
  try {
    return controls.body(messages);
  } catch (reason) {
    fail(reason);
    return null;
  }
}

async function loadModels() {
  try {
    const { models, distances } = await listModels(key.value.trim());
    controls.setModels(models);
    showDistances(distances);
    const text = controls.model?.notice ?? "";
    notice.textContent = text;
    notice.hidden = text === "";
    error.hidden = true;
  } catch (reason) {
    fail(reason instanceof ApiError ? reason : new Error("The list of models could not be read."));
  }
}

/** Another distance is another edge. @param {{ rttMs: string, port: string }[]} distances */
function showDistances(distances) {
  fillSelect(
    distance,
    distances.map(({ rttMs, port }) => [port, `${rttMs} ms`]),
  );
  distance.value = location.port;
  find("#distance-field", HTMLElement).hidden = distances.length === 0;
}

/**
 * Enter sends; touch keyboards have no other way to start a new line.
 *
 * @param {HTMLTextAreaElement} field
 * @param {() => void} send
 */
function sendOnEnter(field, send) {
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    send();
  });
}

for (const example of EXAMPLES) {
  const chip = makeButton(example.name, "chip", () => {
    controls.start(example);
    prompt.focus();
  });
  find("#examples", HTMLElement).append(chip);
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  start(runOnce);
});
sendOnEnter(prompt, () => start(runOnce));
buttons.compare.addEventListener("click", () => start(runBoth));
buttons.stop.addEventListener("click", () => running.abort());
buttons.replay.addEventListener("click", () => {
  void exclusively(async (signal) => {
    say("Replaying both runs.");
    await replay(compared, signal);
    say("Replay finished.");
  });
});
conversation.onFollow(follow, sendOnEnter);
key.addEventListener("change", () => void loadModels());
find("#reset", HTMLButtonElement).addEventListener("click", () => {
  controls.reset();
  void controls.link();
});
find("#share", HTMLButtonElement).addEventListener("click", ({ currentTarget }) => {
  if (currentTarget instanceof HTMLButtonElement) void copyFrom(currentTarget, controls.link(), "See the address bar");
});
find("#show-curl", HTMLButtonElement).addEventListener("click", () => {
  const body = bodyFor([{ role: "user", content: controls.prompt }]);
  if (body !== null) showCurl(body, key.value !== "");
});
distance.addEventListener("change", () => {
  // The settings stand in the address and come along.
  location.port = distance.value;
});
startExplaining();
if (matchMedia("(max-width: 60rem)").matches) find("#options", HTMLDetailsElement).open = false;
void loadModels();
