import { copyFrom, find } from "./dom.js";

const dialog = find("#curl", HTMLDialogElement);
const text = find("#curl-text", HTMLElement);
find("#curl-copy", HTMLButtonElement).addEventListener("click", ({ currentTarget }) => {
  if (currentTarget instanceof HTMLButtonElement) void copyFrom(currentTarget, text.textContent ?? "");
});

/**
 * Opens the dialog with a request as a line for a shell.
 *
 * @param {object} body
 * @param {boolean} needsKey
 */
export function showCurl(body, needsKey) {
  text.textContent = curlOf(body, needsKey);
  dialog.showModal();
}

/**
 * @param {object} body
 * @param {boolean} needsKey
 */
function curlOf(body, needsKey) {
  const url = new URL("v1/chat/completions", document.baseURI).href;
  const key = needsKey ? [`-H "authorization: Bearer $API_KEY"`] : [];
  const json = JSON.stringify({ ...body, stream: true }, null, 1).replaceAll("'", `'\\''`);
  return [`curl -N ${url}`, `-H 'content-type: application/json'`, ...key, `-d '${json}'`].join(" \\\n  ");
}
