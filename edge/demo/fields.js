import { make } from "./dom.js";

/** Value of a ticked box; an empty one's is "". */
export const ON = "1";

/** The named fields of a form as texts, and what is wrong with them. */
export class Fields {
  #form;

  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.#form = form;
  }

  /** @param {string} name */
  has(name) {
    return this.#form.elements.namedItem(name) !== null;
  }

  /** @param {string} name */
  element(name) {
    const field = this.#form.elements.namedItem(name);
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement || field instanceof HTMLTextAreaElement)
      return field;
    throw new Error(`no field ${name}`);
  }

  /** @param {string} name */
  value(name) {
    const field = this.element(name);
    if (isCheckbox(field)) return field.checked ? ON : "";
    return field.value;
  }

  /** @param {string} name */
  number(name) {
    const value = this.value(name);
    return value === "" ? null : Number(value);
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  set(name, value) {
    const field = this.element(name);
    if (isCheckbox(field)) field.checked = value === ON;
    else field.value = value;
  }

  /** The first field that the browser itself finds at fault, or null. */
  invalid() {
    for (const field of this.#form.elements) {
      if (field instanceof HTMLInputElement && !field.checkValidity())
        return { field, message: field.validationMessage };
    }
    return null;
  }

  /**
   * Says what is wrong under the field, as wide as the fields beside it are together, and brings it into view.
   *
   * @param {HTMLElement} field
   * @param {string} message
   */
  fault(field, message) {
    this.clearFaults();
    const note = make("p", "fault", message);
    note.id = "fault";
    (field.closest(".field") ?? field).after(note);
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", note.id);
    for (let at = field.closest("details"); at !== null; at = at.parentElement?.closest("details") ?? null)
      at.open = true;
    field.focus();
  }

  clearFaults() {
    document.querySelector("#fault")?.remove();
    for (const field of this.#form.elements) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
  }
}

/** @param {HTMLElement} field */
export function labelOf(field) {
  const label = /** @type {HTMLInputElement} */ (field).labels?.[0];
  return label?.textContent?.trim().replace(/\s+/g, " ") ?? field.getAttribute("name") ?? "";
}

/**
 * @param {Element} field
 * @returns {field is HTMLInputElement}
 */
function isCheckbox(field) {
  return field instanceof HTMLInputElement && field.type === "checkbox";
}
