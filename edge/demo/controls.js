/** @import { Model } from "./api.js" */
import { find, make } from "./dom.js";

const DEFAULTS = { max: "192", t: "0", seed: "0", at: "auto" };

/** Value of a ticked box; an empty one's is "". */
const ON = "1";

/** Fields of the form for settings of a rescorer. */
const SETTINGS = { lm: "model", order: "order", a: "alpha", pb: "p_best", copy: "prompt" };

/** The form: what the reader asks for, as a request body and as the address's hash. */
export class Controls {
  /** @type {Model[]} */
  #models = [];
  #form;

  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.#form = form;
    this.#set("prompt", new URLSearchParams(location.hash.slice(1)).get("prompt") ?? this.prompt);
    document.addEventListener("input", (event) => this.#changed(event.target));
  }

  /** @param {Model[]} models */
  setModels(models) {
    this.#models = models;
    const asked = new URLSearchParams(location.hash.slice(1));
    fillSelect(
      this.#field("model"),
      models.map((m) => [m.id, m.id]),
    );
    this.reset(asked.get("model") ?? undefined);
    for (const [name, value] of asked) {
      const field = this.#form.elements.namedItem(name);
      if (!(field instanceof HTMLElement) || name === "model") continue;
      this.#set(name, value);
      this.#adapt();
    }
  }

  get model() {
    return this.#models.find((m) => m.id === this.#value("model")) ?? this.#models[0] ?? null;
  }

  get prompt() {
    return this.#value("prompt");
  }

  set prompt(text) {
    this.#set("prompt", text);
    this.#writeHash();
  }

