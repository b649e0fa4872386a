/** @import { Pack, Rescorer, Setting, SettingSchema } from "./api.js" */
import { fillSelect, make } from "./dom.js";
import { ON } from "./fields.js";
import { helpWith } from "./terms.js";

/** Fields of a rescorer's settings are named after them, apart from the page's own. */
const PREFIX = "r-";

/** The settings of the chosen rescorer as fields, whichever the server says it has. */
export class RescorerFields {
  #place;
  /** @type {Rescorer} */
  #rescorer = { title: "", summary: "", defaults: {}, settings: {} };

  /** @param {HTMLElement} place */
  constructor(place) {
    this.#place = place;
  }

  /**
   * Fields with the bundle's values.
   *
   * @param {Rescorer} rescorer
   */
  show(rescorer) {
    this.#rescorer = rescorer;
    this.#place.replaceChildren(...Object.entries(rescorer.settings).map(([name, schema]) => fieldOf(name, schema)));
  }

  /** Values of the fields by their names, as the bundle has them. @returns {Record<string, string>} */
  get defaults() {
    const { settings, defaults } = this.#rescorer;
    return Object.fromEntries(Object.keys(settings).map((name) => [PREFIX + name, asText(defaults[name] ?? "")]));
  }

  /**
   * The settings that are not as the bundle has them, for the API.
   *
   * @param {(name: string) => string} read
   */
  chosen(read) {
    const { settings } = this.#rescorer;
    /** @type {Record<string, Setting>} */
    const chosen = {};
    for (const [field, usual] of Object.entries(this.defaults)) {
      const value = read(field);
      if (value === usual || (value === "" && settings[name(field)]?.type !== "boolean")) continue;
      chosen[name(field)] = asSetting(value, settings[name(field)] ?? {});
    }
    return chosen;
  }

  /**
   * No more than the pack has: its order is a bound of its own.
   *
   * @param {Pack | undefined} pack
   */
  limitOrder(pack) {
    const field = this.#place.querySelector(`[name="${PREFIX}order"]`);
    if (!(field instanceof HTMLInputElement) || pack === undefined) return;
    field.max = String(pack.order);
    if (Number(field.value) > pack.order) field.value = field.max;
  }
}

/** Name of the field of a setting. @param {string} setting */
export function fieldName(setting) {
  return PREFIX + setting;
}

/** @param {string} field */
function name(field) {
  return field.slice(PREFIX.length);
}

/**
 * @param {string} setting
 * @param {SettingSchema} schema
 */
function fieldOf(setting, schema) {
  const title = schema.title ?? setting;
  const input = inputOf(schema);
  input.setAttribute("form", "request");
  input.setAttribute("name", PREFIX + setting);
  input.id = PREFIX + setting;
  const label = make("label", "", title);
  label.setAttribute("for", input.id);
  const help = schema.description === undefined ? [] : [helpWith(title, schema.description.replaceAll("`", ""))];
  if (schema.type === "boolean") return make("div", "field check wide", input, label, ...help);
  const isWide = schema.enum !== undefined || input.getAttribute("type") === "range";
  const figure = input.getAttribute("type") === "range" ? [figureOf(input)] : [];
  return make("div", `field${isWide ? " wide" : ""}`, make("span", "label", label, ...help, ...figure), input);
}

/** @param {SettingSchema} schema */
function inputOf({ type, minimum, maximum, enum: values }) {
  if (values !== undefined) {
    const select = make("select", "");
    fillSelect(
      select,
      values.map((value) => /** @type {const} */ ([value, value])),
    );
    return select;
  }
  const input = make("input", "");
  if (type === "boolean") input.setAttribute("type", "checkbox");
  else {
    const isRange = type === "number" && minimum !== undefined && maximum !== undefined;
    input.setAttribute("type", isRange ? "range" : "number");
    input.setAttribute("step", type === "integer" ? "1" : "0.01");
    if (minimum !== undefined) input.setAttribute("min", String(minimum));
    if (maximum !== undefined) input.setAttribute("max", String(maximum));
  }
  return input;
}

/**
 * The value that a slider stands at. @param {HTMLElement} input
 */
function figureOf(input) {
  const figure = make("output", "");
  figure.setAttribute("for", input.id);
  return figure;
}

/** What sliders stand at, beside them. @param {HTMLElement} place */
export function showFigures(place) {
  for (const output of place.querySelectorAll("output")) {
    const input = document.getElementById(output.getAttribute("for") ?? "");
    if (input instanceof HTMLInputElement) output.textContent = Number(input.value).toFixed(2);
  }
}

/** @param {Setting} value */
function asText(value) {
  return typeof value === "boolean" ? (value ? ON : "") : String(value);
}

/**
 * @param {string} text
 * @param {SettingSchema} schema
 * @returns {Setting}
 */
function asSetting(text, { type }) {
  if (type === "boolean") return text === ON;
  return type === "string" ? text : Number(text);
}
