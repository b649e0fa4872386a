/**
 * An element that must be on the page, as the class it is.
 *
 * @template {HTMLElement} T
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
export function find(selector, type) {
  const element = document.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`no ${type.name} at ${selector}`);
  return element;
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {...(Node | string)} children
 */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  element.append(...children);
  return element;
}

/**
 * @param {string} label
 * @param {string} className
 * @param {(button: HTMLButtonElement) => void} onClick
 */
export function makeButton(label, className, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = className;
  button.textContent = label;
  button.addEventListener("click", () => onClick(button));
  return button;
}

/**
 * @param {Element} select
 * @param {readonly (readonly [value: string, label: string])[]} entries
 */
export function fillSelect(select, entries) {
  select.replaceChildren(
    ...entries.map(([value, label]) => {
      const option = make("option", "", label);
      option.setAttribute("value", value);
      return option;
    }),
  );
}

/**
 * To the clipboard, and says so on the button for two seconds.
 *
 * @param {HTMLButtonElement} button
 * @param {string} text
 * @param {string} otherwise what to say where the browser does not let pages copy
 */
export async function copyFrom(button, text, otherwise = "Not allowed") {
  const copied = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  const { textContent } = button;
  button.textContent = copied ? "Copied" : otherwise;
  button.disabled = true;
  setTimeout(() => {
    button.textContent = textContent;
    button.disabled = false;
  }, 2000);
}