  /** Everything but the prompt back to the bundle's defaults. */
  reset(model = this.#value("model")) {
    if (this.#models.some((m) => m.id === model)) this.#set("model", model);
    this.#fillForModel();
    for (const [name, value] of Object.entries(this.#defaults())) this.#set(name, value);
    this.#adapt();
  }

  /**
   * The request body, with drafting as chosen or off. Throws an Error that names the field at fault.
   *
   * @param {boolean} speculative
   */
  body(speculative) {
    for (const field of this.#form.elements) {
      if (field instanceof HTMLInputElement && !field.checkValidity()) {
        const label = field.labels?.[0]?.textContent?.trim().replace(/\s+/g, " ");
        throw new Error(`${label ?? field.name}: ${field.validationMessage}`);
      }
    }
    return {
      model: this.#value("model"),
      messages: [{ role: "user", content: this.prompt }],
      max_tokens: this.#number("max") ?? Number(DEFAULTS.max),
      temperature: this.#number("t") ?? Number(DEFAULTS.t),
      ...given("seed", this.#number("seed")),
      speculation: {
        ...(speculative ? this.#speculation() : { enabled: false, trace: true }),
        ...(this.#value("at") === DEFAULTS.at ? {} : { placement: this.#value("at") }),
      },
    };
  }

  /** Address of this page with the same settings. */
  get link() {
    this.#writeHash();
    return location.href;
  }

  #speculation() {
    return {
      trace: true,
      ...given("heads", this.#number("heads")),
      ...given("top_k", this.#number("k")),
      ...given("max_nodes", this.#number("nodes")),
      rescorer: { type: this.#value("type"), ...this.#settings() },
    };
  }

  /** Those that the chosen rescorer has and that are not left to the bundle. */
  #settings() {
    /** @type {[string, string | number | boolean][]} */
    const settings = [];
    for (const [name, setting] of Object.entries(SETTINGS)) {
      const field = this.#field(name);
      if (!(setting in this.#usual())) continue;
      if (isCheckbox(field)) settings.push([setting, field.checked]);
      else if (field.value !== "") settings.push([setting, setting === "model" ? field.value : Number(field.value)]);
    }
    return Object.fromEntries(settings);
  }

  /**
   * The bundle's settings for the chosen rescorer.
   *
   * @returns {Record<string, string | number | boolean>}
   */
  #usual() {
    return this.model?.speculation.rescorer_settings[this.#value("type")]?.defaults ?? {};
  }

  /** @returns {Record<string, string>} */
  #defaults() {
    const bundle = this.model?.speculation.defaults;
    if (bundle === undefined) return DEFAULTS;
    const { type, model, order, alpha, p_best, prompt } = bundle.rescorer;
    const packs = this.model?.speculation.packs ?? [];
    return {
      ...DEFAULTS,
      heads: "",
      nodes: "",
      k: String(bundle.top_k),
      type: this.model?.speculation.rescorers.includes(type) ? type : "none",
      lm: (packs.find((p) => p.name === model) ?? packs[0])?.name ?? "",
      order: String(order),
      a: String(alpha),
      pb: String(p_best),
      copy: prompt ? ON : "",
    };
  }

  #fillForModel() {
    const { heads = 0, top_k = 1, packs = [], rescorer_settings = {} } = this.model?.speculation ?? {};
    fillSelect(
      this.#field("type"),
      Object.entries(rescorer_settings).map(([type, { title }]) => [type, title]),
    );
    const counts = Array.from({ length: heads }, (_, i) => String(i + 1));
    fillSelect(this.#field("heads"), [["", "auto"], ...counts.map((n) => /** @type {[string, string]} */ ([n, n]))]);
    fillSelect(
      this.#field("lm"),
      packs.map((p) => [p.name, p.name]),
    );
    this.#field("k").setAttribute("max", String(top_k));
  }

  /** @param {EventTarget | null} target */
  #changed(target) {
    if (!(target instanceof HTMLElement) || target.id === "key" || this.model === null) return;
    if (target === this.#field("model")) this.reset();
    if (target === this.#field("type")) this.#set("a", String(this.#usual().alpha ?? this.#value("a")));
    this.#adapt();
    this.#writeHash();
  }

  /** What depends on another field: orders of the chosen pack, fields without a use, the range's figure. */
  #adapt() {
    const pack = this.model?.speculation.packs.find((p) => p.name === this.#value("lm"));
    const orders = Array.from({ length: Math.max(0, (pack?.order ?? 1) - 1) }, (_, i) => String(i + 2));
    const wanted = this.#value("order") || (this.#defaults().order ?? "");
    fillSelect(
      this.#field("order"),
      orders.map((n) => [n, n]),
    );
    this.#set("order", orders.includes(wanted) ? wanted : (orders.at(-1) ?? ""));
    for (const [name, setting] of Object.entries(SETTINGS)) {
      this.#field(name).toggleAttribute("disabled", !(setting in this.#usual()));
    }
    find("#alpha-value", HTMLOutputElement).textContent = Number(this.#value("a")).toFixed(2);
  }

  /** Only what differs from the defaults, so that addresses stay short. */
  #writeHash() {
    const defaults = this.#defaults();
    const hash = new URLSearchParams();
    if (this.prompt !== "") hash.set("prompt", this.prompt);
    if (this.model !== this.#models[0]) hash.set("model", this.#value("model"));
    for (const [name, value] of Object.entries(defaults)) {
      const disabled = this.#field(name).hasAttribute("disabled");
      if (!disabled && this.#value(name) !== value) hash.set(name, this.#value(name));
    }
    history.replaceState(null, "", `${location.pathname}${hash.size > 0 ? `#${hash}` : ""}`);
  }

  /** @param {string} name */
  #field(name) {
    const field = this.#form.elements.namedItem(name);
    if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement || field instanceof HTMLTextAreaElement)
      return field;
    throw new Error(`no field ${name}`);
  }

  /** @param {string} name */
  #value(name) {
    const field = this.#field(name);
    if (isCheckbox(field)) return field.checked ? ON : "";
    return field.value;
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  #set(name, value) {
    const field = this.#field(name);
    if (isCheckbox(field)) field.checked = value === ON;
    else field.value = value;
  }

  /** @param {string} name */
  #number(name) {
    const value = this.#value(name);
    return value === "" ? null : Number(value);
  }
}

/**
 * @param {Element} field
 * @returns {field is HTMLInputElement}
 */
function isCheckbox(field) {
  return field instanceof HTMLInputElement && field.type === "checkbox";
}

/**
 * @param {string} name
 * @param {number | null} value
 */
function given(name, value) {
  return value === null ? {} : { [name]: value };
}

/**
 * @param {Element} select
 * @param {[value: string, label: string][]} entries
 */
function fillSelect(select, entries) {
  select.replaceChildren(
    ...entries.map(([value, label]) => {
      const option = make("option", "", label);
      option.setAttribute("value", value);
      return option;
    }),
  );
}
